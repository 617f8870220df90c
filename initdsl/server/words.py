"""What the reserved words of the language say, in a line each."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import get_args

from initdsl.language.syntax.nodes import Rule

__all__ = ["FUNCTION_TEXTS", "description"]


DESCRIPTIONS = {
    "in": "Inside of",
    "not": "The opposite",
    "as": "Through another shape",
    "and": "Both",
    "or": "Either",
    "true": "Yes",
    "false": "No",
    "none": "No value",
    "inf": "Infinity",
    "nan": "Not a number",
    "pi": "3.14159...",
    "it": "The tensor the rule writes to",
    "net": "The model",
    "fan_in": "The fan_in of the tensor the rule writes to",
    "fan_out": "The fan_out of the tensor the rule writes to",
    "shape": "The shape of the tensor the rule writes to",
    "ndim": "The number of dimensions of the tensor the rule writes to",
    "numel": "The number of elements of the tensor the rule writes to",
    "covered": "Every parameter is filled as a whole, or kept",
    "finite": "No element is infinite or no number",
    "tied": "The operands are the same tensors",
}


# the functions of expressions: how they are called, and what they give
FUNCTION_TEXTS = {
    "abs": ("abs(x)", "The absolute value of each element."),
    "sqrt": ("sqrt(x)", "The square root of each element."),
    "exp": ("exp(x)", "e to the power of each element."),
    "expm1": ("expm1(x)", "`exp(x) - 1`, exact where x is small."),
    "log": ("log(x)", "The natural logarithm of each element."),
    "log1p": ("log1p(x)", "`log(1 + x)`, exact where x is small."),
    "sin": ("sin(x)", "The sine of each element."),
    "cos": ("cos(x)", "The cosine of each element."),
    "tanh": ("tanh(x)", "The hyperbolic tangent of each element."),
    "sign": ("sign(x)", "-1, 0 or 1 for each element."),
    "floor": ("floor(x)", "Each element rounded down."),
    "ceil": ("ceil(x)", "Each element rounded up."),
    "round": ("round(x)", "Each element rounded to the nearest integer, halves to the even one."),
    "clip": ("clip(x, lo, hi)", "Each element, but no less than `lo` and no more than `hi`."),
    "where": ("where(c, x, y)", "x where c is not 0, else y, for each element."),
    "min": ("min(x, dim=)", "The smallest element, or of several arguments the smallest of each element. `dim=` keeps the dimension."),
    "max": ("max(x, dim=)", "The largest element, or of several arguments the largest of each element. `dim=` keeps the dimension."),
    "sum": ("sum(x, dim=)", "The sum of the elements. `dim=` keeps the dimension with size 1."),
    "mean": ("mean(x, dim=)", "The mean of the elements. `dim=` keeps the dimension with size 1."),
    "std": ("std(x, dim=)", "The unbiased standard deviation of the elements. `dim=` keeps the dimension with size 1."),
    "norm": ("norm(x, dim=)", "The Euclidean norm of the elements. `dim=` keeps the dimension with size 1."),
    "index": ("index(d)", "The coordinate of each element along dimension d, shaped to broadcast."),
    "linspace": ("linspace(a, b, n)", "n numbers from a to b, both included."),
    "calculate_gain": ("calculate_gain(nonlinearity, param)", "The gain of `torch.nn.init.calculate_gain`; the nonlinearity is a bare word."),
    "resize_rows": ("resize_rows(x)", "A table with as many rows as the target: the first of x, then their mean."),
    "resize_grid": ("resize_grid(x, prefix=0, mode=bicubic, antialias=true, grid=, old_grid=)", "A table of positions, resampled to the target's."),
    "base_shape": ('base_shape("base.json")', "The shape of this parameter in the model of a manifest."),
    "given": ("given(path, other)", "What a path from `net` leads to, where there is such a value, else the other one."),
    "fan_in": ("fan_in(x)", "The fan_in of another parameter."),
    "fan_out": ("fan_out(x)", "The fan_out of another parameter."),
    "len": ("len(selector)", "How many children a container has, or how much a selector selects."),
    "load": ('load("x.safetensors", key="...")', "A tensor of a file, or for a module all of its state. Also `prefix=`, `map=`, `names=`, `missing=skip`, `mismatch=skip`."),
}  # fmt: skip


def description(word: str) -> str:
    """Return what a reserved word says; a statement's is the first line of its node's documentation."""
    return DESCRIPTIONS.get(word) or _statements().get(word, "")


@lru_cache(maxsize=1)
def _statements() -> dict[str, str]:
    """Return the first line of each statement's documentation by its keyword."""
    nodes = {node.__dataclass_fields__["kind"].default: node for node in get_args(get_args(Rule)[0])}
    lines = {kind: (inspect.getdoc(node) or "").partition("\n")[0] for kind, node in nodes.items()}
    return {kind: line.removesuffix(".") for kind, line in lines.items()}
