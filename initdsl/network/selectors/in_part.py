"""What can't be said of a stage of a pipeline alone: how much there is of something, and where it comes."""

from __future__ import annotations

from collections.abc import Iterable

from initdsl.language.expressions.shapes import EvalError
from initdsl.network.description import Network
from initdsl.network.parts import ModuleInfo
from initdsl.network.stages import is_traced, layers_of_a_part, may_be_part
from initdsl.text.source import Span

__all__ = ["GIVE_WHOLE", "IN_A_STAGE", "hint_in_part", "refuse_count", "refuse_place"]


GIVE_WHOLE = "give the whole model, as `whole=` or `--whole`; one that is no part of another is its own: `whole=net`"


IN_A_STAGE = "if this is a stage of a pipeline, give the whole model as `whole=` or `--whole`"


def hint_in_part(network: Network, hint: str | None, is_guess: bool = False) -> str | None:
    """Return the hint to a path that leads nowhere, with the way out of a stage where the model is one, or may be.

    The first stage looks like a whole model; it is told so where it keeps its layers as stages do, unless the hint
    `is_guess`, a name that was meant.
    """
    if (part := network.part) is not None:
        return f"{hint}; {IN_A_STAGE}" if hint else f"{part}: {GIVE_WHOLE}"
    if is_guess or network.is_whole or not may_be_part(network.modules):
        return hint
    return f"{hint}; {IN_A_STAGE}" if hint else IN_A_STAGE


def refuse_count(network: Network, modules: Iterable[int], of_all: bool, span: Span) -> None:
    """Refuse to count some modules, by number, of a part of a model; `of_all` if that is all there are of some kind.

    Raises EvalError.
    """
    if network.part is None:
        return
    if of_all or is_traced(network.modules):
        message = f"{network.part}: what is counted here is not all of the whole model"
        raise EvalError(message, span, GIVE_WHOLE, "length-of-a-part")
    seen: set[int] = set()
    for index in modules:
        for around in network.ancestors(index):
            layers = None if around in seen else layers_of_a_part(network.modules[around])
            seen.add(around)
            if layers is not None:
                message = f"{layers}: its length is not the depth of the whole model"
                raise EvalError(message, span, GIVE_WHOLE, "length-of-a-part")


def refuse_place(network: Network, module: ModuleInfo, what: str, span: Span) -> None:
    """Refuse an index that counts positions in a part of a model, which are others in the whole. Raises EvalError."""
    layers = None if network.is_whole else layers_of_a_part(module)
    if layers is not None:
        message = f"{layers}: {what} is another one in the whole model"
        raise EvalError(message, span, GIVE_WHOLE, "index-in-a-part")
