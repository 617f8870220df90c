"""What the grammar accepts and a statement may still not be: too deep, too long, or a continued block without one."""

from __future__ import annotations

from .nodes import Index, Node, Path, Step
from .state import ParseState
from .walk import children

__all__ = ["well_formed"]


def well_formed(statement: Node, inside: bool, state: ParseState) -> bool:
    """Whether a statement, inside of a block or not, is within the limits and continues a block only where one is.

    What is wrong is reported to `state`.
    """
    stack: list[tuple[Node, int]] = [(statement, 0)]
    deepest = state.limits.depth
    fine = True
    while stack:
        node, depth = stack.pop()
        if depth > deepest:
            message = f"this expression is nested more than {deepest} deep"
            state.report("too-deep", message, statement.span, "split it with `let`")
            return False
        if isinstance(node, Path):
            if not _short_enough(node, state):
                return False
            if node.root is None and not inside:
                _report_outside(node, state)
                fine = False
        stack.extend((child, depth + 1) for child in children(node))
    return fine


def _report_outside(path: Path, state: ParseState) -> None:
    """Report a path that continues a block where there is none."""
    name, message, hint = (
        "outside-block",
        "a selector that starts with a dot continues a block, and there is none",
        "start with `net` or a class name",
    )
    if isinstance(path.steps[0], Index):
        name, hint = "stray-space", "as in `net[2]`"
        message = "an index stands directly behind what it indexes, without a space"
    state.report(name, message, path.span, hint)


def _short_enough(path: Path, state: ParseState) -> bool:
    """Whether a path has no more steps, and no more wildcards among them, than the limits allow."""
    limits = state.limits
    wildcards = sum(isinstance(step, Step) and "*" in step.name for step in path.steps)
    if len(path.steps) > limits.steps:
        message = f"this path has more than {limits.steps:,} steps"
    elif wildcards > limits.wildcards:
        message = f"this path has more than {limits.wildcards} wildcards"
    else:
        return True
    state.report("too-deep", message, path.span, "`**` is any number of steps")
    return False
