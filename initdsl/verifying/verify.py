"""Whether a network, a state dict or a checkpoint still is what its rules say: structure, values, distributions.

With a seed the values are made again and compared, bit for bit; what is filled element by element, a piece at a time.
Without one, what rules set is compared as well, and what they draw is tested: moments, bounds and Kolmogorov-Smirnov
against the rule's distribution, with Holm's correction for the number of parameters. What has a property in place of a
distribution (`orthogonal`) is checked for that. Reads only: the network it is given keeps its values and its objects.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl import streams
from initdsl.checkpoints.open import Piece, Store, Tensors, of_module, open_store
from initdsl.checkpoints.safetensors import rules_sha256
from initdsl.filling.seeded import nodes_of
from initdsl.filling.to_disk.stream import Origin
from initdsl.initializers import Bernoulli, Constant, Distribution, Normal, Random, TruncatedNormal, Uniform
from initdsl.language.rules.loader import RuleSet, coerce
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Call
from initdsl.network.describe import Live, Network, describe, unwrap
from initdsl.network.selectors.select import listed
from initdsl.planning.plan import Action, CopyFrom, Draw, Expression, Kept, Plan, PlanEntry, Reset, Value
from initdsl.statistics.goodness import Sample, holm, two_samples
from initdsl.statistics.moments import unmet_expectations
from initdsl.text.diagnostic import ApplyError, Diagnostic, ResolveError, printable

if TYPE_CHECKING:
    from initdsl.api.plan import Rules

__all__ = ["ALPHA", "Check", "Verification", "verify"]


# the chance that a file that matches its rules is said not to, all its parameters together
ALPHA = 1e-3


# elements drawn to know what an expression's values look like
SIMULATED = 1 << 16


VERIFICATION_FORMAT = "initdsl-verification"


VERIFICATION_VERSION = 1


@dataclass
class Check:
    """What was found of one tensor.

    `status` is `match`, `drift` or `unchecked`; `how` says what was compared: `values`, `distribution`, `property`,
    `nothing` (kept, or reached by no rule). `p_values` are those of the statistical tests, `moved` how far training
    has moved it (see `Verification.after_training`).
    """

    name: str
    names: list[str]
    label: str
    shape: tuple[int, ...]
    rule: str
    location: str
    status: str = "match"
    how: str = "nothing"
    message: str = ""
    measured: dict[str, float] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    p_values: dict[str, float] = field(default_factory=dict)
    moved: dict[str, float] | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.label} {list(self.shape)}: {self.message or self.how}"

    def drift(self, message: str) -> None:
        self.status, self.message = "drift", message

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.name, "label": self.label, "names": self.names, "shape": list(self.shape), "status": self.status,
            "how": self.how, "message": self.message, "rule": self.rule, "location": self.location,
            "measured": _plain(self.measured), "expected": _plain(self.expected), "p_values": _plain(self.p_values),
        }  # fmt: skip
        return found if self.moved is None else {**found, "moved": _plain(self.moved)}


def _plain(numbers: Mapping[str, float]) -> dict[str, Any]:
    return {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}


@dataclass
class Verification:
    """What `verify` found: iterable over its checks, one a tensor; true if nothing drifted.

    `structure` has what is wrong with names, shapes and ties, `unmet` the `expect` statements that do not hold, `notes`
    what is worth knowing, `provenance` what the file says of itself. `seed` is the one the values were compared under.
    """

    where: str
    checks: list[Check]
    structure: list[str]
    notes: list[str]
    provenance: dict[str, str]
    seed: int | None
    after_training: bool = False
    unmet: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def __getitem__(self, name: str) -> Check:
        """The check of a tensor, by any of its names."""
        for check in self.checks:
            if name in check.names or name == check.label:
                return check
        raise KeyError(name)

    def __bool__(self) -> bool:
        return not (self.structure or self.drifted or self.unmet)

    @property
    def drifted(self) -> list[Check]:
        """The tensors that are not what the rules say."""
        return [c for c in self.checks if c.status == "drift"]

    @property
    def unchecked(self) -> list[Check]:
        """The tensors of which nothing could be compared but name and shape."""
        return [c for c in self.checks if c.status == "unchecked"]

    def summary(self) -> str:
        """One line."""
        parts = [f"{sum(c.status == 'match' for c in self.checks)} match"]
        parts += [f"{len(self.drifted)} drifted"] if self.drifted else []
        parts += [f"{len(self.unchecked)} unchecked"] if self.unchecked else []
        if self.structure:
            parts.append(f"{len(self.structure)} difference{'s' * (len(self.structure) > 1)} of structure")
        if self.unmet:
            parts.append(f"{len(self.unmet)} expectation{'s' * (len(self.unmet) > 1)} unmet")
        if self.after_training:
            parts.append(f"{sum(bool(c.moved and c.moved.get('moved', 0)) for c in self.checks)} moved")
        how = f"values of seed {self.seed}" if self.seed is not None else "no seed: distributions tested"
        return f"{', '.join(parts)} ({how})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, versioned."""
        return {
            "format": VERIFICATION_FORMAT, "version": VERIFICATION_VERSION, "where": self.where, "match": bool(self),
            "seed": self.seed, "after_training": self.after_training, "structure": self.structure, "unmet": self.unmet, "notes": self.notes,
            "provenance": self.provenance, "checks": [check.to_dict() for check in self.checks],
        }  # fmt: skip

    def __str__(self) -> str:
        rows = [("parameter", "shape", "compared", "result", "rule")]
        for check in self.checks:
            result = check.status if not check.message else f"{check.status}: {check.message}"
            if check.moved is not None:
                result = _moved(check)
            shape = "x".join(map(str, check.shape)) or "scalar"
            rows.append((check.label, shape, check.how, result, check.location))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += [f"structure: {message}" for message in self.structure]
        lines += [f"unmet: {message}" for message in self.unmet]
        lines += [f"note: {message}" for message in self.notes]
        return "\n".join(map(printable, [*lines, self.summary()]))

    def __repr__(self) -> str:
        return f"<Verification: {self.summary()}>"


