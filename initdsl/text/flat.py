"""Values for experiment trackers: one level of names, few enough to log, in characters that every tracker takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

__all__ = ["MOST_GROUPS", "Flat", "flat_name", "flat_values"]


# numbers and texts by their names: `{"init/set_tensors": 24, "init/std/layers.0-11.weight": 0.02}`
Flat = dict[str, int | float | str]


# groups of parameters that are among the values; what is more is counted
MOST_GROUPS = 100


# what MLflow takes of a name, which is the strictest; it may have 250 characters
REFUSED = re.compile(r"[^A-Za-z0-9_\-. :/]")
LONGEST = 200


def flat_name(group: str) -> str:
    """Return the name of a group of parameters for a tracker: `layers.0-11.weight` for `layers.{0..11}.weight`."""
    name = re.sub(r"\{([^}]*)\}", lambda match: match[1].replace("..", "-").replace(",", "_"), group)
    return REFUSED.sub("_", name)[:LONGEST].rstrip(" ./") or "_"


def flat_values(
    prefix: str, values: Mapping[str, int | float | str | None], groups: Iterable[tuple[str, float]] = ()
) -> Flat:
    """Return values under a prefix, those that are None left out, and a number for each of the first groups."""
    flat: Flat = {f"{prefix}/{name}": value for name, value in values.items() if value is not None}
    plain, left = len(flat), 0
    for name, value in groups:
        if len(flat) >= plain + MOST_GROUPS:
            left += 1
        elif math.isfinite(value):
            flat[f"{prefix}/std/{flat_name(name)}"] = value
    return {**flat, f"{prefix}/groups_left_out": left} if left else flat
