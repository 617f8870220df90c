"""The linter: findings about rule files, without torch and without running anything.

A lint is one file in `lints/`, found by looking there; to write one, copy `lints/useless_edit.py`. Its docstring is its
documentation, its function `check` yields findings about a `File`. What it asks is answered by:

- `file`: the statements, nodes and calls of a file; `statements`: where a statement stands, and what a name means there;
- `targets`: what a selector selects, and which selectors surely cover which; `cascade`: what a later rule replaces;
- `values`: constants folded, calls bound to their initializers; `lets`: which names are read, and which are free;
- `plan_helpers`, `chains`: what a rule does to the tensors of a model, for `@lint(needs="model")`;
- `fixes`: what `--fix` changes: a statement or text replaced, inserted, deleted, a `let` declared.

`initdsl.language.syntax.nodes` has the nodes. What one may not expect of them:

- spans don't take part in comparison: `node in nodes` finds an equal one elsewhere in the text;
- `-0.04` is `Unary("-", Number(0.04))`, and `1e-3` a `Number`: `values.literal_number` and `values.literals` see both;
- `true`, `none`, `inf` and `pi` are `Word`s, `it`, `net` and every other name a `Name`; `net.a.b` in an expression is
  `Member`s of a `Name`, in a selector a `Path` with `Step`s;
- `fan_in` is a `Name`, `fan_in(x)` a `Call`; `normal(...)`, `sqrt(...)` and `load(...)` are `Call`s, `len(S)` a `Length`;
- an `Index` of a path may be a child of a list or a piece of a parameter: only a model tells;
- a bound index (`net.layers[i]`) is a `Name` in an `Index`, as a `let` name in a bound is.

Around them: `run` and `fixing` put lints to files, `suppressions`, `baseline` and `config` leave findings out, `formats`
writes them.
"""

from .against_network import against
from .definition import Lint, all_lints, lint_names
from .file import File
from .run import lint, lint_file, lint_source
from .statements import Placed

__all__ = ["File", "Lint", "Placed", "against", "all_lints", "lint", "lint_file", "lint_names", "lint_source"]