def _moved(check: Check) -> str:
    assert check.moved is not None
    if "moved" not in check.moved:
        return check.message or check.status
    if not check.moved["moved"]:
        return "where it started" if "share" in check.moved else "as it is drawn"
    if "distance" not in check.moved:
        return f"moved: {check.message}"
    distance, rms = check.moved["distance"], check.moved["rms"]
    far = f"{distance:.3g} of its norm" if math.isfinite(distance) else f"{rms:.3g} from where it was (rms)"
    parts = [f"{check.moved['share']:.1%} of elements, {far}"]
    if "std" in check.measured and "std" in check.expected:
        parts.append(f"std {check.expected['std']:.4g} to {check.measured['std']:.4g}")
    return "moved: " + ", ".join(parts)


def verify(
    net: nn.Module | Mapping[str, torch.Tensor] | str | os.PathLike[str], rules: Rules, seed: int | None = None, *,
    model: nn.Module | Network | None = None, vars: Mapping[str, Any] | None = None,
    initializers: Mapping[str, Callable[..., Any]] | None = None, root: str | os.PathLike[str] | None = None,
    after_training: bool = False, alpha: float = ALPHA,
) -> Verification:  # fmt: skip
    """Whether a network still is what its rules say. Changes nothing.

    `net` is a network, a state dict, or the path of a safetensors file, a folder of shards or a DCP directory. Of the
    latter two `model` is the network they belong to (a module, which may be on the meta device, or a described one);
    without it, the structure is read off the names, which is enough for rules that name no classes. `seed` is the one
    the values were made with; a file that says which it was needs none. Without one, draws are tested: `alpha` is the
    chance that values which do follow the rules are said not to. `after_training` tells how far each parameter has
    moved in place of calling that a drift.

    Raises ParseError, RuleError or ResolveError as `plan` does, OSError and ValueError for what can't be read.

    >>> from torch import nn
    >>> import initdsl
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    >>> rules = "Linear.weight ~ normal(0, 0.01); Linear.bias = 0; LayerNorm.weight = 1; LayerNorm.bias = 0"
    >>> report = initdsl.apply(net, rules, seed=0)
    >>> bool(verify(net, rules, seed=0)), bool(verify(net, rules)), bool(verify(net, rules, seed=1))
    (True, True, False)
    """
    from initdsl.api.plan import check_seed, plan

    check_seed(seed)
    store = _store(net)
    compiled = coerce(rules, root)
    notes: list[str] = []
    seed = _seed_of(store, seed, notes)
    vars = _vars_of(store, vars, compiled, notes)
    network, live = _structure(net, model, store, compiled)
    made = plan(network, compiled, seed=seed, vars=vars, initializers=initializers, root=root)
    made.live = live
    told = store.metadata.get("initdsl.rules_sha256")
    if told is not None and told != rules_sha256(made):
        notes.append(f"it was made with other rules (SHA-256 {told[:12]}..., these are {rules_sha256(made)[:12]}...)")
    told = store.metadata.get("initdsl.network")
    if told is not None and model is not None and told != network.fingerprint():
        notes.append("it was made for a network of other names, classes, shapes or ties")
    notes += [f"{finding.message} ({finding.location})" for finding in made.warnings]
    provenance = {k: v for k, v in store.metadata.items() if k.startswith("initdsl.") or k == "torch.version"}
    run = _Run(made, store, after_training, alpha)
    checks = run.checks()
    return Verification(
        store.where, checks, run.structure, notes + run.notes, provenance, seed, after_training, run.unmet()
    )


def _plain_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- what is verified, against which network


def _store(net: Any) -> Store:
    if isinstance(net, nn.Module):
        return of_module(unwrap(net))
    if isinstance(net, Mapping):
        return Tensors(net)
    if isinstance(net, str | os.PathLike):
        return open_store(net)
    raise TypeError(f"a network, a state dict or a path is verified, not {type(net).__name__}")


