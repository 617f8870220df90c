"""What is verified: a network, a state dict or a checkpoint, and the network its rules are laid on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from initdsl import streams
from initdsl.checkpoints.open import open_store
from initdsl.checkpoints.store import Store, Tensors, of_module
from initdsl.filling.stand_ins import named_skeleton, skeleton, stand_in
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax import nodes
from initdsl.language.syntax.walk import walk
from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.network.wrappers import unwrap
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

__all__ = ["seed_of", "store_of", "structure", "vars_of"]


# ---- what is verified, against which network


def store_of(net: Any) -> Store:
    if isinstance(net, nn.Module):
        return of_module(unwrap(net))
    if isinstance(net, Mapping):
        return Tensors(net)
    if isinstance(net, str | os.PathLike):
        return open_store(net)
    raise TypeError(f"a network, a state dict or a path is verified, not {type(net).__name__}")


def seed_of(store: Store, seed: int | None, notes: list[str]) -> int | None:
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


def vars_of(
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


def structure(net: Any, model: Any, store: Store, rules: RuleSet) -> tuple[Network, Live]:
    """The network rules are laid on, and one without memory to make its values in."""
    if isinstance(net, nn.Module):
        if model is not None:
            raise TypeError("`model` goes with a state dict or a file; a network is one already")
        return describe(stand_in(unwrap(net), {}))
    if isinstance(model, nn.Module):
        network, live = describe(stand_in(unwrap(model), {}))
    elif isinstance(model, Network):
        network, live = model, skeleton(model)
    elif model is None:
        _refuse_classes(rules)
        _align(store, None)
        network, live = describe(named_skeleton(store))
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
        for node in walk(rule):
            if isinstance(node, nodes.ClassPattern) and (set(node.name) != {"*"} or node.predicates):
                raise ResolveError(
                    Diagnostic(
                        "needs-classes", "the rules speak of classes, and a file of tensors knows names only",
                        rules.source(rule.source), node.span,
                        "say which network it is: `--model package.module:attribute`, `--manifest net.json` or `model=`",
                    )
                )  # fmt: skip
