"""The conformance suite: its models, the sentences it covers, and what initdsl makes of a case.

How the cases read is said in `cases/conformance/README.md`.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

import initdsl
from initdsl.language.syntax.state import Limits
from initdsl.network.describe import describe
from initdsl.network.description import Network
from initdsl.planning.actions import Action, CopyFrom, Expression, Kept, Load, Reset
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic
from tests.support.nets import Tensors, filled

FOLDER = Path(__file__).parents[1] / "cases" / "conformance"
PAGE = Path(__file__).parents[2] / "docs" / "language.md"

# ---- networks


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)


class Block(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))


class Net(nn.Module):
    """The model of docs/language.md, smaller."""

    def __init__(self, words: int = 6, dim: int = 4, depth: int = 3, heads: int = 2):
        super().__init__()
        self.dim = dim
        self.embed = nn.Embedding(words, dim, padding_idx=0)
        self.layers = nn.ModuleList([Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, words, bias=False)


class Scaled(nn.Linear):
    """A subclass of a layer of torch."""


class _Hidden(nn.Module):
    """A class whose name begins with an underscore."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(2))


class Odd(nn.Module):
    """Attributes of every kind, and names that are words of the language."""

    level = 5  # of the class

    def __init__(self) -> None:
        super().__init__()
        self.nothing: int | None = None
        self.zero, self.blank, self.empty, self.off = 0, "", (), False
        self.word, self.pair, self.ratio = "relu", (2, 3), 0.5
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.q_one = nn.Parameter(torch.zeros(2))
        self.register_parameter("absent", None)
        self.register_buffer("q_table", torch.zeros(3))
        self.q_two = nn.Linear(2, 2, bias=False)
        self.add_module("default", nn.Linear(2, 2, bias=False))
        self.add_module("in", nn.Linear(2, 2, bias=False))
        self.add_module("7", nn.Linear(2, 2, bias=False))
        self.hidden = _Hidden()

    @property
    def secret(self) -> int:
        raise AssertionError("a property ran")


class Zoo(nn.Module):
    """Many classes, some of them subclasses of others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, groups=2)
        self.point = nn.Conv2d(8, 4, (1, 1), bias=False)
        self.up = nn.ConvTranspose2d(4, 2, 2)
        self.line = nn.Conv1d(2, 2, 3)
        self.batch = nn.BatchNorm2d(4)
        self.group = nn.GroupNorm(2, 4)
        self.attn = nn.MultiheadAttention(4, 2)
        self.rnn = nn.LSTM(3, 2)
        self.embed = nn.Embedding(5, 4)
        self.padded = nn.Embedding(5, 4, padding_idx=1)
        self.square = nn.Linear(4, 4)
        self.scaled = Scaled(4, 2)


class Keys(nn.Module):
    """Containers of every kind, indexed in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.ModuleDict({str(k): nn.Linear(2, 2) for k in (8, 9, 10)})
        self.heads = nn.ModuleDict({"seg-1": nn.Linear(2, 1), "cls": nn.Linear(2, 3)})
        self.grid = nn.ModuleList(nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(2)) for _ in range(2))
        self.vectors = nn.ParameterList(nn.Parameter(torch.zeros(2)) for _ in range(3))
        self.named = nn.ParameterDict({"a b": nn.Parameter(torch.zeros(2)), "c": nn.Parameter(torch.zeros(2))})
        self.count = 2
        self.last = -1


class Shared(nn.Module):
    """A tied embedding and head, and one layer in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 2)
        self.first = nn.Linear(2, 2)
        self.again = self.first
        self.head = nn.Linear(2, 3, bias=False)
        self.head.weight = self.embed.weight


class Gaps(nn.Module):
    """Lists of which some places hold None, or a plain value."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2), None, nn.Linear(2, 2), nn.Linear(2, 2)])  # type: ignore[list-item]
        self.scales = nn.ParameterList([torch.zeros(2), 5, torch.zeros(2)])


class Rotary(nn.Module):
    """A buffer that state dicts leave out, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.ones(2), persistent=False)


class Seen(nn.Linear):
    """A buffer that its reset leaves alone."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.register_buffer("seen", torch.ones(2))