def _seed_of(store: Store, seed: int | None, notes: list[str]) -> int | None:
    """The seed that was given, or the one the file tells, if its stream is known."""
    told = store.metadata.get("initdsl.seed")
    stream = store.metadata.get("initdsl.stream")
    if seed is not None:
        if told is not None and told != str(seed):
            notes.append(f"it says that its seed was {told[:80]}, not {seed}")
        return seed
    if told is None:
        return None
    if stream != streams.VERSION.rpartition(" ")[2] or not _seed_text(told):
        notes.append(
            f"its values are of seed {told[:80]} and stream {str(stream)[:80]}, which this version does not make again"
        )
        return None
    return int(told)


def _vars_of(
    store: Store, vars: Mapping[str, Any] | None, rules: RuleSet, notes: list[str]
) -> Mapping[str, Any] | None:  # fmt: skip
    """The overridden `let`s that were given, or those the file tells, where the rules still have them."""
    try:
        told = json.loads(store.metadata.get("initdsl.vars", "{}"))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        notes.append("the overridden `let`s it tells of can't be read")
        return vars
    if vars is not None:
        if told and dict(vars) != told:
            notes.append(f"it says that it was made with {_settings(told)}, not {_settings(vars) or 'none set'}")
        return vars
    known = {rule.name for rule in rules.walk() if isinstance(rule, nodes.Let)}
    if gone := [name for name in told if name not in known]:
        notes.append(f"it says that it was made with {_settings(told)}, and no `let` declares {listed(gone)}")
    found = {name: value for name, value in told.items() if name in known}
    return found or None


def _settings(vars: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in vars.items())


def _seed_text(text: str) -> bool:
    return re.fullmatch("[0-9]{1,20}", text) is not None and int(text) < 2**64


def _structure(net: Any, model: Any, store: Store, rules: RuleSet) -> tuple[Network, Live]:
    """The network rules are laid on, and one without memory to make its values in."""
    if isinstance(net, nn.Module):
        if model is not None:
            raise TypeError("`model` goes with a state dict or a file; a network is one already")
        return describe(_stand_in(unwrap(net), {}))
    if isinstance(model, nn.Module):
        network, live = describe(_stand_in(unwrap(model), {}))
    elif isinstance(model, Network):
        network, live = model, _skeleton(model)
    elif model is None:
        _refuse_classes(rules)
        _align(store, None)
        network, live = describe(_named(store))
    else:
        raise TypeError(f"`model` is a network or its description, not {type(model).__name__}")
    _align(store, network)
    return network, live


WRAPPERS = ("model.", "module.", "state_dict.", "_orig_mod.", "model.module.", "app.model.")


def _align(store: Store, network: Network | None) -> None:
    """Read a checkpoint of more than the network, or of a wrapped one, as the network's own."""
    if network is None:
        if any(n.startswith("model.") for n in store.tensors) and any(n.startswith("optim") for n in store.tensors):
            store.cut("model.")
        return
    names = {t.name for t in network.tensors}
    if not names or names & set(store.tensors):
        return
    for prefix in WRAPPERS:
        if any(n.startswith(prefix) and n.removeprefix(prefix) in names for n in store.tensors):
            store.cut(prefix)
            return


def _refuse_classes(rules: RuleSet) -> None:
    for rule in rules.walk():
        for node in nodes.walk(rule):
            if isinstance(node, nodes.ClassPattern) and (set(node.name) != {"*"} or node.predicates):
                raise ResolveError(
                    Diagnostic(
                        "needs-classes", "the rules speak of classes, and a file of tensors knows names only",
                        rules.source(rule.source), node.span,
                        "say which network it is: `--model package.module:attribute`, `--manifest net.json` or `model=`",
                    )
                )  # fmt: skip


def _stand_in(module: nn.Module, known: dict[int, Any]) -> nn.Module:
    """The same modules on parameters without memory; buffers are copies, everything else is shared."""
    if id(module) in known:
        made: nn.Module = known[id(module)]
        return made
    shell = known[id(module)] = object.__new__(type(module))
    shell.__dict__ = dict(module.__dict__)
    shell._parameters, shell._buffers = {}, {}
    for name, value in module._parameters.items():
        if value is not None and not nn.parameter.is_lazy(value) and id(value) not in known:
            empty = torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
            known[id(value)] = nn.Parameter(empty, requires_grad=value.requires_grad)
        shell._parameters[name] = value if value is None else known.get(id(value), value)
    for name, buffer in module._buffers.items():
        if buffer is not None and id(buffer) not in known:
            known[id(buffer)] = buffer.detach().clone()
        shell._buffers[name] = None if buffer is None else known[id(buffer)]
    shell._modules = {
        name: None if child is None else _stand_in(unwrap(child), known) for name, child in module._modules.items()
    }
    return shell


