"""Plans that can't be carried out on a model as it is, refused before anything changes."""

from __future__ import annotations

import torch

from initdsl.network.description import Live
from initdsl.planning.actions import Reset
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .computed_weights import computed_from
from .emptied import note_meta

__all__ = ["has_no_memory", "refuse_generator", "refuse_meta", "refuse_no_sample"]


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
            f"`{entry.base.call_name}` for `{entry.label}` goes by a forward pass, and there is no sample for one",
            plan.rules.source(rule.source),
            rule.span,
            "`apply(net, rules, sample=batch)`, or `--sample file.safetensors`; what fills without a forward pass "
            "(materialize, streaming, functions of one module, sharded models) leaves it to an `apply` afterwards",
        )
    )


def refuse_generator(plan: Plan, live: Live, generator: torch.Generator) -> None:
    """Refuse a generator beside a seed, or of another device than what is drawn. Raises TypeError, ResolveError."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"a generator is a torch.Generator, not {type(generator).__name__}")
    if plan.seed is not None:
        raise TypeError("a seed draws from streams of its own: give a seed or a generator")
    for entry in plan.order:
        tensor = live.tensors[entry.tensor.index]
        drawn = entry.draws or any(isinstance(action.payload, Reset) for action in entry.actions)
        if drawn and tensor is not None and tensor.device.type != generator.device.type:
            message = f"`{entry.label}` is on {tensor.device}, and the generator on {generator.device}"
            hint = f"`torch.Generator(device={str(tensor.device)!r})`"
            raise ResolveError(Diagnostic("bad-generator", message, hint=hint))


def has_no_memory(live: Live, entry: PlanEntry) -> bool:
    """Return whether a tensor, or what it is computed from, is on the meta device."""
    tensor = live.tensors[entry.tensor.index]
    if tensor is not None:
        return tensor.is_meta
    owner, local = entry.tensor.owners[0]
    return any(parameter.is_meta for parameter in computed_from(live.modules[owner], local))


def refuse_meta(plan: Plan, live: Live) -> None:
    """Refuse to fill tensors that have no memory."""
    tensors = live.tensors
    suspects = [e for e in plan.order if (tensor := tensors[e.tensor.index]) is None or tensor.is_meta]
    written = [entry for entry in suspects if has_no_memory(live, entry) and not entry.keeps]
    if written:
        note_meta(plan.network, live)
        count = f"{len(written)} of the parameters to fill, `{written[0].label}` first, are"
        raise ResolveError(
            Diagnostic(
                "meta-device",
                f"{count} on the meta device and have no memory",
                hint="`initdsl.materialize(factory, rules)` builds and fills, ties and buffers with it; after `net.to_empty(device=...)` "
                "tied parameters are two, and buffers hold whatever was in memory",
            )
        )
