"""`Lock`: what rules start a model as, in lines that are reviewed, merged and compared; and what drifted since."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata

from initdsl.initializers import Constant, Distribution
from initdsl.planning.actions import Action, Expression
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.reports.table import LAYER_NUMBER, range_name
from initdsl.statistics.predicted import affine_distribution

from .facts import digits, program_key

__all__ = ["STREAM", "Drift", "Lock", "drift_of", "groups_of", "lock_of"]


# the version of the random streams, `initdsl.streams.VERSION`, without torch
STREAM = "v1"


# statuses of tensors that start as the code of a library makes them
BY_CODE = ("default", "uncovered", "partial", "kept")


@dataclass(frozen=True)
class Lock:
    """What rules start a model as: `Lock({"net.init": "5f0c..."}, "9a1b...", plan={"0.weight": "8x4 float32: ..."})`.

    `rules` are the SHA-256 of the rule files, `network` is the model's fingerprint, `manifest` the path of its
    description where it was locked by one. `settings` are the texts of `--set`, `libraries` versions by their names.
    `plan` says what each group of parameters starts as, `ties` which names are one tensor, and `values`, where they were
    asked for, the SHA-256 of what each group holds under the seed. `by_code` counts the parameters that start as the
    code of a library makes them.
    """

    rules: Mapping[str, str]
    network: str
    manifest: str | None = None
    seed: int | None = None
    stream: str = STREAM
    settings: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, str] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    by_code: int = 0


def lock_of(
    plan: Plan, folder: str, settings: Mapping[str, str], manifest: str | None, values: Mapping[str, str] | None = None
) -> Lock:
    """Return the lock of a plan; the names of its rule files are relative to `folder`."""
    rules = {}
    for name, text in plan.rules.sources.items():
        inside = name if name.startswith(("<", "initdsl:")) else os.path.relpath(os.path.abspath(name), folder)
        rules[inside.replace(os.sep, "/")] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    ties = {names[0]: " = ".join(names) for names in plan.tied}
    ties |= {entry.name: " = ".join(entry.names) for entry in plan.entries if len(entry.aliases) > 1}
    return Lock(
        rules=rules,
        network=plan.network.fingerprint(),
        manifest=manifest,
        seed=plan.seed,
        settings=dict(settings),
        libraries=_libraries(plan),
        plan={name: line for name, line, _ in groups_of(plan)},
        ties=ties,
        values=dict(values or {}),
        by_code=sum(entry.status in BY_CODE for entry in plan.entries if entry.tensor.kind != "buffer"),
    )


def groups_of(plan: Plan) -> Iterator[tuple[str, str, list[PlanEntry]]]:
    """Yield name, line and tensors of every group: those that differ in layer numbers alone, and start alike."""
    groups: dict[tuple[str, str], list[PlanEntry]] = {}
    for entry in plan.entries:
        groups.setdefault((LAYER_NUMBER.sub("{}", entry.name), _line(plan, entry)), []).append(entry)
    for (pattern, line), members in groups.items():
        yield range_name(pattern, [entry.name for entry in members]), line, members


def _line(plan: Plan, entry: PlanEntry) -> str:
    """Return what a tensor starts as: `8x4 float32: normal(mean=0, std=0.02)`, numbers to 12 digits, as systems differ in the last ones."""
    shape = "x".join(map(str, entry.shape)) or "scalar"
    return f"{shape} {entry.dtype}: {_start(plan, entry)}"


def _start(plan: Plan, entry: PlanEntry) -> str:
    if entry.status in ("uncovered", "kept", "default"):
        return entry.status
    whole = entry.distribution or affine_distribution(entry)
    return (
        _exact(whole)
        if whole is not None
        else "; ".join(dict.fromkeys(_action(plan, action) for action in entry.actions))
    )


def _exact(distribution: Distribution) -> str:
    if isinstance(distribution, Constant):
        return f"constant({digits(distribution.value)})"
    values = ", ".join(f"{name}={digits(getattr(distribution, name))}" for name in distribution.__slots__)
    return f"{distribution.kind}({values})"


def _action(plan: Plan, action: Action) -> str:
    """Return one write: as its rule says it, with what the numbers in it come to."""
    payload = action.payload
    if isinstance(payload, Distribution):
        return f"{action.effect} [{_exact(payload)}]"
    if isinstance(payload, Expression):
        said = repr(program_key(plan, payload.program))
        return f"{action.effect} [{hashlib.sha256(said.encode()).hexdigest()[:12]}]"
    text = str(payload)
    return (
        action.effect
        if text in action.effect or text.startswith(type(payload).__name__)
        else f"{action.effect} [{text}]"
    )


def _libraries(plan: Plan) -> dict[str, str]:
    """Return the versions of initdsl, of torch, and of the packages whose classes hold the tensors; those that are there."""
    owners = {
        plan.network.modules[owner].cls.qualname.partition(".")[0]
        for entry in plan.entries
        for owner, _ in entry.tensor.owners
    }
    found = {}
    for name in sorted({"initdsl", "torch", *owners}):
        try:
            found[name] = metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return found


@dataclass(frozen=True)
class Drift:
    """What is otherwise than a lock says: `causes` say why, `changes` what, and `notes` what comes to the same.

    True where the model starts as something else, or may.
    """

    causes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)


def drift_of(locked: Lock, now: Lock) -> Drift:
    """Return what is otherwise now than it was when it was locked."""
    rules = _differing("rules", locked.rules, now.rules, said=False)
    settings = _differing("settings", locked.settings, now.settings)
    network = ["model: names, classes, shapes or dtypes are others"] if locked.network != now.network else []
    stream = []
    if locked.seed != now.seed:
        stream.append(f"stream: the seed is {_seed(now.seed)}, it was {_seed(locked.seed)}")
    if locked.stream != now.stream:
        stream.append(f"stream: the version is {now.stream}, it was {locked.stream}")
    there = {name: version for name, version in now.libraries.items() if name != "initdsl"}
    library = _differing("library", {n: v for n, v in locked.libraries.items() if n in there}, there)
    changes = [*_differing("plan", locked.plan, now.plan), *_differing("ties", locked.ties, now.ties), *stream]
    if locked.values and now.values:
        changes += _differing("values", locked.values, now.values, said=False)
    causes = [*rules, *settings, *network, *stream]
    if library and now.by_code:
        tensors = f"{now.by_code} parameter{'s' * (now.by_code != 1)}"
        causes += library
        changes.append(
            f"library: {tensors} start{'s' * (now.by_code == 1)} as its code makes them, which may be another now"
        )
    elif library and changes:
        causes += library
    if changes and not causes:
        causes.append("the lock was edited by hand, or another version of initdsl wrote it")
    if changes:
        return Drift(tuple(causes), tuple(changes), ())
    return Drift(notes=tuple(f"{cause}; the start is the same" for cause in [*causes, *library]))


def _seed(seed: int | None) -> str:
    return "none" if seed is None else str(seed)


def _differing(what: str, before: Mapping[str, str], after: Mapping[str, str], said: bool = True) -> list[str]:
    """Return a line for each name whose text is another; with `said`, both texts."""
    lines = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            lines.append(f"{what}: {name} is {'new' if was is None else 'gone'}{f' ({was or now})' if said else ''}")
        elif was != now:
            lines.append(f"{what}: {name}: {was} -> {now}" if said else f"{what}: {name} changed")
    return lines
