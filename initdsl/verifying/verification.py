"""`Verification`: what holds of every tensor, as a value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from initdsl.text.diagnostic import printable
from initdsl.text.tables import aligned

__all__ = ["Check", "Verification"]


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
        lines = aligned(rows)
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
