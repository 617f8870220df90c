"""What is verified: a model, a state dict or a checkpoint, and the plan of its rules on a model without memory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from initdsl import streams
from initdsl.checkpoints.open import open_store
from initdsl.checkpoints.store import Store, Tensors, of_module
from initdsl.filling.meta.allocate import put
from initdsl.filling.stand_ins import named_skeleton, skeleton, stand_in
from initdsl.filling.to_disk.origin import Held, TensorSource, source_of
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax import nodes
from initdsl.language.syntax.walk import walk
from initdsl.network.describe import describe, refuse_torchscript
from initdsl.network.description import Live, Network
from initdsl.network.wrappers import unwrap
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

from .determined import is_determined

__all__ = ["Subject", "network_of", "seed_of", "store_of", "subject_of", "vars_of"]


@dataclass(frozen=True)
class Subject:
    """What is verified: a store of tensors and a plan, whose model `live` has no memory.

    `names` has the name under which the store has a tensor of the plan, by the tensor's index, or None; `source` makes
    the values of the rules, and `held` has those that are in memory. With `after_training`, a difference is how far a
    tensor has moved and no drift.
    """

    plan: Plan
    live: Live
    store: Store
    names: Mapping[int, str | None]
    source: TensorSource
    held: Held
    after_training: bool

    def stored(self, names: Iterable[str]) -> str | None:
        """Return the first of a tensor's names under which the store has it, further names of a shared tensor last."""
        return _stored(self.store, names)


def subject_of(plan: Plan, live: Live, store: Store, after_training: bool) -> Subject:
    """Return the subject of a plan; what rules read and none of them sets is taken as it is in the store."""
    names = {entry.tensor.index: _stored(store, entry.names) for entry in plan.entries}
    taken = frozenset(index for index, name in _to_take(plan, store, names) if _take(plan, live, store, index, name))
    for entry in plan.entries:
        if not (entry.keeps or is_determined(entry)):  # what builds on values has some, and no rule says which
            _take(plan, live, store, entry.tensor.index, names[entry.tensor.index])
    state = {
        entry.name: tensor
        for entry in plan.entries
        if (tensor := live.tensors[entry.tensor.index]) is not None and not entry.keeps
    }
    made = plan.whole or plan  # what a stage reads of others is made too
    source = source_of(made if made.seed is not None else replace(made, seed=0), live, state, taken)
    return Subject(plan, live, store, names, source, Held(), after_training)


def _stored(store: Store, names: Iterable[str]) -> str | None:
    names = tuple(names)
    return next((n for n in (*names, *(store.others.get(n, n) for n in names)) if n in store.tensors), None)


def _to_take(plan: Plan, store: Store, names: Mapping[int, str | None]) -> list[tuple[int, str | None]]:
    """Return the tensors that rules read and whose values the plan does not make again, and their names in the store."""
    read = {index for entry in plan.entries for action in entry.actions for index in action.reads}
    network, entries = plan.network, {entry.tensor.index: entry for entry in plan.entries}
    kept = [
        i
        for i, entry in entries.items()
        if i in read and (plan.seed is None or entry.keeps or not is_determined(entry))
    ]
    others = [(i, _stored(store, network.names(network.tensors[i]))) for i in sorted(read - set(entries))]
    return [*((i, names[i]) for i in kept), *others]


def _take(plan: Plan, live: Live, store: Store, index: int, name: str | None) -> bool:
    """Put what is stored in place of a tensor without memory; return whether it was there, in the right shape."""
    old = live.tensors[index]
    if name is None or old is None or store.tensors[name].shape != plan.network.tensors[index].shape:
        return False
    values = store.whole(name).to(old.dtype)
    put(plan.network, live, index, nn.Parameter(values, False) if isinstance(old, nn.Parameter) else values)
    return True


# ---- what was given


def store_of(net: Any) -> Store:
    """Return the tensors of a model, a state dict, or a file or folder of tensors."""
    if isinstance(net, nn.Module):
        return of_module(unwrap(net))
    if isinstance(net, Mapping):
        return Tensors(net)
    if isinstance(net, str | os.PathLike):
        return open_store(net)
    raise TypeError(f"a model, a state dict or a path is verified, not {type(net).__name__}")


def seed_of(store: Store, seed: int | None, notes: list[str]) -> int | None:
    """Return the seed that was given, or the one the file tells, if its stream is known."""
    told = store.metadata.get("initdsl.seed")
    stream = store.metadata.get("initdsl.stream")
    if seed is not None:
        if told is not None and told != str(seed):
            notes.append(f"the checkpoint says that it was saved with seed {told[:80]}; you gave {seed}")
        return seed
    if told is None:
        return None
    if stream != streams.VERSION.rpartition(" ")[2] or not _seed_text(told):
        notes.append(
            f"the values of the checkpoint are of seed {told[:80]} and stream {str(stream)[:80]}, which this version does not make again"
        )
        return None
    return int(told)


def vars_of(store: Store, vars: Mapping[str, Any] | None, rules: RuleSet, notes: list[str]) -> Mapping[str, Any] | None:
    """Return the overridden `let`s that were given, or those the file tells, where the rules still have them."""
    try:
        told = json.loads(store.metadata.get("initdsl.vars", "{}"))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        notes.append("the overridden `let`s that the checkpoint tells of can't be read")
        return vars
    if vars is not None:
        if told and dict(vars) != told:
            notes.append(
                f"the checkpoint says that it was saved with {_settings(told)}; you gave {_settings(vars) or 'none'}"
            )
        return vars
    declared = {rule.name for rule in rules.walk() if isinstance(rule, nodes.Let)}
    if gone := [name for name in told if name not in declared]:
        notes.append(
            f"the checkpoint says that it was saved with {_settings(told)}, and no `let` declares {listed(gone)}"
        )
    return {name: value for name, value in told.items() if name in declared} or None


def _settings(vars: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in vars.items())


def _seed_text(text: str) -> bool:
    return re.fullmatch("[0-9]{1,20}", text) is not None and int(text) < 2**64


def network_of(net: Any, model: Any, store: Store, rules: RuleSet) -> tuple[Network, Live]:
    """Return the model that rules are laid on, and one without memory to make its values in."""
    if isinstance(net, nn.Module):
        if model is not None:
            raise TypeError("`model` goes with a state dict or a file; a model is one already")
        refuse_torchscript(net)
        return describe(stand_in(unwrap(net), {}))
    if isinstance(model, nn.Module):
        refuse_torchscript(model)
        network, live = describe(stand_in(unwrap(model), {}))
    elif isinstance(model, Network):
        network, live = model.on_device("meta"), skeleton(model)
    elif model is None:
        _refuse_classes(rules)
        _align(store, None)
        network, live = describe(named_skeleton(store))
    else:
        raise TypeError(f"`model` is a model or its description, not {type(model).__name__}")
    _align(store, network)
    return network, live


# what checkpoints of wrapped networks put before a name
WRAPPERS = ("model.", "module.", "state_dict.", "_orig_mod.", "model.module.", "app.model.")


def _align(store: Store, network: Network | None) -> None:
    """Read a checkpoint of more than the model, or of a wrapped one, as the model's own."""
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
        for node in walk(rule):
            if isinstance(node, nodes.ClassPattern) and (set(node.name) != {"*"} or node.predicates):
                message = "the rules speak of classes, and a file of tensors knows names only"
                hint = "say which model it is: `--model package.module:attribute`, `--manifest net.json` or `model=`"
                raise ResolveError(Diagnostic("needs-classes", message, rules.source(rule.source), node.span, hint))
