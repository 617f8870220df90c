"""`Verification`: what holds of every tensor, as a value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from initdsl.text.diagnostic import printable
from initdsl.text.tables import aligned

__all__ = ["Check", "Verification", "differing", "unchecked"]


VERIFICATION_FORMAT = "initdsl-verification"


VERIFICATION_VERSION = 1


Status = Literal["match", "drift", "unchecked"]


How = Literal["values", "distribution", "property", "nothing"]


@dataclass(frozen=True)
class Check:
    """What holds of one tensor: `Check("0.bias", ("0.bias",), "net[0].bias", (8,), "= 0", "mlp.init:2", how="values")`.

    `how` says what was compared: `values`, `distribution`, `property`, or `nothing` (kept, or reached by no rule).
    `measured` are mean, std, min and max of what is there, `expected` what the rule says of them, `p_values` those of
    the statistical tests by name. `moved` is how far training has moved it, and None where nothing has moved: the
    `share` of elements, the `largest` difference, the `distance` in parts of the norm, and the difference's `rms`;
    `moved` is 1, and all that is known where distributions were tested.
    """

    name: str
    names: tuple[str, ...]
    label: str
    shape: tuple[int, ...]
    rule: str
    location: str
    status: Status = "match"
    how: How = "nothing"
    message: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)
    p_values: Mapping[str, float] = field(default_factory=dict)
    moved: Mapping[str, float] | None = None

    def __hash__(self) -> int:
        return hash((self.name, self.label, self.shape, self.rule, self.status, self.how, self.message))

    def __str__(self) -> str:
        if self.moved is not None:
            return f"moved {self.label} {list(self.shape)}: {_movement(self, self.moved)}"
        return f"{self.status} {self.label} {list(self.shape)}: {self.message or self.how}"

    def to_dict(self) -> dict[str, Any]:
        """Return the check, JSON-ready; numbers that JSON has no word for as text."""
        values: dict[str, Any] = {
            "name": self.name,
            "label": self.label,
            "names": list(self.names),
            "shape": list(self.shape),
            "status": self.status,
            "how": self.how,
            "message": self.message,
            "rule": self.rule,
            "location": self.location,
            "measured": _plain(self.measured),
            "expected": _plain(self.expected),
            "p_values": _plain(self.p_values),
        }
        return values if self.moved is None else {**values, "moved": _plain(self.moved)}


def differing(check: Check, message: str) -> Check:
    """Return the check of a tensor that is not what its rule makes: after training it has moved, before it has drifted."""
    if check.moved is not None:
        return replace(check, moved={**check.moved, "moved": 1}, message=message)
    return replace(check, status="drift", message=message)


def unchecked(check: Check, message: str, how: How = "nothing") -> Check:
    """Return the check of a tensor whose values could not be compared, and why."""
    return replace(check, status="unchecked", how=how, message=message)


def _plain(numbers: Mapping[str, float]) -> dict[str, float | str]:
    return {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}


@dataclass(frozen=True)
class Verification:
    """What `verify` found: iterable over its checks, one a tensor; true if nothing drifted.

    `structure` has what is wrong with names, shapes and ties, `unmet` the `expect` statements that do not hold, `notes`
    what is worth knowing, `provenance` what the file says of itself. `seed` is the one the values were compared under.
    """

    where: str
    checks: list[Check]
    structure: list[str]
    notes: list[str]
    provenance: Mapping[str, str]
    seed: int | None
    after_training: bool = False
    unmet: list[str] = field(default_factory=list)

    def __hash__(self) -> int:
        return hash((self.where, self.seed, *self.checks))

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def __getitem__(self, name: str) -> Check:
        """Return the check of a tensor, by any of its names."""
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

    @property
    def moved(self) -> list[Check]:
        """The tensors that training has moved, under `after_training`."""
        return [c for c in self.checks if c.moved is not None]

    def summary(self) -> str:
        """Return how many tensors match and how many do not, in one line."""
        matching = [c for c in self.checks if c.status == "match" and c.moved is None]
        parts = [f"{len(matching)} match"]
        if self.after_training:
            kept = sum(c.how == "nothing" for c in matching)
            parts = [f"{len(matching) - kept} where they started", f"{len(self.moved)} moved"]
            parts += [f"{kept} not compared"] if kept else []
        parts += [f"{len(self.drifted)} drifted"] if self.drifted else []
        parts += [f"{len(self.unchecked)} unchecked"] if self.unchecked else []
        if self.structure:
            parts.append(f"{len(self.structure)} difference{'s' * (len(self.structure) > 1)} of structure")
        if self.unmet:
            parts.append(f"{len(self.unmet)} expectation{'s' * (len(self.unmet) > 1)} unmet")
        how = f"values of seed {self.seed}" if self.seed is not None else "no seed: distributions tested"
        return f"{', '.join(parts)} ({how})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, versioned."""
        return {
            "format": VERIFICATION_FORMAT,
            "version": VERIFICATION_VERSION,
            "where": self.where,
            "match": bool(self),
            "seed": self.seed,
            "after_training": self.after_training,
            "structure": self.structure,
            "unmet": self.unmet,
            "notes": self.notes,
            "provenance": dict(self.provenance),
            "checks": [check.to_dict() for check in self.checks],
        }

    def __str__(self) -> str:
        rows = [("parameter", "shape", "compared", "result", "rule")]
        for check in self.checks:
            shape = "x".join(map(str, check.shape)) or "scalar"
            rows.append((check.label, shape, check.how, _result(check, self.after_training), check.location))
        lines = aligned(rows)
        lines += [f"structure: {message}" for message in self.structure]
        lines += [f"unmet: {message}" for message in self.unmet]
        lines += [f"note: {message}" for message in self.notes]
        return "\n".join(map(printable, [*lines, self.summary()]))

    def __repr__(self) -> str:
        return f"<Verification: {self.summary()}>"


def _result(check: Check, after_training: bool) -> str:
    if check.moved is not None:
        return f"moved: {_movement(check, check.moved)}"
    if after_training and check.status == "match":
        return {"values": "where it started", "nothing": "not compared"}.get(check.how, "as it is drawn")
    return f"{check.status}: {check.message}" if check.message else check.status


def _movement(check: Check, moved: Mapping[str, float]) -> str:
    """Return how far training has moved a tensor, in words."""
    if "distance" not in moved:
        return check.message
    before, after = (values.get("mean", math.nan) for values in (check.expected, check.measured))
    if math.prod(check.shape) == 1 and before != after and math.isfinite(before) and math.isfinite(after):
        return f"{_number(before)} to {_number(after)}"
    distance, rms = moved["distance"], moved["rms"]
    far = f"{distance:.3g} of its norm" if math.isfinite(distance) else f"{rms:.3g} from where it was (rms)"
    parts = [f"{moved['share']:.1%} of elements, {far}"]
    if "std" in check.measured and "std" in check.expected:
        parts.append(f"std {check.expected['std']:.4g} to {check.measured['std']:.4g}")
    return ", ".join(parts)


def _number(value: float) -> str:
    """Return a number in words, a count with all of its digits."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.7g}"
