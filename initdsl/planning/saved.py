"""Plans carried out later: read back from their JSON, and refused where the model is another by then."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initdsl.language.rules.loader import from_texts, read_rules
from initdsl.language.rules.ruleset import RuleSet
from initdsl.network.description import Live
from initdsl.text.diagnostic import Diagnostic, InitDSLError, ResolveError
from initdsl.text.failures import reason
from initdsl.text.files import read_whole
from initdsl.text.places import lies_in
from initdsl.text.source import Source, Span
from initdsl.text.wording import listed

from .make import make_plan
from .plan import PLAN_FORMAT, PLAN_VERSION, Plan

if TYPE_CHECKING:
    from torch import nn

    from initdsl.network.description import Network

    from .whole import Whole

__all__ = ["SavedPlan", "read_plan"]


LARGEST = 1 << 30  # bytes of a file


@dataclass(frozen=True)
class SavedPlan:
    """A plan as `Plan.save` wrote it, with its rules as they were then.

    `options` are those of `initdsl.plan`. `changed` says what is otherwise by now in the rule files, where they are
    there; the plan is carried out as it was made.
    """

    path: str
    rules: RuleSet
    options: dict[str, Any]
    saved: Mapping[str, Any]
    changed: Diagnostic | None

    def again(
        self,
        net: nn.Module | Network,
        initializers: Mapping[str, Callable[..., Any]] | None = None,
        strict: bool = False,
        whole: Whole | None = None,
    ) -> tuple[Plan, Live | None]:
        """Return the plan on a model, with its modules and tensors.

        Raises ResolveError where that is not the model it was made for, or the plan comes to something else on it.
        """
        try:
            plan, live = make_plan(
                net, self.rules, initializers=initializers, strict=strict, whole=whole, **self.options
            )
        except InitDSLError:
            self._same_tensors(net, whole)  # says first what the network has that it had not
            raise
        now = json.loads(json.dumps(plan.to_dict()))
        if now["network"] != self.saved["network"]:
            raise self._other_network(now["entries"])
        for key, what in (("entries", "name"), ("ties", None)):
            if now[key] != self.saved[key]:
                raise self._refused("changed-plan", self._difference(now[key], self.saved[key], what))
        return plan, live

    def _same_tensors(self, net: nn.Module | Network, whole: Whole | None) -> None:
        now = json.loads(json.dumps(make_plan(net, "", whole=whole)[0].to_dict()))
        if now["network"] != self.saved["network"]:
            raise self._other_network(now["entries"])

    def _other_network(self, entries: list[Any]) -> ResolveError:
        return self._refused("changed-network", f"the model is not the one the plan was made for: {_tensors(entries, self.saved['entries'])}")  # fmt: skip

    def _difference(self, now: list[Any], then: list[Any], key: str | None) -> str:
        if key is None:
            return "its rules tie other parameters now"
        changed = [a for a, b in zip(now, then, strict=False) if a != b]
        if len(now) != len(then) or not changed:
            return "its rules come to other parameters now"
        one = changed[0]
        more = f", and so for {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"the plan does not say what its rules come to for `{one[key]}`: {one['effect'] or 'nothing'}{more}"

    def _refused(self, name: str, message: str) -> ResolveError:
        hint = f"make the plan again, look at it, and save it: `initdsl plan ... -o {self.path}`"
        return ResolveError(Diagnostic(name, message, hint=hint))


def _tensors(now: list[Any], then: list[Any]) -> str:
    """What is another tensor now; `now` and `then` are entries as JSON."""
    ours, theirs = ({e["name"]: (e["shape"], e["dtype"], e["names"]) for e in entries} for entries in (now, then))
    said = []
    if gone := [name for name in theirs if name not in ours]:
        said.append(f"it has no {listed(gone, 3)}")
    if new := [name for name in ours if name not in theirs]:
        said.append(f"{listed(new, 3)} {'is' if len(new) == 1 else 'are'} new")
    for name in (name for name in ours if name in theirs and ours[name] != theirs[name]):
        (shape, dtype, names), (shape_then, dtype_then, names_then) = ours[name], theirs[name]
        if shape != shape_then:
            said.append(f"`{name}` is {shape}, not {shape_then}")
        elif dtype != dtype_then:
            said.append(f"`{name}` is {dtype}, not {dtype_then}")
        elif names != names_then:
            said.append(f"`{name}` has the names {listed(names)}, not {listed(names_then)}")
    return "; ".join(said[:3]) if said else "its modules have other classes or names"


def read_plan(path: str | os.PathLike[str]) -> SavedPlan:
    """The plan that `Plan.save` (`initdsl plan -o plan.json`) wrote; the rule files it was made from are not needed.

    Raises OSError or ValueError where it can't be read as a plan.
    """
    name = os.fspath(path)
    saved = _read(name)
    texts: dict[str, str] = saved["rules"]["sources"]
    root = saved["rules"]["root"]
    near = [os.getcwd(), os.path.dirname(os.path.abspath(name))]
    if root is not None and not any(lies_in(root, folder) for folder in near):
        root = near[-1]  # who wrote the plan does not say which files of this machine are read
    rules = from_texts(texts, root)
    changed = _change(name, texts, _current(texts, root, near))
    return SavedPlan(name, rules, {"seed": saved["seed"], "vars": saved["vars"]}, saved, changed)


def _current(texts: Mapping[str, str], root: str | None, near: list[str]) -> Mapping[str, str] | None:
    """The texts of the rule files by now; None where there is no file, or what the plan names is none in the folders `near`.

    What differs is shown, and a plan may name any file.
    """
    first = next(iter(texts))
    is_near = os.path.realpath(first).endswith(".init") and any(lies_in(first, folder) for folder in near)
    if first.startswith("<") or not is_near or not os.path.isfile(first):
        return None
    rules, _ = read_rules(first, root=root)
    return rules.sources


def _read(name: str) -> dict[str, Any]:
    try:
        saved = json.loads(read_whole(name, LARGEST))
    except OSError as error:
        raise OSError(f"can't read the plan `{name}`: {reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{name}` is no plan: {error}") from None
    form = saved.get("format") if isinstance(saved, dict) else None
    if form != PLAN_FORMAT:
        what = f"it says that it is `{form}`" if isinstance(form, str) else "it is other JSON"
        raise ValueError(f"`{name}` is no plan: {what}; `initdsl plan ... -o plan.json` writes one")
    if saved.get("version") != PLAN_VERSION:
        raise ValueError(f"plan version {saved.get('version')} is not understood, only {PLAN_VERSION}")
    rules = saved.get("rules")
    whole = (
        isinstance(rules, dict) and isinstance(rules.get("sources"), dict) and rules["sources"]
        and all(isinstance(text, str) for text in rules["sources"].values())
        and isinstance(rules.get("root", 0), str | None) and isinstance(saved.get("entries"), list)
        and all(isinstance(e, dict) and {"name", "shape", "dtype", "names"} <= e.keys() for e in saved["entries"])
        and {"seed", "vars", "network", "ties"} <= saved.keys() and isinstance(saved["vars"], dict)
    )  # fmt: skip
    if not whole:
        raise ValueError(f"the plan `{name}` is damaged, or another version of initdsl wrote it")
    found: dict[str, Any] = saved
    return found


def _change(name: str, then: Mapping[str, str], now: Mapping[str, str] | None) -> Diagnostic | None:
    """What is otherwise in the rule files by now: the first line that differs."""
    if now is None or dict(now) == dict(then):
        return None
    hint = "the plan is carried out as it was made; make it again to follow the rules"
    message = f"the rules have changed since the plan `{name}` was made"
    for source, text in now.items():
        if then.get(source) == text:
            continue
        if source not in then:
            what = f"{message}: `{source}` is used now"
            return Diagnostic("changed-rules", what, hint=hint, severity="warning")
        lines, before = text.split("\n"), then[source].split("\n")
        common = min(len(lines), len(before))
        same = next((i for i, (a, b) in enumerate(zip(lines, before, strict=False)) if a != b), common)
        start = min(sum(len(line) + 1 for line in lines[:same]), len(text))
        end = start + len(lines[same]) if same < len(lines) else start
        if same < len(before) and before[same].strip():
            message += f": line {same + 1} was `{before[same].strip()}`"
        return Diagnostic("changed-rules", message, Source(source, text), Span(start, end), hint, "warning")
    gone = listed([source for source in then if source not in now])
    return Diagnostic("changed-rules", f"{message}: {gone} is not used any more", hint=hint, severity="warning")
