"""The linter: findings about rule files, without torch and without running anything.

A lint is one file in `lints/`, found by looking there. `run` puts them to a file; the other modules are what lints share:
`file` (the statements as they stand), `targets` (what covers what), `values` (what can be known of an expression),
`edits` (fixes). Around them: `suppressions`, `baseline` and `formats`.
"""

from .against_network import against
from .definition import Lint, all_lints, lint_names
from .file import File, Placed
from .run import lint, lint_file, lint_source

__all__ = ["File", "Lint", "Placed", "against", "all_lints", "lint", "lint_file", "lint_names", "lint_source"]
