"""Expressions over numbers against Python, over tensors against torch, and the shapes a plan predicts against both."""

from __future__ import annotations

import ast
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import initdsl
from tests.support.nets import Tensors, Tower, mlp, names_of


def value(text: str, **tensors: torch.Tensor) -> torch.Tensor:
    """What `text` gives a 3 x 4 double."""
    net = Tensors(w=torch.ones(3, 4, dtype=torch.float64), **tensors)
    initdsl.apply(net, f"net.w = {text}")
    return net.w.detach()


# ---- numbers: every tree is printed with and without the brackets Python needs, and must give what Python gives

leaves = st.one_of(
    st.integers(0, 9).map(str),
    st.sampled_from(["0.5", "1e-3", "2.5", "1_0", "pi", "true", "false"]),
)
BINARY = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!=", "and", "or"]


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), inner).map(lambda t: f"{t[0]} {t[1]} {t[2]}"),
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        inner.map(lambda x: f"-{x}"),
        inner.map(lambda x: f"+{x}"),
        inner.map(lambda x: f"({x})"),
        inner.map(lambda x: f"not {x}"),
        st.tuples(st.sampled_from(["abs", "floor", "ceil", "round", "exp", "tanh", "sign"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        st.tuples(inner, inner).map(lambda t: f"min({t[0]}, {t[1]})"),
    )


def python(text: str) -> object:
    known = {
        "true": True, "false": False, "pi": math.pi, "abs": abs, "floor": math.floor, "ceil": math.ceil, "round": round,
        "exp": math.exp, "tanh": math.tanh, "sign": lambda x: (x > 0) - (x < 0), "min": min, "bool": bool,
    }  # fmt: skip
    tree = ast.fix_missing_locations(Truths().visit(ast.parse(text, mode="eval")))
    return eval(compile(tree, "<expression>", "eval"), {"__builtins__": {}}, known)


class Truths(ast.NodeTransformer):
    """`and` and `or` give 1 and 0, not one of their sides."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("bool", ast.Load()), [node], [])


COMPARISON = ("<", "<=", ">", ">=", "==", "!=")


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(leaves, grown, max_leaves=7))
def test_numbers_are_pythons(text: str) -> None:
    try:
        expected = python(text)
    except (ZeroDivisionError, OverflowError, SyntaxError):
        expected = None
    except TypeError:  # a comparison of complex numbers
        expected = None
    result, refused = None, None
    try:
        result = value(text)[0, 0].item()
    except initdsl.InitDSLError as error:
        refused = error
    if refused is not None:
        names = set(names_of(refused))
        assert names <= {
            "division-by-zero",
            "overflow",
            "bad-expression",
            "chained-comparison",
            "bad-number",
            "unexpected-token",
        }, text
        if (
            "unexpected-token" in names or "chained-comparison" in names
        ):  # `not` stands for a whole comparison, chains are Python's
            assert "not" in text or sum(f" {c} " in f" {text} " for c in COMPARISON) or text.count("=") > 1
        elif expected is not None:
            unbounded = isinstance(expected, complex) or abs(expected) >= 2**63 or "**" in text or "exp" in text
            assert unbounded, f"{text} is {expected} in Python, refused here: {refused}"
    elif expected is not None and not isinstance(expected, complex):
        assert result == pytest.approx(float(expected), rel=1e-12, abs=1e-300), text
    else:
        raise AssertionError(f"{text} gives {result} here and an error in Python")


# ---- tensors against torch

A = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4)
B = torch.tensor([0.5, -1.0, 2.0, 3.0], dtype=torch.float64)
C = torch.tensor([[1.0], [-2.0], [0.25]], dtype=torch.float64)
AGAINST = [
    ("a + b", A + B), ("a - c * 2", A - C * 2), ("a / b", A / B), ("a // c", A // C), ("a % b", A % B), ("abs(a) ** 0.5", A.abs() ** 0.5),
    ("2 ** a", 2**A), ("-a ** 2", -(A**2)), ("a < b", (A < B).double()), ("a >= 0 and b > 0", ((A >= 0) & (B > 0)).double()),
    ("a > 1 or not c > 0", ((A > 1) | ~(C > 0)).double()), ("not a", (A == 0).double()), ("a == a", torch.ones_like(A)), ("a != b", (A != B).double()),
    ("(a > 0) + (b > 0)", (A > 0).double() + (B > 0).double()), ("-(a > 0)", -(A > 0).double()),
    ("sqrt(abs(a))", A.abs().sqrt()), ("exp(a)", A.exp()), ("expm1(a)", A.expm1()), ("log(abs(b))", B.abs().log()), ("log1p(abs(a))", A.abs().log1p()),
    ("sin(a) + cos(b)", A.sin() + B.cos()), ("tanh(a)", A.tanh()), ("sign(c)", C.sign()), ("floor(a)", A.floor()), ("ceil(a)", A.ceil()), ("round(a)", A.round()),
    ("clip(a, -1, 1)", A.clip(-1, 1)), ("clip(a, c, 5)", torch.minimum(torch.maximum(A, C), torch.tensor(5.0))), ("where(a > 0, a, b)", torch.where(A > 0, A, B)), ("where(a > 0, 1, 0)", (A > 0).double()),
    ("min(a, b, 0)", torch.minimum(torch.minimum(A, B), torch.tensor(0.0))), ("max(a, 0.5)", A.clamp(min=0.5)),
    ("min(a)", A.min()), ("max(a, dim=0)", A.amax(0, keepdim=True)), ("sum(a)", A.sum()), ("sum(a, dim=1)", A.sum(1, keepdim=True)), ("sum(a, dim=(0, 1))", A.sum((0, 1), keepdim=True)),
    ("mean(a, dim=-1)", A.mean(-1, keepdim=True)), ("std(a)", A.std()), ("std(a, dim=0)", A.std(0, keepdim=True)), ("norm(a)", A.norm()), ("norm(a, dim=0)", A.norm(dim=0, keepdim=True)),
    ("a / norm(a, dim=1)", A / A.norm(dim=1, keepdim=True)), ("index(0) * 10 + index(1)", torch.arange(3.0)[:, None] * 10 + torch.arange(4.0)), ("index(-1) == index(0)", torch.eye(3, 4)),
    ("linspace(0, 3, 4)", torch.linspace(0, 3, 4)), ("linspace(1, shape[-1], shape[1])", torch.linspace(1, 4, 4)), ("a[1]", A[1]), ("a[:, 0:1]", A[:, 0:1]), ("a[0:3:2][1]", A[2]), ("a[-1, -1]", A[-1, -1]), ("a[..., 2:3]", A[..., 2:3]),
    ("b[0] * c[2, 0]", B[0] * C[2, 0]), ("[1, 2, 3, 4]", torch.tensor([1.0, 2, 3, 4])), ("[[1], [2], [3]]", torch.tensor([[1.0], [2], [3]])), ("[fan_in, 1 / 2, pi, -1]", torch.tensor([4, 0.5, math.pi, -1], dtype=torch.float64)),
    ("fan_in(c) + 10 * fan_out(c)", torch.tensor(31.0)), ("net.a[1, 1] + net.b[-1]", A[1, 1] + B[-1]), ("shape[0] * ndim + numel", torch.tensor(18.0)),
    ("(1, 2, 3)[-1] + len(net.*)", torch.tensor(3.0 + 4)), ("it * 3", torch.full((3, 4), 3.0)), ("sum(it) + sum(w)", torch.tensor(24.0)), ("max((1, 5, 3)) + min([2, 4])", torch.tensor(7.0)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), AGAINST, ids=[t for t, _ in AGAINST])
def test_tensors_are_torchs(text: str, expected: torch.Tensor) -> None:
    torch.testing.assert_close(
        value(text, a=A.clone(), b=B.clone(), c=C.clone()), expected.double().expand(3, 4), rtol=1e-12, atol=1e-12
    )


EDGES = [
    ("(-2) ** 63 / 2.0 ** 63", -1), ("2 ** 62 + (2 ** 62 - 1) - 2 ** 62 == 2 ** 62 - 1", True), ("1 ** 100 + (-1) ** 101", 0), ("2 ** -2", 0.25),
    ("clip(3, 2, 2)", 2), ("clip(1, 2, 3)", 2), ("clip(x=7, lo=2, hi=3)", 3), ("clip(2.5, hi=3, lo=2)", 2.5), ("where(0, 1, 2)", 2), ("where(-1, 1, 2)", 1),
    ("max(1, 4, 2) - min(5, 3, 4)", 1), ("sum((1, 2, 4))", 7), ("mean((1, 2, 6))", 3), ("norm((3, 4))", 5), ("std((1, 2, 3, 6))", math.sqrt(14 / 3)), ("min((2, 1)) + max([1, 7])", 8),
    ("(5, 6)[-2] + (5, 6)[1]", 11), ("(5, 6, 7)[1:][0]", 6), ("a[0:3][2, 0]", A[2, 0]), ("a[-3:-1][1, 3]", A[1, 3]), ("a[2:3, 0][0]", A[2, 0]), ("a[:, -4][0]", A[0, 0]),
    ("a[1, ...][3]", A[1, 3]), ("a[..., 3][1]", A[1, 3]), ("a[2, ..., 1]", A[2, 1]), ("a[0:3:9][0, 1]", A[0, 1]), ("sum(a[::2])", A[::2].sum()), ("a[none:1][0, 0]", A[0, 0]),
    ("sum(a, dim=(0, -1)) / 2", A.sum() / 2), ("norm(a, dim=(0, 1))", A.norm()), ("max(a, dim=(0, 1))", A.max()), ("sum(linspace(2, 5, 1))", 2),
    ("sum(b == (b > 0))", 0), ("sum(b > 0 and true)", 3), ("sum(b < 0 or 0)", 1),
    ("(1, 2) == [1, 2]", True), ("(1, 2) != (1, 3)", True), ('"a" == "b"', False), ("none == none", True), ("sum(where(b > 0, b, (b > 2)))", 5.5),
    ("calculate_gain(leaky_relu, 2)", nn.init.calculate_gain("leaky_relu", 2)), ("calculate_gain(param=1, nonlinearity=leaky_relu)", 1), ("calculate_gain(tanh)", 5 / 3),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), EDGES, ids=[text for text, _ in EDGES])
def test_edges(text: str, expected: float) -> None:
    got = value(f"0 + sum({text})" if text.startswith("linspace") else f"0 + ({text})", a=A.clone(), b=B.clone())
    assert got == pytest.approx(torch.full((3, 4), float(expected), dtype=torch.float64), rel=1e-12)


WRONG = [
    ("sum()", "bad-expression", "takes one tensor", "sum()"), ("sum(a, b)", "bad-expression", "takes one tensor", "sum(a, b)"),
    ("sum(2)", "bad-expression", "`sum` needs a tensor, this is 2", "sum(2)"), ('mean((1, "x"))', "bad-expression", "`mean` needs numbers", 'mean((1, "x"))'),
    ("std((1,))", "bad-expression", "at least two numbers", "std((1,))"), ("sum((1, 2), dim=0)", "bad-argument", "`dim` goes with one tensor", "sum((1, 2), dim=0)"),
    ("max(a, b, dim=0)", "bad-argument", "`dim` goes with one tensor", "max(a, b, dim=0)"), ("sum(a, axis=0)", "unknown-argument", "no argument `axis`", "axis=0"),
    ("sum(a, dim=2)", "bad-index", "`dim` 2 is not a dimension of shape [3, 4]", "sum(a, dim=2)"), ("sum(a, dim=-3)", "bad-index", "`dim` -3 is", "sum(a, dim=-3)"),
    ("sum(a, dim=(0, 2))", "bad-index", "`dim` 2 is", "sum(a, dim=(0, 2))"), ("sum(a, dim=true)", "bad-index", "`dim` `true` is", "sum(a, dim=true)"),
    ("index(2)", "bad-index", "2 is not a dimension of shape [3, 4]", "2"), ("index(-3)", "bad-index", "-3 is", "-3"), ("index(0.5)", "bad-index", "0.5 is", "0.5"), ("index(true)", "bad-index", "`true` is", "true"),
    ("linspace(0, 1, 0)", "bad-expression", "a positive integer of steps", "0"), ("linspace(0, 1, 2.0)", "bad-expression", "a positive integer", "2.0"), ("linspace(0, 1, 2 ** 28 + 1)", "bad-expression", "a positive integer", "2 ** 28 + 1"),
    ("linspace(a, 1, 4)", "bad-expression", "the ends of `linspace` are numbers", "linspace(a, 1, 4)"), ("linspace(0, b, 4)", "bad-expression", "the ends of `linspace` are numbers", "linspace(0, b, 4)"),
    ("clip(1, 3, 2)", "bad-expression", "the lower bound 3 is above the upper bound 2", "clip(1, 3, 2)"), ("clip(a, c, 0)", "bad-shape", "shapes [3, 4] and [3] don't broadcast", "c"),
    ("where(a, c, 0)", "bad-shape", "shapes [3, 4] and [3] don't broadcast", "c"), ("min(a, c)", "bad-shape", "shapes [3, 4] and [3] don't broadcast", "c"), ("where(1, \"x\", 2)", "bad-expression", 'the string "x", not a number', '"x"'),
    ("a + c", "bad-shape", "shapes [3, 4] and [3] don't broadcast", "a + c"), ("a and c", "bad-shape", "shapes [3, 4] and [3] don't broadcast", "a and c"), ("a / 0", "division-by-zero", "division by zero", "a / 0"),
    ("a // 0", "division-by-zero", "division by zero", "a // 0"), ("a % 0.0", "division-by-zero", "division by zero", "a % 0.0"), ("1 % 0", "division-by-zero", "division by zero", "1 % 0"),
    ("exp(1000)", "bad-expression", "`exp` of 1000 is not a finite number", "exp(1000)"), ("log(0)", "bad-expression", "`log` of 0 is not", "log(0)"), ("-none", "bad-expression", "this is `none`, not a number", "none"),
    ("(1, 2)[2]", "bad-index", "index 2 is out of range for a tuple of 2", "(1, 2)[2]"), ("(1, 2)[-3]", "bad-index", "index -3 is", "(1, 2)[-3]"), ("(1, 2)[0, 1]", "bad-index", "a tuple takes one index", "(1, 2)[0, 1]"),
    ("(1, 2)[...]", "bad-index", "a tuple takes one index", "(1, 2)[...]"), ("(1, 2)[none]", "bad-index", "a tuple takes one index", "(1, 2)[none]"), ("pi[0]", "bad-index", "this is 3.14159 and has no elements", "pi[0]"),
    ("a[*]", "bad-index", "stands in the index of a selector only", "*"), ("a[none]", "bad-index", "this is `none`", "a[none]"), ("a[true]", "bad-index", "this is `true`", "true"), ("a[0:1.5]", "bad-index", "this is 1.5", "1.5"),
    ("a[0:4]", "bad-index", "slice bound 4 is out of range for dimension 0 of shape [3, 4]", "a[0:4]"), ("a[-4:2]", "bad-index", "slice bound -4 is", "a[-4:2]"), ("a[:, 4]", "bad-index", "index 4 is out of range for dimension 1 of shape", "a[:, 4]"),
    ("a[3]", "bad-index", "index 3 is out of range for dimension 0 of shape", "a[3]"), ("a[-4]", "bad-index", "index -4 is", "a[-4]"), ("a[..., 4]", "bad-index", "for dimension 1 of shape", "a[..., 4]"), ("a[0, 0, 0]", "bad-index", "3 indices for shape [3, 4]", "a[0, 0, 0]"),
    ("a[..., ...]", "bad-index", "at most one `...`", "a[..., ...]"), ("a[1:1]", "bad-index", "the slice is empty", "a[1:1]"), ("a[::0]", "bad-index", "step is at least 1, this is 0", "a[::0]"),
    ("2 ** 64", "overflow", "more than 64 bits", "2 ** 64"), ("2 ** 63", "overflow", "more than 64 bits", "2 ** 63"), ("-2 ** 62 * 2 - 1", "overflow", "more than 64 bits", "-2 ** 62 * 2 - 1"), ("3 * 2 ** 62", "overflow", "more than 64 bits", "3 * 2 ** 62"),
    ("1e308 * 10", "overflow", "the result is not finite", "1e308 * 10"), ("2.0 ** 5000", "overflow", "the result is not finite", "2.0 ** 5000"), ('1 + "x"', "bad-expression", 'the string "x", not a number', '"x"'), ('"x" < 1', "bad-expression", 'the string "x", not a number', '"x"'),
    ("calculate_gain(2)", "bad-argument", "`nonlinearity` must be one of `linear`", "2"), ("calculate_gain(leaky_relu, true)", "bad-expression", "`param` must be a number, this is `true`", "true"), ("calculate_gain(leaky_relu, a)", "bad-expression", "a tensor of shape [3, 4]", "a"),
    ("calculate_gain()", "bad-argument", "`calculate_gain` takes 1 or 2 arguments, got 0", "calculate_gain()"), ("resize_grid()", "bad-argument", "`resize_grid` takes 1 to 6 arguments, got 0", "resize_grid()"), ("sqrt()", "bad-argument", "`sqrt` takes 1 argument, got 0", "sqrt()"),
    ("sqrt(1, 2)", "bad-argument", "`sqrt` takes 1 argument, got 2", "sqrt(1, 2)"), ("clip(1, hi=2)", "bad-argument", "`clip` takes 3 arguments, got 2", "clip(1, hi=2)"), ("clip(x=1, 2, 3)", "bad-argument", "a positional argument stands before", "2"),
    ("sqrt(y=2)", "unknown-argument", "no argument `y` here", "y=2"), ('[1, "x"]', "bad-expression", 'a literal holds numbers, this is the string "x"', '[1, "x"]'),
    ("resize_rows(2)", "bad-expression", "`resize_rows` needs a tensor, this is 2", "2"), ("resize_rows(b)", "bad-shape", "only dimension 0 may differ", "resize_rows(b)"), ("resize_rows(a[:, 0:2])", "bad-shape", "only dimension 0 may differ", "resize_rows(a[:, 0:2])"),
    ("resize_grid(a, mode=cubic)", "bad-argument", "`mode` must be one of `bicubic`", "resize_grid(a, mode=cubic)"), ("resize_grid(a, prefix=-1)", "bad-argument", "`prefix` must be an integer, at least 0", "resize_grid(a, prefix=-1)"), ("resize_grid(a, prefix=true)", "bad-argument", "`prefix` must", "resize_grid(a, prefix=true)"),
    ("resize_grid(c)", "bad-shape", "only the last dimension but one may differ", "resize_grid(c)"), ("resize_grid(a)", "bad-shape", "3 rows are no square grid", "resize_grid(a)"), ("resize_grid(a, prefix=3)", "bad-shape", "0 rows are no square grid", "resize_grid(a, prefix=3)"),
    ("resize_grid(a, old_grid=(2, 2))", "bad-shape", "`old_grid` must be two sizes whose product is 3", "resize_grid(a, old_grid=(2, 2))"), ("resize_grid(a, grid=(1, 3), old_grid=(3,))", "bad-shape", "`old_grid` must", "resize_grid(a, grid=(1, 3), old_grid=(3,))"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "message", "blamed"), WRONG, ids=[text for text, *_ in WRONG])
def test_what_an_expression_gets_wrong(text: str, name: str, message: str, blamed: str) -> None:
    net = Tensors(w=torch.zeros(3, 4), a=A.clone(), b=B.clone(), c=torch.ones(3))
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(net, f"net.w = {text}")
    (found,) = caught.value.diagnostics
    assert found.name == name
    assert message in found.message
    assert found.span is not None
    assert f"net.w = {text}"[found.span.start : found.span.end] == blamed
    assert not net.w.any()


def test_sinusoids_of_the_documentation() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.d = 8
            self.pe = nn.Parameter(torch.zeros(10, 8))

    net = Positions()
    rules = "Positions.pe[:, 0::2] = sin(index(0) * 10000 ** (-2 * index(1) / d)); Positions.pe[:, 1::2] = cos(index(0) / 10000 ** (2 * index(1) / d))"
    initdsl.apply(net, rules)
    position = torch.arange(10.0)[:, None]
    div = torch.exp(torch.arange(0, 8, 2) * (-math.log(10000.0) / 8))
    expected = torch.zeros(10, 8)
    expected[:, 0::2], expected[:, 1::2] = torch.sin(position * div), torch.cos(position * div)
    torch.testing.assert_close(net.pe.detach(), expected)


def test_len() -> None:
    cases = {
        "len(net.layers)": 3,
        "len(Block)": 3,
        "len(net.layers[*])": 3,
        "len(*.bias)": 9,
        "len(Linear+)": 7,
        "len(LayerNorm in net.layers[0])": 1,
        "len(net.layers[1:])": 2,
    }
    for text, expected in cases.items():
        net = Tower()
        initdsl.apply(net, f"net.scale = {text}")
        assert net.scale[0] == expected, text


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_where_statements_end(newline: str) -> None:
    text = newline.join([
        "Linear.weight = (1 +", "  2)", "Linear.bias = 1 +", "", "  # a comment", "  1; net[0].bias = [", " 1, 2,", " 3, 4]",
        "net[2].weight,", "  net[4].weight", "{", "}", "net[2].bias in", " net = 7", "net", "{ .**.weight = 5 }",
    ])  # fmt: skip
    text = text.replace(f"net[2].weight,{newline}  net[4].weight{newline}{{{newline}}}{newline}", "")
    net = mlp()
    initdsl.apply(net, text)
    assert (net[0].weight == 5).all()
    assert (net[4].bias == 2).all()
    assert net[0].bias.tolist() == [1, 2, 3, 4]
    assert (net[2].bias == 7).all()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("net.w*=2", 14), ("net.w *= 2", 14), ("net.w /= 2 / 4", 14), ("net.w-=1", 6), ("net.w+=1", 8), ("net.w=-1", -1), ("net.w=+1", 1),
        ("net.* = 3", 3), ("net.w* = 3", 3), ("net.w = 3;", 3), ("net.w = 3 # ; net.w = 4", 3), ("net.w=3;net.w+=1", 4), ("net.w = -2 ** 2", -4), ("net.w = 2 ** -1", 0.5),
        ("net.w = 2 ** 3 ** 2 / 2 ** 9", 1), ("net.w = 7 - 2 - 1", 4), ("net.w = 12 / 3 / 2", 2), ("net.w = not 1 == 2", 1), ("net.w = 1 or 1 / 0", 1), ("net.w = 0 and 1 / 0", 0), ("net.w = 2 + 3 * 4 % 5", 4),
    ],
)  # fmt: skip
def test_operators_and_spaces(text: str, left: float) -> None:
    net = Tensors(w=torch.full((2,), 7.0))
    initdsl.apply(net, text)
    assert net.w.tolist() == [left, left]


def test_names_that_double_each_other_take_no_time() -> None:
    text = (
        "let a0 = fan_in\n" + "\n".join(f"let a{i + 1} = a{i} + a{i}" for i in range(40)) + "\nnet.w = a40 / 2.0 ** 40"
    )
    net = Tensors(w=torch.zeros(2, 3))
    initdsl.apply(net, text)
    assert (net.w == 3).all()
    drawn = "let a0 = normal()\n" + "\n".join(f"let a{i + 1} = a{i} + a{i}" for i in range(40)) + "\nnet.w ~ a40"
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(net, drawn)
    assert names_of(caught.value) == ["too-many-draws"]


def test_a_formula_that_draws_draws_at_each_use() -> None:
    net = Tensors(w=torch.zeros(50, 50))
    torch.manual_seed(0)
    initdsl.apply(net, "let d = uniform(); net.w ~ d - d")
    torch.manual_seed(0)
    assert torch.equal(net.w.detach(), torch.empty(50, 50).uniform_() - torch.empty(50, 50).uniform_())


def test_the_one_argument_of_a_function_has_a_name() -> None:
    assert (value("sqrt(x=4)") == 2).all()
    with pytest.raises(initdsl.InitDSLError, match="`sqrt` has no argument `y` here"):
        value("sqrt(y=4)")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("net.n[0] = 1", "1 index for shape []"),
        ("net.w[0, 0, 0] = 1", "3 indices for shape [2, 2]"),
        ("net.w = [[1, 2], [3]]", "the rows of the literal differ in length"),
        ("net.w = [[1, 2], 3]", "the rows of the literal differ in length"),
    ],
)
def test_shapes_that_cant_be(rule: str, said: str) -> None:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(Tensors(n=torch.tensor(1.0), w=torch.zeros(2, 2)), rule)
    assert [found.message for found in caught.value.diagnostics] == [said]


@pytest.mark.parametrize("index", ["0:6:1", "0:6:2", "1:6:5", "::3", "-1:", ":-5", "5:6", "0:6"])
def test_slices_are_pythons(index: str) -> None:
    start, stop, step = ([int(part) if part else None for part in index.split(":")] + [None])[:3]
    v = torch.arange(6.0, dtype=torch.float64)
    expected = v[slice(start, stop, step)]
    assert (value(f"sum(net.v[{index}])", v=v) == expected.sum()).all()
    net = Tensors(w=torch.zeros(len(expected), dtype=torch.float64), v=v.clone())
    initdsl.apply(net, f"net.w = net.v[{index}]")
    assert torch.equal(net.w.detach(), expected)


@pytest.mark.parametrize(("index", "said"), [
    ("0:6:0", "a slice's step is at least 1, this is 0"), ("0:6:-1", "a slice's step is at least 1, this is -1"),
    ("0:7", "slice bound 7 is out of range"), ("-7:", "slice bound -7 is out of range"), ("3:3", "the slice is empty"),
])  # fmt: skip
def test_slices_that_are_refused(index: str, said: str) -> None:
    with pytest.raises(initdsl.InitDSLError, match=said):
        value(f"sum(net.v[{index}])", v=torch.arange(6.0, dtype=torch.float64))