class Stateful(nn.Module):
    """Modules whose state is more than parameters, and modules without any."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.k = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.bare = nn.BatchNorm1d(2, affine=False)
        self.seen = Seen()
        self.rotary = Rotary()
        self.again = Rotary()
        self.act = nn.ReLU()


class Buffered(nn.Module):
    """Tensors of several types, some of them buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.f64 = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.f16 = nn.Parameter(torch.zeros(2, dtype=torch.float16))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
        self.register_buffer("mask", torch.zeros(2, dtype=torch.bool))
        self.register_buffer("steps", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("table", torch.zeros(2, 2))


class NoReset(nn.Module):
    """Parameters, and no method that sets them."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(2))
        self.bias = nn.Parameter(torch.zeros(2))
        self.inner = nn.Linear(2, 2)


class Doubled(nn.Module):
    """A parametrization without `right_inverse`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


class Halved(Doubled):
    """One with it."""

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def parametrized() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    nn.utils.parametrize.register_parametrization(net[0], "weight", Halved())
    nn.utils.parametrize.register_parametrization(net[1], "weight", Doubled(), unsafe=True)
    parametrizations.weight_norm(net[2])
    return net


def wrapped() -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    inner = nn.Sequential(nn.Linear(2, 2), checkpoint_wrapper(nn.Linear(2, 1)))
    return torch.compile(inner)  # type: ignore[return-value]


def pair() -> nn.Module:
    net = Tensors(a=torch.zeros(2), b=torch.zeros(2))
    net.config = {"n_layer": 4, "init": {"std": 0.5}}
    return net


def refused() -> nn.Module:
    net = Tensors(wave=torch.zeros(2, dtype=torch.complex64), plain=torch.zeros(2))
    net.lazy = nn.LazyLinear(2)
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.Linear(3, 2, bias=False),
    "linear": lambda: nn.Linear(3, 2),
    "mlp": lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False)),
    "net": Net,
    "odd": Odd,
    "zoo": Zoo,
    "keys": Keys,
    "shared": Shared,
    "gaps": Gaps,
    "buffered": Buffered,
    "stateful": Stateful,
    "noreset": NoReset,
    "parametrized": parametrized,
    "wrapped": wrapped,
    "refused": refused,
    "tables": lambda: Tensors(
        pe=torch.zeros(4, 6), matrix=torch.zeros(4, 4), stack=torch.zeros(2, 3, 4), scalar=torch.zeros(()),
        vector=torch.zeros(4), other=torch.zeros(4),
    ),
    "pair": pair,
}  # fmt: skip


