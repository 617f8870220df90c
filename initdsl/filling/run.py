"""What can go wrong in a step of a fill, and which steps can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from initdsl.network.description import Live
from initdsl.planning.actions import call_name
from initdsl.planning.plan import Plan, PlanEntry, leaves_alone
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .boxes import memory_of

__all__ = ["Step", "StepFailed", "is_plain_tensor", "memory_key", "no_memory", "refuse_meta", "refuse_no_sample"]


def refuse_no_sample(plan: Plan) -> None:
    """Refuse a plan with tensors that are adjusted to a sample, where there is none."""
    if not plan.adjusted:
        return
    entry = plan.adjusted[0]
    assert entry.base is not None
    rule = entry.base.clause.rule
    raise ResolveError(
        Diagnostic(
            "no-sample",
            f"`{call_name(entry.base)}` for `{entry.label}` goes by a forward pass, and there is no sample for one",
            plan.rules.source(rule.source),
            rule.span,
            "`apply(net, rules, sample=batch)`, or `--sample file.safetensors`; what fills without a forward pass "
            "(materialize, streaming, functions of one module, sharded networks) leaves it to an `apply` afterwards",
        )
    )


def no_memory(whole: bool) -> Diagnostic:
    """Said where memory ran out; `whole` if all is as it was."""
    if whole:
        hint = "rules with functions, expressions or files are backed up first; what only draws or sets numbers is not"
        return Diagnostic(
            "out-of-memory", "there is not enough memory to fill this network, which is as it was", hint=hint
        )
    hint = "apply the rules again once there is memory"
    return Diagnostic("out-of-memory", "there is no memory left, and the network is partly filled", hint=hint)


def has_no_memory(live: Live, entry: PlanEntry) -> bool:
    """Whether a tensor, or what it is computed from, is on the meta device."""
    tensor = live.tensors[entry.tensor.index]
    if tensor is not None:
        return tensor.is_meta
    owner, local = entry.tensor.owners[0]
    module = live.modules[owner]
    chain = getattr(module, "parametrizations", {})
    behind = chain[local].parameters() if local in chain else module.parameters(recurse=False)
    return any(parameter.is_meta for parameter in behind)


def refuse_meta(plan: Plan, live: Live) -> None:
    """Refuse to fill tensors that have no memory."""
    written = [e for e in plan.order if not leaves_alone(e) and has_no_memory(live, e)]
    if written:
        raise ResolveError(
            Diagnostic(
                "meta-device",
                f"{len(written)} of the parameters to fill, `{written[0].label}` first, are on the meta device and have no memory",
                hint="`initdsl.materialize(factory, rules)` builds and fills; or call `net.to_empty(device=...)` first",
            )
        )


# do it, whether it can fail, the tensors it touches
Step = tuple[Callable[[], None], bool, Callable[[], list[Any]]]


def memory_key(tensor: torch.Tensor) -> int:
    """What tensors that share memory have in common, and no others."""
    if type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout == torch.strided:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    return id(tensor)


class StepFailed(Exception):
    """A step failed; carries what is said of it."""

    def __init__(self, diagnostic: Diagnostic, cause: BaseException, further: Sequence[Diagnostic] = ()):
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic
        self.diagnostics = [diagnostic, *further]
        self.cause = cause


ORDINARY = frozenset([
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
])  # fmt: skip


def is_plain_tensor(tensor: torch.Tensor | None) -> bool:
    """Whether writing numbers to a tensor can't fail: plain memory, every element with its own."""
    if tensor is None:
        return False
    tensor = memory_of(tensor)
    if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.dtype not in ORDINARY:
        return False
    return tensor.layout == torch.strided and not tensor.is_inference() and 0 not in tensor.stride()
