"""Coverage-guided fuzzing of what reads text, with atheris: `python -m tests.support.fuzz TARGET [libFuzzer options]`.

    python -m tests.support.fuzz parse -max_total_time=3600
    python -m tests.support.fuzz parse,format,laid -runs=100
    python -m tests.support.fuzz format corpus/

The targets: `parse`, `format`, `typed` and `asked` (an editor's), `synced` (an editor's changes to a text), `planned` (a
manifest with something wrong in it), `converted` (other libraries' settings), `laid` (rules planned on a model), `grown`
(a text grown from the grammar: parsed, laid out, linted, planned and asked about), `saved` (a saved plan with something
wrong in it), `stored` (the bytes of a checkpoint).

With `INITDSL_FUZZ_NOTES=FOLDER` a crash does not end the run: one input of each kind is kept there, and how often it came up.

What each starts from is the rule files there are, and `cases/fuzz/TARGET`: inputs that reached something new.

The oracle: a value, or our own error whose findings lie inside the text. Anything else is a crash, which libFuzzer writes
to a file; it becomes a case of `cases/`. `test_fuzz.py` runs every target for a moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import atheris

with atheris.instrument_imports(include=["initdsl"]):
    import initdsl
    from initdsl.checkpoints.open import open_store
    from initdsl.checkpoints.pickled import unpickled
    from initdsl.formatter.layout import format as formatted
    from initdsl.language.rules.ruleset import RuleSet
    from initdsl.language.syntax.grammar import keywords
    from initdsl.language.syntax.nodes import Use
    from initdsl.language.syntax.parse import ParseCache, parse_source
    from initdsl.language.syntax.written import written
    from initdsl.linter import against, lint_source
    from initdsl.linter.config import Config
    from initdsl.migrating.converting.convert import convert
    from initdsl.network.description import Network
    from initdsl.planning.resolve import resolve
    from initdsl.planning.saved import read_plan
    from initdsl.server.completion import completions
    from initdsl.server.hover import counts, definition, hover
    from initdsl.server.known import known_at
    from initdsl.server.outline import Refused, outline, renamed, symbols
    from initdsl.server.text import Text
    from initdsl.text.source import Source

from tests.support.fuzz_texts import grown

ROOT = Path(__file__).parents[2]

# a folder in memory, where there is one
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def inside(error: initdsl.InitDSLError) -> None:
    """Every finding points into its text, and can be shown."""
    for found in error.diagnostics:
        assert found.source is not None
        if found.span is not None:
            assert 0 <= found.span.start <= found.span.end <= len(found.source.text), found
    str(error)


def parse(text: str) -> None:
    """A rule set or a ParseError, and a rule set says the same again when it is dumped, or written out, and read back."""
    try:
        rules = initdsl.parse(text)
    except initdsl.ParseError as error:
        inside(error)
        return
    assert type(rules).model_validate_json(rules.model_dump_json()) == rules
    for rule in rules.rules:
        if not isinstance(rule, Use):  # which has the statements of its file too
            assert initdsl.parse(written(rule)).rules == (rule,)


def layout(text: str) -> None:
    """The layout means the same, and is its own layout."""
    try:
        once = formatted(text)
    except initdsl.ParseError as error:
        inside(error)
        return
    assert initdsl.parse(once) == initdsl.parse(text)
    assert formatted(once) == once


def typed(text: str) -> None:
    """Texts after one another, cut at form feeds: each read with what is remembered of those before is as read alone."""
    cache = ParseCache()
    for one in text.split("\f"):
        source = Source("x.init", one)
        # as text, since spans take no part in comparison
        assert repr(parse_source(source, cache=cache)) == repr(parse_source(source))


def asked(text: str) -> None:
    """What an editor asks about a text, where its first form feed stands: answers that lie inside the text, or none."""
    at = max(0, text.find("\f"))
    text = text.replace("\f", "", 1)
    known = known_at(str(ROOT / "x.init"))
    whole = outline(text)
    span, _ = completions(whole, at, known)
    assert 0 <= span.start <= span.end <= len(text)
    found = hover(whole, at, known)
    assert found is None or 0 <= found[0].start <= found[0].end <= len(text)
    definition(whole, at, str(ROOT / "x.init"), known)
    counts(whole, 0, len(text), known)
    with contextlib.suppress(Refused):
        assert all(text[name.start : name.end].isidentifier() for name in renamed(whole, at, "qqq"))
    for symbol in symbols(whole.pieces):
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end <= len(text)


def synced(text: str) -> None:
    """Changes to a text as an editor counts them, cut at form feeds, against a list of the units it is made of."""
    first, *rest = text.split("\f")
    for unit, width in (("utf-16", 2), ("utf-32", 4), ("utf-8", 1)):
        code = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8": "utf-8"}[unit]
        mine, dice = Text(first, unit), random.Random(len(text))
        for new in rest:
            start, end = sorted(dice.randrange(len(mine.text) + 1) for _ in range(2))
            a, b = mine.place(start), mine.place(end)
            line = mine.text[mine.starts[a.line] : start]
            assert a.column == len(line.encode(code, "surrogatepass")) // width
            # between `\r` and `\n` there is no place of its own
            start, end = mine.offset(*a), mine.offset(*b)
            mine, theirs = mine.changed(start, end, new), mine.text[:start] + new + mine.text[end:]
            assert mine.text == theirs


COMPUTED = "net[0].weight ~ orthogonal(); net[1].weight ~ normal(); *.bias? = 0; copy net[0].weight net[1].weight?\n"


# rules that fit `described`, and some that don't: what is damaged may be met by either
RULES = """
Linear.weight ~ kaiming_normal(); *.bias? = 0; net.**.weight[0]? = 1; /w/? *= 2; tie net[0]? net["3"].a?
net[i] { Linear.weight? += i + fan_in; Linear(bias, in_features>1).bias? = in_features }
expect Linear.weight covered
"""
UNFIT = "tie net[0]? net[1]?; net[i] { .weight? = i + fan_in }; copy net[0] net[i]; expect net[0].weight shape = (1, 2)"


# what a manifest may hold in the place of what it should
WRONG: list[Any] = [
    None, True, 0, -1, 1, 2, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"), "", "weight", "net", "a.b",
    "\x1b[31m", "\ud800", "\u202e", "</script>", "float32", "parameter", "buffer", "list", "x" * 5000, [], [0], [[]], [2, 3],
    [-1], ["a"], [[["a"]]], {}, {"a": 0}, {"0": 1}, {"weight": 0}, {"": 99}, {"a": {"a": None}},
]  # fmt: skip


def damaged(value: Any, text: str) -> Any:
    """A JSON value of which some parts are others.

    Each line says where, in numbers of steps, and ends in the number of what stands there, or in its JSON.
    """
    made = json.loads(json.dumps(value))
    for line in text.split("\n")[:4]:
        *steps, last = line.split(" ")
        at: Any = made
        for step in steps[:8]:
            keys = list(at) if isinstance(at, dict) else range(len(at))
            key = keys[sum(map(ord, step)) % len(keys)]
            if not isinstance(at[key], dict | list) or not at[key]:
                break
            at = at[key]
        keys = list(at) if isinstance(at, dict) else range(len(at))
        try:
            other = json.loads(last)
        except (ValueError, RecursionError):
            other = WRONG[sum(map(ord, last)) % len(WRONG)]
        at[keys[sum(map(ord, line)) % len(keys)]] = other
        if not made:
            break
    return made


def planned(text: str) -> None:
    """A manifest of which some values are others: a plan that can be shown, or our own error."""
    for manifest, rules in ((described(), RULES), (described(), UNFIT), (computed(), COMPUTED)):
        made = damaged(manifest, text)
        try:
            plan = resolve(initdsl.parse(rules), Network.from_manifest(made))
        except initdsl.InitDSLError as error:
            inside(error)
        except ValueError:
            pass
        else:
            str(plan)
            json.dumps(plan.to_dict())


def saved(text: str) -> None:
    """A saved plan of which some values are others: the plan again, or our own error."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        file = Path(folder) / "plan.json"
        network = Network.from_manifest(described())
        whole = json.loads(json.dumps(initdsl.plan(network, RULES, seed=1).to_dict()))
        file.write_text(json.dumps(damaged(whole, text)), "utf-8")
        try:
            str(read_plan(file).again(network)[0])
        except initdsl.InitDSLError as error:
            inside_if_any(error)
        except (OSError, ValueError, TypeError) as error:
            str(error)