def manifest(name: str) -> str:
    """What `initdsl manifest` says of a model, one module or tensor a line."""
    whole = describe(NETWORKS[name]())[0].to_manifest()
    parts = []
    for key, value in whole.items():
        shown = json.dumps(value)
        if isinstance(value, list):
            shown = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        elif isinstance(value, dict):
            shown = "{\n  " + ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n }"
        parts.append(f" {json.dumps(key)}: {shown}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


# ---- sentences

FENCE = re.compile(r"^(`{3,}).*?^\1$|<!--.*?-->", re.MULTILINE | re.DOTALL)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z*`(\[~])")


def sentences(text: str) -> Iterator[tuple[str, str]]:
    """`(section, sentence)` of a page: sentences of paragraphs and list items, and rows of tables."""
    section, paragraph = "0", [""]

    def ended() -> Iterator[tuple[str, str]]:
        whole = " ".join(filter(None, paragraph))
        paragraph[:] = [""]
        masked = re.sub(r"`[^`]*`", lambda code: "`" + "x" * (len(code[0]) - 2) + "`", whole)
        cuts = [0, *(m.end() for m in SENTENCE.finditer(masked)), len(whole)]
        for start, end in itertools.pairwise(cuts):
            if whole[start:end].strip():
                yield section, whole[start:end].strip()

    lines = [line.strip() for line in FENCE.sub("", text).split("\n")]
    for line, following in itertools.pairwise([*lines, ""]):
        if line.startswith("|"):
            yield from ended()
            rule = re.compile(r"[|\s:-]+")
            if not rule.fullmatch(line) and not rule.fullmatch(following or "-x"):
                yield section, line.strip("| ")
        elif heading := re.match(r"#+ (?:(\d+(?:\.\d+)?) )?", line):
            yield from ended()
            section = heading[1] or "0"
        elif item := re.match(r"(?:[-*]|\d+\.) +(.*)", line):
            yield from ended()
            paragraph.append(item[1])
        elif line:
            paragraph.append(line)
        else:
            yield from ended()
    yield from ended()


def clauses() -> dict[str, dict[str, str]]:
    """The numbered sentences, as `clauses.toml` has them."""
    return {clause["id"]: clause for clause in tomllib.loads((FOLDER / "clauses.toml").read_text("utf-8"))["clause"]}


def renumbered(text: str, known: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The sentences of a page with their numbers: those they have, also if a little changed, else the next free ones."""
    by_text = {(key.partition("-")[0], clause["text"]): key for key, clause in known.items()}
    found = list(sentences(text))
    free = {key: clause for key, clause in known.items() if (key.partition("-")[0], clause["text"]) not in found}
    last: Counter[str] = Counter()
    for key in known:
        section, _, number = key.partition("-")
        last[section] = max(last[section], int(number))
    numbered: dict[str, dict[str, str]] = {}
    for section, sentence in found:
        key = by_text.get((section, sentence))
        if key is None:
            there = {clause["text"]: k for k, clause in free.items() if k.startswith(f"{section}-")}
            near = difflib.get_close_matches(sentence, there, 1, 0.6)
            key = there[near[0]] if near else None
        if key is None or key in numbered:
            last[section] += 1
            key = f"{section}-{last[section]}"
        free.pop(key, None)
        numbered[key] = {**known.get(key, {}), "id": key, "text": sentence}
    return numbered


def write_clauses() -> None:
    """Bring `clauses.toml` to what the page says now."""
    file = FOLDER / "clauses.toml"
    parts = [
        "# The sentences of docs/language.md, numbered. `python -m tests.language.test_conformance --update` writes this file;"
    ]
    parts.append("# `without` says why a sentence has no case, and is written by hand.")
    for clause in renumbered(PAGE.read_text("utf-8"), clauses() if file.exists() else {}).values():
        parts.append("\n[[clause]]")
        parts += [f"{key} = {_toml(clause[key])}" for key in ("id", "text", "without") if key in clause]
    file.write_text("\n".join(parts) + "\n", "utf-8")


def _toml(text: str) -> str:
    return f"'{text}'" if "'" not in text else json.dumps(text, ensure_ascii=False)


# ---- cases


def cases() -> dict[str, dict[str, Any]]:
    """Every case by its id: `2.4-1 an index from the end`."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(FOLDER.glob("[0-9]*.toml")):
        for case in tomllib.loads(file.read_text("utf-8"))["case"]:
            name = f"{case['clause'].split()[0]} {case['name']}"
            assert name not in found, name
            found[name] = {**case, "file": file}
    return found


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n") if line.strip()]


def braced(name: str) -> list[str]:
    """`a.{0,1}.b` is `a.0.b` and `a.1.b`."""
    match = re.search(r"\{([^{}]*)\}", name)
    if match is None:
        return [name]
    return [n for word in match[1].split(",") for n in braced(name[: match.start()] + word + name[match.end() :])]


def planned(text: str) -> dict[str, list[str]]:
    """The actions of a case's `plan` by the name of the tensor."""
    found: dict[str, list[str]] = {}
    for line in lines(text):
        names, _, actions = line.partition("  ")
        for name in (n for word in names.split(", ") for n in braced(word)):
            assert name not in found, name
            found[name] = [action.strip() for action in actions.split(";")]
    return found


NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w.]*:)")


def alike(wanted: str, got: str) -> bool:
    """Whether two actions are the same, numbers to five digits."""
    if NUMBER.sub("0", wanted) != NUMBER.sub("0", got):
        return False
    pairs = zip(NUMBER.findall(wanted), NUMBER.findall(got), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=1e-5, abs_tol=1e-12) for a, b in pairs)


def as_planned(wanted: dict[str, list[str]], got: dict[str, list[str]]) -> bool:
    return wanted.keys() == got.keys() and all(
        len(wanted[name]) == len(got[name]) and all(map(alike, wanted[name], got[name])) for name in wanted
    )


def action_text(plan: Plan, action: Action) -> str:
    """One action as a case writes it: `3: [0, 1:2] += 1`."""
    payload = action.payload
    match payload:
        case Kept():
            what = "keep"
        case Reset():
            what = "default"
        case CopyFrom():
            what = f"copy {plan.names_of(payload.tensor)[0]}"
        case Load():
            what = f"{action.operator} load {Path(payload.path).name} {payload.key}"
        case Expression():
            what = f"{action.operator} computed"
        case _:
            what = f"{action.operator} {payload}"
    piece = ""
    if action.view is not None:
        piece += f"as {action.view} "
    if action.index is not None:
        piece += f"[{', '.join(map(_item, action.index))}] "
    file, _, line = action.clause.location.rpartition(":")
    return f"{_place(file)}{line}: {piece}{what}"


def _place(file: str) -> str:
    """A file beside the main one as a case writes it."""
    name = Path(file).name
    return "" if name == "main.init" else f"{name}:"


def _item(item: Any) -> str:
    if not isinstance(item, slice):
        return "..." if item is ... else str(item)
    parts = ["" if part is None else str(part) for part in (item.start, item.stop)]
    return ":".join([*parts, *([] if item.step is None else [str(item.step)])])


