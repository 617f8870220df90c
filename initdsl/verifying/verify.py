"""Whether a model, a state dict or a checkpoint still is what its rules say: structure, values, distributions.

With a seed the values are made again and compared, bit for bit; what is filled element by element, a piece at a time.
Without one, what rules set is compared as well, and what they draw is tested: moments, bounds and Kolmogorov-Smirnov
against the rule's distribution, with Holm's correction for the number of parameters. What has a property in place of a
distribution (`orthogonal`) is checked for that. Reads only: the model it is given keeps its values and its objects.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.filling.load_code import refuse_load_code
from initdsl.filling.to_disk.provenance import rules_sha256
from initdsl.language.rules.loader import coerce
from initdsl.network.description import Network
from initdsl.planning.make import check_seed, make_plan
from initdsl.text.diagnostic import Diagnostic

from .run import checks_of, unmet
from .stages import part_of_stage, stage_of
from .structure import structure_of
from .subject import network_of, seed_of, store_of, subject_of, vars_of
from .verification import Verification

if TYPE_CHECKING:
    from initdsl.language.rules.loader import Rules
    from initdsl.planning.whole import Joined, Whole

__all__ = ["ALPHA", "verify"]


# the chance that a file that matches its rules is said not to, all its parameters together
ALPHA = 1e-3


def verify(
    net: nn.Module | Mapping[str, torch.Tensor] | str | os.PathLike[str],
    rules: Rules,
    seed: int | None = None,
    *,
    model: nn.Module | Network | None = None,
    vars: Mapping[str, Any] | None = None,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    whole: Whole | None = None,
    after_training: bool = False,
    alpha: float = ALPHA,
) -> Verification:
    """Return whether a model still is what its rules say, tensor by tensor. Changes nothing.

    `net` is a model, a state dict, or the path of a safetensors file, a folder of shards, a DCP directory or a file of
    `torch.save`, of which tensors are read and nothing is run. Of a state dict or a path `model` is the model they
    belong to (a module, which may be on the meta device, or a described one); without it, the structure is read off the
    names, which is enough for rules that name no classes. `seed` is the one the values were made with; a file that says
    which it was needs none. Without one, draws are tested: `alpha` is the chance that values which do follow the rules
    are said not to. `whole` is the model of which this is a stage of a pipeline, as in `apply`: what other stages hold
    is not missed. `after_training` tells how far each parameter has moved in place of calling that a drift.

    Raises ParseError, RuleError or ResolveError as `plan` does, OSError and ValueError for what can't be read.

    >>> from torch import nn
    >>> import initdsl
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    >>> rules = "Linear.weight ~ normal(0, 0.01); Linear.bias = 0; LayerNorm.weight = 1; LayerNorm.bias = 0"
    >>> report = initdsl.apply(net, rules, seed=0)
    >>> bool(verify(net, rules, seed=0)), bool(verify(net, rules)), bool(verify(net, rules, seed=1))
    (True, True, False)
    """
    seed = check_seed(seed)
    store = store_of(net)
    compiled = coerce(rules, root)
    notes: list[str] = []
    seed = seed_of(store, seed, notes)
    vars = vars_of(store, vars, compiled, notes)
    part: Joined | None = None
    if whole is None:
        network, live = network_of(net, model, store, compiled)
    else:
        network, live, part = stage_of(net, model, store, compiled, whole)
    broken: list[Diagnostic] = []
    plan, _ = make_plan(network, compiled, seed=seed, vars=vars, initializers=initializers, root=root, unmet=broken)
    plan = plan if part is None else part_of_stage(plan, part)
    refuse_load_code(plan, live)
    told = store.metadata.get("initdsl.rules_sha256")
    if told is not None and told != rules_sha256(plan):
        hashes = f"SHA-256 {told[:12]}..., these are {rules_sha256(plan)[:12]}..."
        notes.append(f"the checkpoint was made with other rules ({hashes})")
    told = store.metadata.get("initdsl.network")
    if told is not None and model is not None and told != network.fingerprint():
        notes.append("the checkpoint was made for a model of other names, classes, shapes or ties")
    notes += [f"{finding.message} ({finding.location})" for finding in plan.warnings]
    provenance = {k: v for k, v in store.metadata.items() if k.startswith("initdsl.") or k == "torch.version"}
    subject = subject_of(plan, live, store, after_training)
    problems, dtype_notes = structure_of(subject)
    checks = checks_of(subject, alpha)
    expectations = [*(f"{finding.message} ({finding.location})" for finding in broken), *unmet(subject)]
    return Verification(
        store.where, checks, problems, notes + dtype_notes, provenance, seed, after_training, expectations
    )