def _skeleton(network: Network) -> Live:
    """Modules of no class in the shape of a described network, so that its tensors have places."""
    live = Live([nn.Module() for _ in network.modules], [])
    for info in network.tensors:
        empty = torch.empty(info.shape, dtype=getattr(torch, info.dtype), device="meta")
        live.tensors.append(nn.Parameter(empty, False) if info.kind == "parameter" else empty)
        info.device = "meta"
        if info.kind == "parametrized":
            live.tensors[-1] = None
    for module, made in zip(network.modules, live.modules, strict=True):
        made._modules.update({name: live.modules[child] for name, child in module.children.items()})
        made._parameters.update({name: live.tensors[i] for name, i in module.parameters.items()})  # type: ignore[misc]
        made._buffers.update({name: live.tensors[i] for name, i in module.buffers.items()})
    return live


def _named(store: Store) -> nn.Module:
    """Modules of no class that hold tensors of a store's names and shapes."""
    tree: dict[str, Any] = {}
    known: dict[str, torch.Tensor] = {}
    for name in (*store.tensors, *(n for n in store.others if n not in store.tensors)):
        first = store.others.get(name, name)
        if first not in store.tensors:
            continue
        if first not in known:
            found = store.tensors[first]
            empty = torch.empty(found.shape, dtype=found.dtype, device="meta")
            known[first] = nn.Parameter(empty, False) if found.dtype.is_floating_point else empty
        *path, local = name.split(".")
        at = tree
        for step in path:
            at = at.setdefault(step, {})
            if not isinstance(at, dict):
                raise ValueError(f"`{name}` in `{store.where}` lies inside another tensor")
        if local in at:
            raise ValueError(f"`{name}` in `{store.where}` is a tensor and holds others")
        at[local] = known[first]
    return _module(tree)


def _module(tree: Mapping[str, Any]) -> nn.Module:
    below = {name: _module(value) for name, value in tree.items() if isinstance(value, dict)}
    numbered = len(below) == len(tree) > 0 and sorted(below) == sorted(map(str, range(len(below))))
    made: nn.Module = nn.ModuleList() if numbered else nn.Module()
    made._modules.update({str(i): below[str(i)] for i in range(len(below))} if numbered else below)
    running = "num_batches_tracked" in tree
    for name, value in tree.items():
        if isinstance(value, nn.Parameter) and not (running and name.startswith("running_")):
            made._parameters[name] = value
        elif isinstance(value, torch.Tensor):
            made._buffers[name] = value.detach()
    return made


# ---- the run