def inside_if_any(error: initdsl.InitDSLError) -> None:
    """Every finding that has a text points into it."""
    for found in error.diagnostics:
        if found.source is not None and found.span is not None:
            assert 0 <= found.span.start <= found.span.end <= len(found.source.text), found
    str(error)


@cache
def described() -> dict[str, Any]:
    """A manifest: two linear layers, one of them twice, and a norm with buffers."""
    from torch import nn

    shared = nn.Linear(2, 3)
    net = nn.Sequential(shared, nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2), nn.ModuleDict({"a": shared}))
    return initdsl.describe(net)[0].to_manifest()


@cache
def computed() -> dict[str, Any]:
    """A manifest of a model whose weights are computed, by parametrizations and by hooks."""
    import warnings

    from torch import nn

    net = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(2, 2)), nn.Linear(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(net[1])
    return initdsl.describe(net)[0].to_manifest()


def converted(text: str) -> None:
    """A rule file that parses and is laid out, or our own error."""
    try:
        made = convert(text)
    except initdsl.InitDSLError as error:
        str(error)
        return
    initdsl.parse(made)
    assert formatted(made) == made


def laid(text: str) -> None:
    """A plan, or our own error with findings inside the text."""
    try:
        plan = initdsl.plan(Network.from_manifest(described()), initdsl.parse(text))
    except initdsl.InitDSLError as error:
        inside(error)
        return
    str(plan)
    for entry in plan:
        str(plan.explain(entry.name))


def grow(data: bytes) -> None:
    """A text grown from the grammar: whatever reads texts gives a value or our own error, with and without a model."""
    text = grown(data)
    parse(text), layout(text), laid(text)
    at = sum(data) % (len(text) + 1)
    asked(f"{text[:at]}\f{text[at:]}")
    source = Source("x.init", text)
    rules, problems = parse_source(source)
    rule_set = RuleSet(rules=rules, sources={source.name: text})
    for found in lint_source(source, rule_set, problems, Config(), None if problems else against(network())):
        assert found.span is None or 0 <= found.span.start <= found.span.end <= len(text), found
        str(found)


@cache
def network() -> Network:
    return Network.from_manifest(described())


# what `stored` takes its bytes for, by the first of them
KINDS = ["x.safetensors", "x.pt", ".metadata", "model.safetensors.index.json"]


def stored(data: bytes) -> None:
    """The bytes of a checkpoint of some kind: its tensors, or an error that says what is wrong."""
    name = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        file = Path(folder) / name
        file.write_bytes(data[1:])
        try:
            if name.endswith(".pt"):
                unpickled(str(file), "cpu")
                return
            store = open_store(folder if name == ".metadata" else file)
            for tensor in store.tensors:
                if store.tensors[tensor].shape and max(store.tensors[tensor].shape) < 1000:
                    store.whole(tensor)
        except (OSError, ValueError, TypeError, initdsl.InitDSLError) as error:
            str(error)
        except Exception as error:
            # what reads a pickle is torch's: the rule that loads it says so, in `load`'s words
            if not name.endswith(".pt"):
                raise
            str(error)


def checkpoints(folder: Path) -> None:
    """The checkpoints that `stored` starts from."""
    import torch
    from safetensors.torch import save_file
    from torch.distributed import checkpoint

    state = {"0.weight": torch.ones(2, 3), "0.bias": torch.ones(2)}
    save_file(state, folder / "a")
    torch.save(state, folder / "b")
    checkpoint.save(state, checkpoint_id=folder / "c")
    content = [(folder / "a").read_bytes(), (folder / "b").read_bytes(), (folder / "c" / ".metadata").read_bytes()]
    content.append(b'{"metadata": {}, "weight_map": {"0.weight": "a.safetensors"}}')
    shutil.rmtree(folder / "c")
    for number, data in enumerate(content):
        (folder / f"stored{number}").write_bytes(bytes([number]) + data)


def refuse(text: str) -> None:
    """What the test of the oracle runs."""
    assert not text


# targets that take bytes; all others take text
RAW: dict[str, Callable[[bytes], None]] = {"grown": grow, "stored": stored}


TARGETS: dict[str, Callable[[str], None]] = {
    "parse": parse,
    "format": layout,
    "typed": typed,
    "asked": asked,
    "synced": synced,
    "planned": planned,
    "saved": saved,
    "converted": converted,
    "laid": laid,
    "refuse": refuse,
}


SETTINGS = [
    "dict(type='Kaiming', layer=['Conv2d', 'Linear'], bias=0.5, override=dict(name='head', type='Normal', std=0.01))",
    "init_cfg = [dict(type='Xavier', distribution='uniform'), dict(type='Pretrained', checkpoint='x.pth', prefix='a.')]",
    '{"regexes": [["weight$", {"type": "xavier_normal"}], ["a/b", "zero"]], "prevent_regexes": ["bias"]} // c\n',
    "- pattern: weight\n  type: normal\n  std: 0.02\n- {regex: bias, init: zeros_}\n",
    '{"model": {"initializer": {"regexes": [["x", {"type": "kaiming_uniform", "a": 1, "nonlinearity": "relu"}],]}}}',
]


def corpus(folder: Path) -> None:
    """The rule files there are, to start from."""
    files = [*ROOT.glob("examples/**/*.init"), *ROOT.glob("initdsl/recipes/*.init"), *ROOT.glob("tests/cases/*/*.init")]
    for number, file in enumerate(files):
        (folder / f"{number}.init").write_bytes(file.read_bytes())
    for number, text in enumerate(SETTINGS):
        (folder / f"settings{number}").write_text(text, "utf-8")
    for number, file in enumerate(ROOT.glob("tests/cases/syntax/*.txt")):
        (folder / f"case{number}").write_text(file.read_text("utf-8").partition("\n--------\n")[0], "utf-8")


def noted(one: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """The same function, which notes a crash in a folder and goes on: one input of each kind, and how often it was met."""

    def note(data: bytes) -> None:
        try:
            one(data)
        except (Exception, SystemExit) as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "/initdsl/" in f.filename] or [None]
            place = "" if frames[-1] is None else f"{Path(frames[-1].filename).stem}.{frames[-1].name}"
            kind = f"{type(error).__name__}-{place}"
            with (folder / f"{kind}.count").open("a") as file:
                file.write(".")
            if not (folder / kind).exists():
                (folder / kind).write_bytes(data)
                (folder / f"{kind}.txt").write_text("".join(traceback.format_exception(error)), errors="replace")

    return note


def run(target: str) -> Callable[[bytes], None]:
    """The function that takes one input of a target."""
    if target in RAW:
        return RAW[target]
    return lambda data: TARGETS[target](data.decode("utf-8", "surrogateescape"))


def main() -> None:
    """Fuzz one target; or several, with commas between, each in a fork, which says what it has to say in `TARGET.log`."""
    first, *others = sys.argv[1].split(",")
    if not others:
        fuzz(first)
    codes = []
    for target in (first, *others):
        if (pid := os.fork()) == 0:
            log = os.open(f"{target}.log", os.O_CREAT | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            fuzz(target)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(*codes)


def fuzz(target: str) -> NoReturn:
    """Fuzz a target as libFuzzer is told to, which ends the process."""
    one = run(target)
    if "INITDSL_FUZZ_NOTES" in os.environ:
        one = noted(one, Path(os.environ["INITDSL_FUZZ_NOTES"]))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "seeds").mkdir()
        if target == "stored":
            checkpoints(place / "seeds")
        elif target in ("planned", "saved"):
            dice = random.Random(0)
            for number in range(60):
                steps = [chr(dice.randrange(48, 122)) for _ in range(dice.randrange(1, 6))]
                (place / "seeds" / f"{number}").write_text(" ".join([*steps, str(dice.randrange(40))]))
        else:
            corpus(place / "seeds")
        for file in (ROOT / "tests" / "cases" / "fuzz" / target).glob("*"):
            (place / "seeds" / f"kept-{file.name}").write_bytes(file.read_bytes())
        words = [
            *keywords(),
            "net",
            "Linear",
            ".weight",
            "~ normal(0, 1)",
            "[",
            "]",
            "{",
            "}",
            "#",
            "**",
            "+=",
            "\\x0c",
        ]
        (place / "words").write_text("".join(f'"{word}"\n' for word in words))
        atheris.Setup([sys.argv[0], f"-dict={place / 'words'}", *sys.argv[2:], str(place / "seeds")], one)
        atheris.Fuzz()
    raise AssertionError("libFuzzer came back")


if __name__ == "__main__":
    main()
