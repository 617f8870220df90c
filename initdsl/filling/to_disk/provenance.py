"""What a checkpoint says of the rules and the model it was made from."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata

import torch

from initdsl import streams
from initdsl.filling.meta.with_defaults import DEFAULTS
from initdsl.planning.plan import Plan

__all__ = ["provenance", "rules_sha256"]


def rules_sha256(plan: Plan) -> str:
    """Return the SHA-256 of a plan's rule text, in hexadecimal: what `sha256sum rules.init` prints for a file without `use`.

    The files a rule file uses count too: their texts follow its own, each behind a NUL.
    """
    texts = [text for name, text in plan.rules.sources.items() if name != DEFAULTS.name]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def provenance(plan: Plan) -> dict[str, str]:
    """Return what a file says of how its values came about, as safetensors metadata.

    `initdsl.rules_sha256` (see `rules_sha256`), `initdsl.network` (a hash of names, classes, shapes, dtypes and ties),
    `initdsl.version`, `torch.version`; under a seed `initdsl.seed` and `initdsl.stream` (`v1`); and, where `let`s were
    overridden, `initdsl.vars` as JSON.
    """
    values = {
        "initdsl.rules_sha256": rules_sha256(plan),
        "initdsl.network": plan.network.fingerprint(),
        "initdsl.version": metadata.version("initdsl"),
        "torch.version": str(torch.__version__),
    }
    if plan.seed is not None:
        values["initdsl.seed"] = str(plan.seed)
        values["initdsl.stream"] = streams.VERSION.rpartition(" ")[2]
    if plan.variables:
        values["initdsl.vars"] = json.dumps(plan.variables, sort_keys=True, default=str)
    return values