def finding_text(finding: Diagnostic) -> str:
    """One finding as a case writes it: `unmatched-selector 1:14-18`."""
    if finding.source is None or finding.span is None:
        return finding.name
    start, end = finding.source.position(finding.span.start), finding.source.position(finding.span.end)
    last = f"{end.line}:{end.column}"
    if not finding.source[finding.span].strip():
        last = f"{start.column + 1}"  # the end of a line
    elif end.line == start.line:
        last = f"{end.column}"
    return f"{finding.name} {_place(finding.source.name)}{start.line}:{start.column}-{last}"


STAGES = {"ParseError": "parse", "RuleError": "rule", "ResolveError": "resolve", "ApplyError": "apply"}


def plan_text(plan: Plan) -> dict[str, list[str]]:
    return {e.name: [action_text(plan, a) for a in e.actions] for e in plan if e.actions}


def run(case: dict[str, Any], folder: Path, described: bool) -> dict[str, Any]:
    """What initdsl makes of a case, in the words of a case; on the model as described, or as built and filled."""
    for name, text in case.get("files", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    for name, tensors in case.get("tensors", {}).items():
        from safetensors.torch import save_file

        save_file({key: torch.tensor(value, dtype=torch.float32) for key, value in tensors.items()}, folder / name)
    main = folder / "main.init"
    main.write_bytes(bytes.fromhex(case["bytes"]) if "bytes" in case else case["rules"].encode())
    got: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rules = initdsl.load(main, limits=Limits(**case.get("limits", {})))
            if "same" in case:
                got["same"] = initdsl.parse(case["same"]).rules == rules.rules
            if "statements" in case:
                got["statements"] = len(rules)
            if "net" in case:
                _resolved(case, rules, described, got)
        except initdsl.InitDSLError as error:
            got["errors"] = [finding_text(finding) for finding in error.diagnostics]
            got["stage"] = STAGES[type(error).__name__]
    return got


def _resolved(case: dict[str, Any], rules: Any, described: bool, got: dict[str, Any]) -> None:
    options = {key: case[key] for key in ("vars", "strict", "seed") if key in case}
    if described:
        text = (FOLDER / "networks" / f"{case['net']}.json").read_text("utf-8")
        net: Any = Network.from_manifest(json.loads(text))
    else:
        net = NETWORKS[case["net"]]()
        filled(net) if case["net"] != "refused" else None
    plan = initdsl.plan(net, rules, **options)
    got["plan"] = plan_text(plan)
    got["warnings"] = [finding_text(finding) for finding in plan.warnings]
    got["notes"] = [finding_text(finding) for finding in plan.notes]
    got["remarks"] = [finding_text(finding) for finding in plan.remarks]
    got["tied"] = [" = ".join(names) for names in plan.tied]
    got["partial"] = [entry.name for entry in plan.partial]
    got["order"] = [entry.name for entry in plan.order]
    if not described:
        torch.manual_seed(0)
        sample = torch.tensor(case["sample"]) if "sample" in case else None
        initdsl.apply(net, rules, sample=sample, **options)
        there = {
            **dict(net.named_parameters(remove_duplicate=False)),
            **dict(net.named_buffers(remove_duplicate=False)),
        }
        got["values"] = {
            entry.name: value_of(net, there, entry).detach().tolist()
            for entry in plan
            if entry.tensor.problem != "lazy"
        }


def value_of(net: nn.Module, there: dict[str, torch.Tensor], entry: PlanEntry) -> torch.Tensor:
    tensor = there.get(entry.name)
    if tensor is None:  # computed by a parametrization, or behind a wrapper
        owner, _, local = entry.name.rpartition(".")
        from initdsl.network.wrappers import unwrap

        module = unwrap(net)
        for step in owner.split(".") if owner else []:
            module = unwrap(module._modules[step])  # type: ignore[arg-type]
        tensor = getattr(module, local)
    return tensor


def close(wanted: Any, got: Any, exact: bool) -> bool:
    """Whether values agree: bit for bit, or to six digits; one number stands for a whole tensor."""
    if isinstance(got, list):
        items = wanted if isinstance(wanted, list) else [wanted] * len(got)
        return len(items) == len(got) and all(close(w, g, exact) for w, g in zip(items, got, strict=True))
    if isinstance(wanted, list):
        return False
    if exact or math.isnan(wanted) or math.isinf(wanted):
        return bool(wanted == got or (wanted != wanted and got != got))
    return math.isclose(wanted, got, rel_tol=1e-6, abs_tol=1e-7)