class _Run:
    """One verification: a plan on a network without memory, and a store of tensors."""

    def __init__(self, plan: Plan, store: Store, after_training: bool, alpha: float):
        assert plan.live is not None
        self.plan, self.live, self.store = plan, plan.live, store
        self.after_training, self.alpha = after_training, alpha
        self.structure: list[str] = []
        self.notes: list[str] = []
        self.p_values: list[tuple[Check, str, float]] = []
        self.taken: set[int] = set()
        self.names = {e.tensor.index: self._stored(e.names) for e in plan.entries}
        self._reads()
        drawn = plan if plan.seed is not None else replace(plan, seed=0)
        state = {
            e.name: tensor for e in plan.entries
            if (tensor := self.live.tensors[e.tensor.index]) is not None and not _kept(e)
        }  # fmt: skip
        self.origin = _Expected(drawn, state, self.taken)

    def _stored(self, names: list[str]) -> str | None:
        """Of a tensor's names the one the store has it under."""
        for name in (*names, *(self.store.others.get(n, n) for n in names)):
            if name in self.store.tensors:
                return name
        return None

    def _reads(self) -> None:
        """What rules read and none of them sets is taken as it is in the store."""
        read = {i for e in self.plan.entries for a in e.actions for i in _read_by(a)}
        for entry in self.plan.entries:
            if entry.tensor.index in read and (_kept(entry) or self.plan.seed is None):
                self._take(entry)
        for index in read - {e.tensor.index for e in self.plan.entries}:
            info = self.plan.network.tensors[index]
            self._put(index, self._stored(self.plan.network.names(info)))

    def _take(self, entry: PlanEntry) -> None:
        self._put(entry.tensor.index, self.names[entry.tensor.index])

    def _put(self, index: int, name: str | None) -> None:
        info, old = self.plan.network.tensors[index], self.live.tensors[index]
        if name is None or old is None or self.store.tensors[name].shape != info.shape:
            return
        values = self.store.whole(name).to(old.dtype)
        new = nn.Parameter(values, False) if isinstance(old, nn.Parameter) else values
        self.live.tensors[index] = new
        self.taken.add(index)
        for owner, local in info.owners:
            module = self.live.modules[owner]
            (module._buffers if local in module._buffers else module._parameters)[local] = new  # type: ignore[assignment]

    # ---- structure

    def _shapes(self) -> None:
        network, store = self.plan.network, self.store
        whole = isinstance(store, Tensors) and store.where == "the network"
        expected: set[str] = set()
        missing: list[str] = []
        others: dict[tuple[str, str], list[str]] = {}
        for info in network.tensors:
            names = network.names(info)
            expected.update(names)
            if info.kind == "parametrized":
                continue
            found = self._stored(self.plan.tensor_names(info))
            if found is None:
                if info.kind == "parameter" or _persistent(self.live, info.owners):
                    missing.append(info.name)
            elif store.tensors[found].shape != info.shape:
                self.structure.append(
                    f"`{info.name}` has shape {list(store.tensors[found].shape)}, not {list(info.shape)}"
                )
            elif (there := store.tensors[found].dtype) != (here := getattr(torch, info.dtype)):
                if there.is_floating_point == here.is_floating_point:
                    others.setdefault((_plain_dtype(there), info.dtype), []).append(info.name)
                else:
                    self.structure.append(f"`{info.name}` is {_plain_dtype(there)}, not {info.dtype}")
        if missing:
            self.structure.append(f"{len(missing)} missing: {listed(missing, 8)}")
        for (theirs, ours), names in others.items():
            what = f"{len(names)} tensors are" if len(names) > 1 else f"`{names[0]}` is"
            self.notes.append(f"{what} {theirs} there and {ours} in the network: compared as {theirs}")
        further = [n for n in store.tensors if n not in expected]
        if further and not whole:
            self.structure.append(f"{len(further)} that the network has not: {listed(further, 8)}")

    def _ties(self) -> None:
        store = self.store
        for entry in self.plan.entries:
            there = [n for n in entry.names if n in store.tensors]
            firsts = {store.others.get(n, n) for n in there}
            if len(firsts) < 2:
                continue
            shown = " and ".join(f"`{name}`" for name in sorted(firsts))
            if isinstance(store, Tensors):
                self.structure.append(f"{shown} are to be one tensor, and are not tied")
            elif not _equal(store, sorted(firsts)):
                self.structure.append(f"{shown} are to be one tensor, and differ")
        owner = {n: e for e in self.plan.entries for n in e.names}
        for name, first in store.others.items():
            if name in owner and first in owner and owner[name] is not owner[first]:
                self.structure.append(f"`{name}` and `{first}` are tied, and nothing says so")

    # ---- expectations

    def unmet(self) -> list[str]:
        """The `expect` statements that do not hold of what is stored; training is free to break them."""
        if self.after_training:
            return []
        return [f"{found.message} ({found.location})" for found in unmet_expectations(self.plan, self._value)]

    def _value(self, tensor: int) -> torch.Tensor | None:
        name = self._stored(self.plan.tensor_names(self.plan.network.tensors[tensor]))
        return None if name is None else self.store.whole(name)

    # ---- values

    def checks(self) -> list[Check]:
        self._shapes()
        self._ties()
        found = []
        for entry in self.plan.entries:
            check = self._new(entry)
            found.append(check)
            name = self.names[entry.tensor.index]
            if entry.tensor.kind == "parametrized":
                self._computed(entry, check)
            elif name is None or self.store.tensors[name].shape != entry.shape:
                check.status = "unchecked"
                check.message = "missing" if name is None else "of another shape"
            elif not _kept(entry):
                with torch.no_grad():
                    self._check(entry, check, name)
        self.origin.release()
        self._settle()
        return found

    def _new(self, entry: PlanEntry) -> Check:
        place = ", ".join(dict.fromkeys(place for _, place in entry.statements))
        return Check(entry.name, entry.names, entry.label, entry.shape, entry.effect, place)

    def _settle(self) -> None:
        """Judge all p-values together: Holm over the tensors, Bonferroni over the tests of one."""
        smallest: dict[int, tuple[Check, str, float]] = {}
        count: dict[int, int] = {}
        for check, test, p in self.p_values:
            count[id(check)] = count.get(id(check), 0) + 1
            if id(check) not in smallest or p < smallest[id(check)][2]:
                smallest[id(check)] = (check, test, p)
        rows = list(smallest.values())
        bad = holm([min(1.0, p * count[id(check)]) for check, _, p in rows], self.alpha)
        for (check, test, p), wrong in zip(rows, bad, strict=True):
            if wrong and check.status == "match":
                self._moved_or(check, f"{_said(check, test)} (p = {p:.2g})")

    def _moved_or(self, check: Check, message: str) -> None:
        """A difference: how far it has moved after training, drift before."""
        if self.after_training:
            check.moved = {**(check.moved or {}), "moved": 1.0}
            check.message = message
        else:
            check.drift(message)

    def _check(self, entry: PlanEntry, check: Check, name: str) -> None:
        if self.after_training:
            check.moved = {"moved": 0.0}
        try:
            if self.plan.seed is not None or not self._draws(entry):
                self._exact(entry, check, name)
            else:
                self._statistical(entry, check, name)
        except ApplyError as error:
            check.status, check.how, check.message = "unchecked", "nothing", error.diagnostics[0].message

    def _draws(self, entry: PlanEntry) -> bool:
        """Whether chance has a part in an entry's values."""
        return any(self._drawn(action) for action in entry.actions)

    def _drawn(self, action: Action) -> bool:
        payload = action.payload
        if isinstance(payload, Draw):
            return payload.initializer.draws
        if isinstance(payload, Expression):
            return bool(self._calls(action))
        return isinstance(payload, Reset) or (isinstance(payload, Random) and payload.std > 0)

    def _calls(self, action: Action) -> list[str]:
        """The functions that draw in an expression."""
        assert isinstance(action.payload, Expression)
        registry = self.plan.resolver.registry
        calls = (n.function for n in nodes_of(action.payload.expr, action.clause.lets) if isinstance(n, Call))
        return [name for name in calls if name in registry and registry[name].draws]

    # ---- exactly

    def _exact(self, entry: PlanEntry, check: Check, name: str) -> None:
        if self._needs_code(entry):
            check.status, check.message = "unchecked", "torch's default needs the network's code: `--model`"
            return
        check.how = "values"
        grid = self.origin.parts(entry)
        dtype = getattr(torch, entry.dtype)
        difference = _Difference()
        if grid is not None and grid == entry.shape:
            filler = self.origin.filler()
            for extents_, values in self.store.pieces(name):
                wanted = torch.empty(values.shape, dtype=dtype)
                filler.fill(entry, grid, extents_, wanted)
                difference.add(values, wanted)
        else:
            wanted = self.origin.whole(entry.name)
            for extents_, values in self.store.pieces(name):
                difference.add(values, wanted[tuple(slice(e.start, e.stop) for e in extents_)])
        check.measured, check.expected = difference.measured, difference.expected
        if self.after_training:
            check.moved = difference.moved
        elif difference.count:
            self._moved_or(check, difference.message(entry.numel))

    def _needs_code(self, entry: PlanEntry) -> bool:
        resets = [a.payload.module for a in entry.actions if isinstance(a.payload, Reset)]
        return any(type(self.live.modules[m]) is nn.Module for m in resets)

    # ---- statistically

    def _statistical(self, entry: PlanEntry, check: Check, name: str) -> None:
        check.how = "distribution"
        what = _affine(entry)
        if what is not None:
            sample = Sample(what, self.store.tensors[name].dtype)
            for _, values in self.store.pieces(name):
                sample.add(values)
            self._judge(check, sample)
            return
        grid = self.origin.parts(entry)
        if grid is not None and all(isinstance(a.payload, Value | Constant | Random) for a in entry.actions):
            self._by_slices(entry, check, name, grid)
            return
        draw = entry.base.payload if entry.base is not None else None
        if isinstance(draw, Draw) and not entry.edits:
            self._property(check, draw, self.store.whole(name))
        else:
            self._simulated(entry, check, name)

    def _judge(self, check: Check, sample: Sample) -> None:
        check.measured = {"mean": sample.mean, "std": sample.std, "min": sample.low, "max": sample.high}
        check.expected = {"mean": sample.what.mean, "std": sample.what.std}
        outside = sample.outside()
        if outside is not None:
            self._moved_or(check, outside)
        for test, p in sample.tests().items():
            check.p_values[test] = min(p, check.p_values.get(test, 1.0))
            self.p_values.append((check, test, p))

    def _by_slices(self, entry: PlanEntry, check: Check, name: str, grid: tuple[int, ...]) -> None:
        """Each element by the last rule that sets it."""
        dtype = self.store.tensors[name].dtype
        samples = [Sample(_distribution(a), dtype) for a in entry.actions]
        pieces = self.store.pieces(name)
        if grid != entry.shape:
            pieces = iter([Piece(tuple(map(range, grid)), self.store.whole(name).reshape(grid))])
        filler = self.origin.filler()
        for extents_, values in pieces:
            who = torch.full(values.shape, -1.0)
            for number, action in enumerate(entry.actions):
                marked = replace(action, operator="=", payload=Constant(float(number)))
                filler.fill(replace(entry, base=None, edits=[marked]), grid, extents_, who)
            for number, sample in enumerate(samples):
                mine = values[who == number]
                if mine.numel():
                    sample.add(mine)
        for sample in samples:
            if sample.count + sample.bad:
                self._judge(check, sample)

    def _property(self, check: Check, draw: Draw, values: torch.Tensor) -> None:
        kind = draw.initializer.name
        check.how = "property"
        if not draw.initializer.builtin or kind not in PROPERTIES:
            check.status, check.how = "unchecked", "nothing"
            check.message = f"`{kind}` can be compared under its seed only"
            return
        wrong = PROPERTIES[kind](values, draw.arguments)
        if wrong is not None:
            self._moved_or(check, wrong)

    def _simulated(self, entry: PlanEntry, check: Check, name: str) -> None:
        """Against values that the same rules draw under a seed: for expressions that work element by element."""
        if any(isinstance(a.payload, Draw) for a in entry.actions) or any(
            isinstance(a.payload, Expression) and not self._elementwise(a) for a in entry.actions
        ):
            check.status, check.how, check.message = "unchecked", "nothing", "can be compared under its seed only"
            return
        if self._needs_code(entry):
            check.status, check.how = "unchecked", "nothing"
            check.message = "torch's default needs the network's code: `--model`"
            return
        values = self.store.whole(name).double()
        if not bool(torch.isfinite(values).all()):
            self._moved_or(check, "some elements are not finite")
            return
        reference = self._simulations(entry)
        if bool((reference == reference[0, :1]).all()):  # nothing was drawn after all
            difference = _Difference()
            difference.add(values, reference[0].reshape(values.shape))
            check.how = "values"
            if difference.count:
                self._moved_or(check, difference.message(entry.numel))
            return
        check.measured = {"mean": float(values.mean()), "std": float(values.std(correction=0))}
        check.expected = {"mean": float(reference.mean()), "std": float(reference.std(correction=0))}
        check.p_values = two_samples(values, reference.reshape(-1))
        self.p_values += [(check, test, p) for test, p in check.p_values.items()]

    def _simulations(self, entry: PlanEntry) -> torch.Tensor:
        """What an entry's rules draw under some seeds, a row each: enough of them for small tensors too."""
        rows = []
        plan = self.origin.plan
        for seed in range(max(1, min(64, SIMULATED // max(1, entry.numel)))):
            self.origin.release()
            self.origin.plan = replace(plan, seed=seed)
            rows.append(self.origin.whole(entry.name).double().reshape(-1).clone())
        self.origin.plan = plan
        self.origin.release()
        return torch.stack(rows)

    def _elementwise(self, action: Action) -> bool:
        assert isinstance(action.payload, Expression)
        registry = self.plan.resolver.registry
        calls = {n.function for n in nodes_of(action.payload.expr, action.clause.lets) if isinstance(n, Call)}
        return not calls & {"min", "max", "sum", "mean", "std", "norm"} and all(
            registry[name].elementwise for name in calls if name in registry
        )

    # ---- computed tensors

    def _computed(self, entry: PlanEntry, check: Check) -> None:
        """A parametrized weight by what it is computed from, where a seed says what that is."""
        tensors = self.plan.network.tensors
        members = [
            i for i in sorted(self.origin.groups.get(entry.tensor.index, ()))
            if self.live.tensors[i] is not None and tensors[i].kind == "parameter"
        ]  # fmt: skip
        stored = {i: self._stored(self.plan.network.names(tensors[i])) for i in members}
        if self.plan.seed is None or not members:
            check.status, check.message = "unchecked", "it is computed, and can be compared under its seed only"
            return
        check.how, difference = "values", _Difference()
        for i, name in stored.items():
            if name is None or self.store.tensors[name].shape != tensors[i].shape:
                check.status, check.message = "unchecked", f"`{tensors[i].name}` is missing or of another shape"
                return
            live = self.live.tensors[i]
            assert live is not None
            self.origin.state = {**self.origin.state, tensors[i].name: live}
            self.origin.numbers[tensors[i].name] = i
        for i, name in stored.items():
            assert name is not None
            with torch.no_grad():
                difference.add(self.store.whole(name), self.origin.whole(tensors[i].name))
        if self.after_training:
            check.moved = difference.moved
        elif difference.count:
            self._moved_or(check, difference.message(difference.elements))


class _Expected(Origin):
    """The values rules make, where those that were taken from the store are read and not made again."""

    def __init__(self, plan: Plan, state: Mapping[str, torch.Tensor], taken: set[int]):
        super().__init__(plan, state)
        self.taken = taken

    def _with(self, number: int) -> set[int]:
        return super()._with(number) - (self.taken - {number})

    def given(self, number: int) -> bool:
        return number in self.taken or super().given(number)


def _kept(entry: PlanEntry) -> bool:
    return not entry.edits and (entry.base is None or isinstance(entry.base.payload, Kept))


def _read_by(action: Action) -> set[int]:
    if isinstance(action.payload, Expression):
        return set(action.payload.reads)
    return {action.payload.tensor} if isinstance(action.payload, CopyFrom) else set()


def _persistent(live: Live, owners: list[tuple[int, str]]) -> bool:
    """Whether a buffer is saved with the network."""
    return any(local not in live.modules[owner]._non_persistent_buffers_set for owner, local in owners)


def _equal(store: Store, names: list[str]) -> bool:
    first = store.whole(names[0])
    return all(store.tensors[n].shape == tuple(first.shape) and torch.equal(store.whole(n), first) for n in names[1:])


def _distribution(action: Action) -> Distribution:
    payload = action.payload
    if isinstance(payload, Value):
        return Constant(float(payload.value))
    assert isinstance(payload, Distribution)
    return payload


def _affine(entry: PlanEntry) -> Distribution | None:
    """The distribution of an entry that is drawn as a whole and then moved or scaled by numbers."""
    if entry.base is None or not isinstance(entry.base.payload, Random):
        return None
    what: Distribution = entry.base.payload
    for edit in entry.edits:
        if edit.index is not None or edit.view is not None or not isinstance(edit.payload, Value):
            return None
        if edit.operator in "=~":
            return None
        value = float(edit.payload.value)
        scale = {"*=": value, "/=": 1 / value if value else 0.0}.get(edit.operator, 1.0)
        shift = {"+=": value, "-=": -value}.get(edit.operator, 0.0)
        if not scale:
            return None
        what = _scaled(what, scale, shift)
    return Constant(what.mean) if what.std == 0 else what


def _scaled(what: Distribution, scale: float, shift: float) -> Distribution:
    low, high = sorted((what.bounds[0] * scale + shift, what.bounds[1] * scale + shift))
    match what:
        case Uniform():
            return Uniform(low, high)
        case Normal():
            return Normal(what.mean * scale + shift, what.std * abs(scale))
        case TruncatedNormal():
            return TruncatedNormal(what.loc * scale + shift, what.scale * abs(scale), low, high)
        case Bernoulli():
            return Bernoulli(what.p, what.low * scale + shift, what.high * scale + shift)
    return Constant(what.mean * scale + shift)


def _said(check: Check, test: str) -> str:
    """What a test found, in words."""
    if test in ("mean", "std") and test in check.measured:
        return f"the {test} is {check.measured[test]:.5g}, the rule's {check.expected[test]:.5g}"
    if test == "share":
        return f"the mean is {check.measured['mean']:.5g}, the rule's {check.expected['mean']:.5g}"
    return "its values are distributed otherwise"


@dataclass
class _Difference:
    """How a tensor differs from what it should be, summed up piece by piece."""

    count: int = 0
    elements: int = 0
    largest: float = 0.0
    squares: float = 0.0
    wanted_squares: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])

    def add(self, values: torch.Tensor, wanted: torch.Tensor) -> None:
        wanted = wanted.to(values.dtype)  # a file may hold a shorter dtype than the network
        same = (values == wanted) | (values.isnan() & wanted.isnan())
        x, y = values.double(), wanted.double()
        self.elements += x.numel()
        for place, total in enumerate((x.sum(), (x * x).sum(), y.sum(), (y * y).sum())):
            self.sums[place] += float(total)
        self.wanted_squares = self.sums[3]
        if bool(same.all()):
            return
        self.count += int((~same).sum())
        away = (x - y)[~same].abs()
        self.largest = max(self.largest, float(away.max())) if not bool(away.isnan().any()) else math.nan
        self.squares += float((away * away).sum())

    @property
    def measured(self) -> dict[str, float]:
        return _moments(self.sums[0], self.sums[1], self.elements)

    @property
    def expected(self) -> dict[str, float]:
        return _moments(self.sums[2], self.sums[3], self.elements)

    @property
    def moved(self) -> dict[str, float]:
        norm = math.sqrt(self.wanted_squares)
        distance = math.sqrt(self.squares) if not math.isnan(self.squares) else math.nan
        return {
            "moved": float(self.count > 0), "share": self.count / max(1, self.elements), "largest": self.largest,
            "distance": distance / norm if norm else (math.inf if distance else 0.0),
            "rms": math.sqrt(self.squares / max(1, self.elements)) if distance == distance else math.nan,
        }  # fmt: skip

    def message(self, numel: int) -> str:
        share = f"{self.count} of {numel} elements differ" if numel > 1 else "its element differs"
        return f"{share}, the farthest by {self.largest:.3g}"


def _moments(total: float, squares: float, count: int) -> dict[str, float]:
    if not count:
        return {}
    mean = total / count
    return {"mean": mean, "std": math.sqrt(max(0.0, squares / count - mean * mean))}


# ---- properties

# how far the products of an orthogonal matrix may be from those of the identity: rounding of each dtype, with room
ORTHOGONAL = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def _orthogonal(values: torch.Tensor, arguments: Mapping[str, Any]) -> str | None:
    gain = float(arguments["gain"])
    matrix = values.double().reshape(values.shape[0], -1)
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    wanted = gain * gain * torch.eye(matrix.shape[0], dtype=torch.float64)
    away = float((matrix @ matrix.t() - wanted).abs().max())
    if not away <= ORTHOGONAL.get(values.dtype, 0.2) * max(gain * gain, 1e-30):
        return f"it is not orthogonal: a product of its rows is off by {away:.2g}"
    return None


def _sparse(values: torch.Tensor, arguments: Mapping[str, Any]) -> str | None:
    zeroed = math.ceil(float(arguments["sparsity"]) * values.shape[0])
    zeros = (values == 0).sum(0)
    if bool((zeros < zeroed).any()):
        return f"a column has {int(zeros.min())} zeros, not {zeroed}"
    if zeroed < values.shape[0] and float(arguments["std"]) and bool((zeros == values.shape[0]).any()):
        return f"a column has {values.shape[0]} zeros, not {zeroed}"
    sample = Sample(Normal(0.0, float(arguments["std"])), values.dtype)
    sample.add(values[values != 0])
    p = min(sample.tests().values(), default=1.0)
    return f"what is not zero is not normal with std {arguments['std']:g} (p = {p:.2g})" if p < 1e-6 else None


PROPERTIES: dict[str, Callable[[torch.Tensor, Mapping[str, Any]], str | None]] = {
    "orthogonal": _orthogonal,
    "sparse": _sparse,
}
