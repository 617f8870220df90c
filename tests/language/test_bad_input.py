"""What is wrong is named, placed and left undone: a table of mistakes, and hostile files against the clock."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl
from initdsl import ApplyError, ParseError, ResolveError, RuleError
from tests.support.nets import Tensors, filled, mlp, names_of, same, snapshot
from tests.support.processes import LONGEST, python

WORDS_OF_OTHERS = re.compile(
    r"lark|pydantic|Traceback|VisitError|NoneType|validation error|Unexpected(Token|Char)|\.py\b|object at 0x|initdsl\.\w+\."
)

# rules, class of the error, name of the finding, line:column, what the hint says
MISTAKES = [
    # syntax
    ("Linear.weight", ParseError, "unexpected-token", "1:14", None),
    ("Linear.weight ~", ParseError, "unexpected-token", "1:16", None),
    ("Linear.weight ~ normal(", ParseError, "unclosed-bracket", "1:23", "close it with `)`"),
    ("Linear.weight ~ normal(0, 1", ParseError, "unclosed-bracket", "1:23", "close it with `)`"),
    ("Linear {\n .weight = 0", ParseError, "unclosed-bracket", "1:8", "close it with `}`"),
    ("}", ParseError, "unexpected-token", "1:1", None),
    ("Linear.weight == 1", ParseError, "bad-operator", "1:15", "to set a value write `=`"),
    ("Linear.weight: 1", ParseError, "bad-operator", "1:14", "write `=` for a value"),
    ("net.weight**=2", ParseError, "bad-operator", "1:11", "space before `*=`"),
    ("Linear.weight = 'a'", ParseError, "bad-character", "1:17", "double quotes"),
    ('use "abc', ParseError, "unclosed-string", "1:5", None),
    ('use "a\\q"', ParseError, "bad-escape", "1:7", "escapes are"),
    ("// no", ParseError, "bad-comment", "1:1", "comments begin with `#`"),
    ("tie net [2]", ParseError, "stray-space", "1:9", "net[2]"),
    ("net [2].weight = 0", ParseError, "stray-space", "1:5", "directly behind"),
    ("tie A, B", ParseError, "unexpected-comma", "1:6", "leave out"),
    ("net .weight = 0", ParseError, "stray-space", "1:5", "directly behind"),
    ("Linear (bias).weight = 0", ParseError, "stray-space", "1:8", "directly behind"),
    ("Linear.weight, bias in net = 0", ParseError, "ambiguous-in", "1:16", "(A, B) in T"),
    (".weight = 0", ParseError, "outside-block", "1:1", "class name"),
    ("let in = 3", ParseError, "unexpected-token", "1:5", "reserved"),
    ("expect x", ParseError, "bad-expectation", "1:9", None),
    ("expect net.w stdd < 3", ParseError, "bad-expectation", "1:14", "did you mean `std`?"),
    ("expect net.w std", ParseError, "bad-expectation", "1:14", "as in `std in [a, b]`"),
    ("expect net.w std in 3", ParseError, "bad-expectation", "1:21", "as in `std in"),
    ("expect net.w shape < 3", ParseError, "bad-expectation", "1:20", "as in `shape ="),
    ("Linear.weight = 1 < 2 < 3", ParseError, "chained-comparison", "1:23", "join two with `and`"),
    ("Linear.weight = 0x1F", ParseError, "bad-number", "1:17", "decimal"),
    ("Linear.weight = 007", ParseError, "bad-number", "1:17", "leading zeros"),
    ("Linear.weight = 1e999", ParseError, "number-too-large", "1:17", "`inf`"),
    ("Linear.weight = 99999999999999999999", ParseError, "number-too-large", "1:17", None),
    ("Linear.weight = a.b", ParseError, "no-attributes", "1:18", None),
    ("Linear.weight = weight.data", ParseError, "no-attributes", "1:23", None),
    ("Linear.weight = __import__.os", ParseError, "no-attributes", "1:27", None),
    ("Linear.weight = \u00a01", ParseError, "bad-character", "1:17", None),
    ("Linear.weight\x00 = 1", ParseError, "forbidden-character", "1:14", None),
    ("Linear.weight = 1\r# x", ParseError, "forbidden-character", "1:18", "lines end"),
    ("Linear.weight = 1 \u202e", ParseError, "forbidden-character", "1:19", None),
    ("# é\nLinear.weight ~~ 1", ParseError, "unexpected-token", "2:16", None),
    ("\ufeffLinear.weight = = 1", ParseError, "unexpected-token", "1:17", None),
    ("Linear.bias = 1\r\n\tLinear.weight = = 1", ParseError, "unexpected-token", "2:18", None),
    ("**.weight = 0", ParseError, "bad-class-glob", "1:1", "any class is `*`"),
    ("net.a+ = 0", ParseError, "bad-plus", "1:6", None),
    # initializers and their arguments
    ("Linear.weight ~ kaimin_normal()", RuleError, "unknown-initializer", "1:17", "did you mean `kaiming_normal`?"),
    ("Linear.weight ~ normal_(0, 1)", RuleError, "unknown-initializer", "1:17", "did you mean `normal`?"),
    ("Linear.weight ~ eval(1)", RuleError, "unknown-initializer", "1:17", None),
    ("Linear.weight ~ normal(0, sdt=1)", RuleError, "unknown-argument", "1:27", "did you mean `std`?"),
    ("Linear.weight ~ normal(0, 1, 2)", RuleError, "bad-argument", "1:17", "normal(mean=0, std=1)"),
    ("Linear.weight ~ normal(0, mean=1)", RuleError, "bad-argument", "1:27", None),
    ("Linear.weight ~ normal(std=1, 0)", RuleError, "bad-argument", "1:31", None),
    ("Linear.weight ~ normal(0, -1)", RuleError, "bad-argument", "1:27", None),
    ("Linear.weight ~ normal(0, nan)", RuleError, "bad-argument", "1:27", None),
    ("Linear.weight ~ normal(inf, 1)", RuleError, "bad-argument", "1:24", None),
    ('Linear.weight ~ normal("a")', RuleError, "bad-argument", "1:24", None),
    ("Linear.weight ~ normal(true)", RuleError, "bad-argument", "1:24", None),
    ("Linear.weight ~ normal(none)", RuleError, "bad-argument", "1:24", None),
    ("Linear.weight ~ normal((1, 2))", RuleError, "bad-argument", "1:24", None),
    ("Linear.weight ~ uniform(1, 0)", RuleError, "bad-argument", "1:25", "swap the bounds"),
    ("Linear.weight ~ trunc_normal(std=0)", RuleError, "bad-argument", "1:30", None),
    ("Linear.weight ~ trunc_normal(0, 0.001, 5, 6)", RuleError, "truncates-away", "1:40", "trunc_normal_sd"),
    ("Linear.weight ~ sparse(2)", RuleError, "bad-argument", "1:24", None),
    ("Linear.weight ~ sparse()", RuleError, "bad-argument", "1:17", None),
    ("Linear.weight ~ kaiming_normal(mode=fan_inn)", RuleError, "bad-argument", "1:32", "did you mean `fan_in`?"),
    ("Linear.weight ~ kaiming_normal(nonlinearity=gelu)", RuleError, "bad-argument", "1:32", None),
    ("Linear.weight = dirac(groups=0)", RuleError, "bad-argument", "1:23", None),
    ("Linear.weight = dirac(groups=1.5)", RuleError, "bad-argument", "1:23", None),
    ("Linear.weight ~ 0.5", RuleError, "plain-draw", "1:15", "a value is set with `=`"),
    ("Linear.weight = normal()", RuleError, "unexpected-draw", "1:15", "a draw is written `~`"),
    ("Linear.weight = 9**9**9", RuleError, "overflow", "1:17", "floats"),
    ("Linear.weight = 1e308 * 10", RuleError, "overflow", "1:17", None),
    ("Linear.weight = 1 / 0", RuleError, "division-by-zero", "1:17", None),
    ("Linear.weight /= 0", RuleError, "division-by-zero", "1:18", None),
    ("Linear.weight = floor(1e300)", RuleError, "overflow", "1:17", None),
    ("Linear.weight = abs(-9223372036854775807 - 1)", RuleError, "overflow", "1:17", None),
    ("Linear.weight = mean((1e308, 1e308))", RuleError, "overflow", "1:17", None),
    ("Linear.weight = sqrt(-1)", RuleError, "bad-expression", "1:17", None),
    ("Linear.weight = (-8) ** 0.5", RuleError, "bad-expression", "1:17", None),
    ("Linear.weight = abs(1, 2)", RuleError, "bad-argument", "1:17", None),
    ('Linear.weight = "a" * 3', RuleError, "bad-expression", "1:17", None),
    ("Linear.weight = none", RuleError, "bad-argument", "1:17", None),
    ("Linear.weight = (1, 2)", RuleError, "bad-argument", "1:17", "a vector is written as a list"),
    ("let a = a; Linear.weight = a", RuleError, "circular-let", None, None),
    ("/(/ = 0", RuleError, "bad-regex", "1:1", "RE2"),
    ("/(?=a)/ = 0", RuleError, "bad-regex", "1:1", "RE2"),
    (r"/(a)\1/ = 0", RuleError, "bad-regex", "1:1", "RE2"),
    ("/((a{900}){900}){900}/ = 0", RuleError, "bad-regex", "1:1", "RE2"),
    # files
    ('use "nope.init"', RuleError, "unreadable-file", "1:5", None),
    ('use "../x.init"', RuleError, "outside-root", "1:5", "root"),
    ('use "/etc/passwd"', RuleError, "outside-root", "1:5", None),
    ('use "~/x.init"', RuleError, "outside-root", "1:5", None),
    ('use ""', RuleError, "outside-root", "1:5", None),
    ('use "a\\u0000b"', RuleError, "outside-root", "1:5", None),
    ('use "initdsl:gtp2"', RuleError, "unknown-recipe", "1:5", None),
    # against this network
    ("Linear.bias ~ xavier_normal()", ResolveError, "undefined-fan", "1:15", None),
    ("Linear.bias ~ normal(0, fan_in)", ResolveError, "undefined-fan", "1:25", None),
    ("Linear.bias = eye()", ResolveError, "bad-shape", "1:15", None),
    ("Linear.weight = dirac()", ResolveError, "bad-shape", "1:17", None),
    ("Linear.bias = [1, 2]", ResolveError, "bad-shape", "1:15", None),
    ("Linear.weight = [[1], [2, 3]]", ResolveError, "bad-shape", "1:17", None),
    ("Linear.weight = net[0].bias[0:3]", ResolveError, "bad-shape", "1:17", None),
    ("Linear.weight = weight[0:3] + weight", ResolveError, "bad-shape", "1:17", None),
    ("Linear.weight[9] = 0", ResolveError, "bad-index", "1:14", None),
    ("Linear.weight[0:9] = 0", ResolveError, "bad-index", "1:14", None),
    ("Linear.weight[-5] = 0", ResolveError, "bad-index", "1:14", None),
    ("Linear.weight[2:1] = 0", ResolveError, "bad-index", "1:14", None),
    ("Linear.weight[0, 0, 0] = 0", ResolveError, "bad-index", "1:14", None),
    ("Linear.weight[1.5] = 0", ResolveError, "bad-index", "1:15", "`//`"),
    ("Linear.weight[::-1] = 0", ResolveError, "bad-index", "1:14", None),
    ("Linear.weight[..., ...] = 0", ResolveError, "bad-index", "1:14", None),
    ("Linear.weight = wieght", ResolveError, "unknown-name", "1:17", "did you mean `weight`?"),
    ("Linear.weight = True", ResolveError, "unknown-name", "1:17", "write `true`"),
    ("Linear.weight = net.nope", ResolveError, "unmatched-selector", "1:17", None),
    ("net.head.weight = 0", ResolveError, "unmatched-selector", "1:4", None),
    ("net[0].wieght = 0", ResolveError, "unmatched-selector", "1:7", "did you mean `weight`?"),
    ("net[0] = 0", ResolveError, "needs-parameter", "1:1", "did you mean `net[0].*`?"),
    ("net[0].weight { .x = 0 }", ResolveError, "needs-module", "1:1", None),
    ("Linear.weight in net[0].weight = 0", ResolveError, "needs-module", "1:18", None),
    ("keep net[0].weight[0]", ResolveError, "bad-index", None, None),
    ("default net[0].weight[0]", ResolveError, "bad-index", None, None),
    ("net[i, j].weight = 0", ResolveError, "bad-index", None, None),
    ("net[1.5].weight = 0", ResolveError, "bad-index", None, None),
    ("net[...].weight = 0", ResolveError, "bad-index", None, None),
    ("Linear(in_features<out).weight = 0", ResolveError, "unknown-name", None, None),
    ('Linear(in_features<"a").weight = 0', None, "bad-expression", None, None),
]


@pytest.mark.parametrize(("rules", "kind", "name", "place", "hint"), MISTAKES, ids=[repr(m[0])[:70] for m in MISTAKES])
def test_each_mistake(tmp_path: Path, rules: str, kind: type, name: str, place: str | None, hint: str | None) -> None:
    torch.manual_seed(0)
    net = mlp()
    before = snapshot(net)
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(net, rules, root=tmp_path)
    same(before, snapshot(net))
    error = caught.value
    if kind is not None:
        assert type(error) is kind, error
    assert names_of(error)[0] == name, error
    found = error.diagnostics[0]
    if place is not None:
        assert f"{found.line}:{found.column}" == place, error
    if hint is not None:
        assert hint in (found.hint or ""), error
    text = str(error)
    assert re.search(rf"^error\[{name}\]: .+", text, re.MULTILINE)
    assert re.search(r"^ *\| *\^+$", text, re.MULTILINE), text
    assert not WORDS_OF_OTHERS.search(text), text
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", found.name)
    assert not found.message.endswith(".")
    assert error.__cause__ is None or isinstance(error, ApplyError)


@pytest.mark.parametrize("rules", [m[0] for m in MISTAKES if m[1] is ParseError], ids=repr)
def test_syntax_errors_need_no_network(rules: str) -> None:
    with pytest.raises(ParseError):
        initdsl.parse(rules)


def test_every_mistake_of_a_file_is_reported() -> None:
    syntax = "Linear.weight ~~ 1\nlet 3 = 4\nnet[0].weight = (1\nLinear.bias = 0\ntie\nuse 3; Linear.weight = 1 +\n"
    with pytest.raises(ParseError) as caught:
        initdsl.parse(syntax)
    assert [d.line for d in caught.value.diagnostics] == [1, 2, 3, 5, 6, 7]
    rules = "Linear.weight ~ norml()\nnet.nope.w = 0\nLinear.bias = [1, 2]\nLinear.weight ~ normal(0, -1)\nnet[0].weight[9] = 0\nnet[9].weight = 1 / 0\nConv2d.weight ~ unifrom()\nConv2d { .weight ~ nromal() }\n"
    net = mlp()
    before = snapshot(net)
    with pytest.raises(RuleError) as caught_rules:
        initdsl.apply(net, rules)
    assert sorted({d.line for d in caught_rules.value.diagnostics}) == [1, 2, 3, 4, 5, 6, 7, 8]
    same(before, snapshot(net))


def test_one_error_a_cause() -> None:
    """A rule that is wrong for many layers is reported once."""
    with pytest.raises(ResolveError) as caught:
        initdsl.apply(mlp(8), "Linear.bias ~ xavier_normal()\nLinear.weight[9] = 0")
    assert len(caught.value.diagnostics) == 2


def test_a_losing_rule_is_checked_too() -> None:
    for rule in (
        "Linear.weight ~ normal(0, -1)",
        "Linear.bias ~ xavier_normal()",
        "net[0].weight = [1, 2, 3]",
        "Linear.weight = wieght",
    ):
        with pytest.raises(initdsl.InitDSLError):
            initdsl.apply(mlp(), f"{rule}\n*.* = 0")


def test_the_rendering() -> None:
    with pytest.raises(RuleError) as caught:
        initdsl.apply(mlp(), "# a comment\n\tLinear.weight ~ kaimin_normal(mode=fan_in)")
    assert str(caught.value) == textwrap.dedent("""\
        error[unknown-initializer]: no initializer is named `kaimin_normal`
         --> <rules>:2:18
          |
        2 |  Linear.weight ~ kaimin_normal(mode=fan_in)
          |                  ^^^^^^^^^^^^^
          = hint: did you mean `kaiming_normal`?""")


def test_tensors_that_cannot_be_filled() -> None:
    net = Tensors(c=torch.ones(2, dtype=torch.complex64), i=torch.ones(2, dtype=torch.int32), f=torch.ones(2))
    for rule in ("net.c ~ trunc_normal()", "net.c ~ 2 * bernoulli()", "net.i ~ normal()", "net.i = 0.5"):
        before = snapshot(net)
        with pytest.raises(ResolveError) as caught:
            initdsl.apply(net, f"net.f = 3; {rule}")
        assert names_of(caught.value) == ["bad-dtype"]
        same(before, snapshot(net))
    initdsl.apply(net, "keep net.c; net.i = 4; net.f = 0")
    assert (net.i == 4).all()


def test_quantized_tensors() -> None:
    net = nn.Module()
    net.register_buffer("q", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
    net.w = nn.Parameter(torch.ones(2))
    with pytest.raises(ResolveError) as caught:
        initdsl.apply(net, "net.w = 0; net.q = 0")
    assert names_of(caught.value) == ["bad-dtype"]
    assert (net.w == 1).all()


def test_lazy_modules() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3))
    before = snapshot(net)
    with pytest.raises(ResolveError) as caught:
        initdsl.apply(net, "*.weight = 0")
    assert names_of(caught.value) == ["lazy-parameter"]
    assert "forward pass" in (caught.value.diagnostics[0].hint or "")
    same(before, snapshot(net))
    net(torch.ones(1, 2))
    initdsl.apply(net, "*.weight = 0")


def test_the_meta_device() -> None:
    for net in (nn.Linear(2, 2, device="meta"), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))):
        before = snapshot(net)
        for rules in ("Linear.weight = 0", "default net", "Linear.weight ~ normal()", "Linear.weight += 1"):
            with pytest.raises(ResolveError) as caught:
                initdsl.apply(net, rules)
            assert names_of(caught.value) == ["meta-device"]
            assert "materialize" in (caught.value.diagnostics[0].hint or "")
            same(before, snapshot(net))
        assert "normal" in str(initdsl.plan(net, "Linear.weight ~ normal()"))


def test_tied_on_the_meta_device_is_fine() -> None:
    net = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.Linear(2, 2, device="meta"))
    initdsl.apply(net, "tie net[0] net[1]")
    assert net[0].weight is net[1].weight


@pytest.mark.needs("torch>=2.5")  # `torch.distributed.tensor`
def test_sharded_already() -> None:
    script = """
        import torch, initdsl
        from torch import nn
        import torch.distributed as dist
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Shard, distribute_tensor
        from torch.testing._internal.distributed.fake_pg import FakeStore
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
        mesh = init_device_mesh("cpu", (2,))
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        for layer in net:
            layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), mesh, [Shard(0)]))
        try:
            initdsl.apply(net, "tie net[0].weight net[1].weight")
        except initdsl.ResolveError as error:
            print(error.diagnostics[0].name, error.diagnostics[0].message)
    """
    done = run(script)
    assert done.startswith("tie-mismatch `net[0].weight` is sharded already"), done


def test_files(tmp_path: Path) -> None:
    (tmp_path / "bad.init").write_bytes(b"Linear.weight = 1 # \xff\n")
    (tmp_path / "self.init").write_text('use "self.init"\n')
    (tmp_path / "a.init").write_text('use "b.init"\n')
    (tmp_path / "b.init").write_text('\nuse "a.init"\n')
    (tmp_path / "big.init").write_text("# " + "x" * 10_000_000)
    (tmp_path / "folder.init").mkdir()
    (tmp_path / "typo.init").write_text("Linear.weight ~~ 1\n")
    (tmp_path / "uses.init").write_text('use "typo.init"\nLinear.bias = = 0\n')
    (tmp_path / "link.init").symlink_to("/etc/hostname")
    (tmp_path / "links.init").write_text('use "link.init"\n')
    for i in range(20):
        (tmp_path / f"deep{i}.init").write_text(f'use "deep{i + 1}.init"\n')
    expected = {
        "bad.init": "not-utf8", "self.init": "circular-use", "a.init": "circular-use", "big.init": "file-too-large",
        "folder.init": "unreadable-file", "nope.init": "unreadable-file", "links.init": "outside-root", "deep0.init": "too-many-uses",
    }  # fmt: skip
    for file, name in expected.items():
        with pytest.raises(initdsl.InitDSLError) as caught:
            initdsl.load(tmp_path / file)
        assert names_of(caught.value) == [name], file
        assert file.split(".")[0][:4] in str(caught.value) or name in ("circular-use", "too-many-uses", "outside-root")
        assert not WORDS_OF_OTHERS.search(str(caught.value).replace(str(tmp_path), "")), str(caught.value)
    assert "offset 20" in message_of(tmp_path / "bad.init")
    with pytest.raises(ParseError) as caught:
        initdsl.load(tmp_path / "uses.init")
    assert [Path(d.file or "").name for d in caught.value.diagnostics] == ["typo.init", "uses.init"]


def message_of(path: Path) -> str:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.load(path)
    return caught.value.diagnostics[0].message


def run(script: str) -> str:
    """A script in a process of its own: what hangs or eats memory ends there."""
    limits = {"AS": 6 << 30, "CPU": LONGEST}
    limited = "".join(
        f"import resource; resource.setrlimit(resource.RLIMIT_{k}, ({v}, {v}))\n" for k, v in limits.items()
    )
    done = python("-c", limited + textwrap.dedent(script), timeout=2 * LONGEST)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


HOSTILE = """
    import initdsl, torch
    from torch import nn
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(7)
    texts = {
        "brackets": "Linear.weight = " + "(" * 100_000 + "1" + ")" * 100_000,
        "open brackets": "Linear.weight = " + "[" * 100_000,
        "blocks": "Linear {" * 100_000,
        "closing": "}" * 100_000,
        "big": "Linear.weight = 1\\n" * 600_000,
        "big line": "Linear.weight = " + "1 + " * 20_000 + "1",
        "minus": "Linear.weight = " + "-" * 20_000 + "1",
        "not": "Linear.weight = " + "not " * 20_000 + "1",
        "power": "Linear.weight = " + "2 ** " * 10_000 + "2",
        "tower": "Linear.weight = 9**9**9**9",
        "products": "; ".join(["let a0 = 9223372036854775807"] + [f"let a{i+1} = a{i} * a{i}" for i in range(50)]) + "; Linear.weight = a50",
        "doubling lets": "; ".join(["let a0 = fan_in"] + [f"let a{i+1} = a{i} + a{i}" for i in range(60)]) + "; Linear.weight = a60",
        "long lets": "; ".join(["let a0 = 1"] + [f"let a{i+1} = a{i} + 1" for i in range(5000)]) + "; Linear.weight = a5000",
        "literal": "Linear.weight = [" + "1, " * 20_000 + "1]",
        "nested literal": "Linear.weight = " + "[" * 60 + "1" + "]" * 60,
        "regex": "/(a*)*(a*)*(a*)*b/ = 0; /(x+x+)+y/? = 0",
        "regex size": "/((a{1,900}){1,900}){1,900}/ = 0",
        "regex bytes": "/" + "(a|b)*" * 20_000 + "/? = 0",
        "globs": "net." + "*a" * 5_000 + ".weight? = 0",
        "stars": "net." + "**." * 30 + "weight? = 0",
        "class globs": "*" + "a*" * 5_000 + ".weight? = 0",
        "linspace": "Linear.weight = sum(linspace(0, 1, 99999999999))",
        "errors": "x\\n" * 100_000,
        "names": "Linear." + "w" * 500_000 + " = 0",
        "ins": "Linear.weight" + " in net" * 5_000 + " = 0",
        "unions": ", ".join(["Linear.weight"] * 20_000) + " = 0",
        "pieces": "Linear.weight as (1, -1)[*] = 0; Linear.weight[*, *] = 0\\n" * 200,
        "lens": "Linear.weight = len(net.**) * len(*.*)",
        "strings": 'use "' + "a/" * 100_000 + '"',
        "quotes": '"' * 100_001,
        "surrogate": "Linear.weight = 1 # \\ud800",
    }
    for name, text in texts.items():
        try:
            initdsl.apply(net, text, strict=False)
            print(name, "ok")
            with torch.no_grad():
                for p in net.parameters():
                    p.fill_(7)
        except initdsl.InitDSLError as error:
            str(error)
            print(name, type(error).__name__, error.diagnostics[0].name)
            assert all((p == 7).all() for p in net.parameters()), name
"""


def test_hostile_files() -> None:
    said = dict(
        line.rsplit(" ", 2)[::2] if not line.endswith(" ok") else (line[:-3], "ok")
        for line in run(HOSTILE).splitlines()
        if "Warning" not in line
    )
    expected = {
        "brackets": "too-deep", "open brackets": "too-deep", "blocks": "too-deep", "closing": "unexpected-token", "big": "file-too-large",
        "minus": "too-deep", "not": "too-deep", "power": "too-deep", "tower": "overflow", "products": "overflow", "big line": "too-deep",
        "literal": "literal-too-large", "regex": "ok", "doubling lets": "ok", "long lets": "too-deep", "strings": "outside-root", "regex size": "bad-regex", "linspace": "bad-expression",
        "errors": "unexpected-token", "surrogate": "forbidden-character",
    }  # fmt: skip
    assert {k: v for k, v in said.items() if k in expected} == expected
    assert len(said) == 31


def test_a_bad_argument_type_for_apply() -> None:
    for wrong in (None, 3, b"Linear.weight = 0", ["Linear.weight = 0"]):
        with pytest.raises(TypeError):
            initdsl.apply(mlp(), wrong)  # type: ignore[arg-type]
    for wrong in (None, "net", {}, mlp, torch.ones(2)):
        with pytest.raises(TypeError):
            initdsl.apply(wrong, "Linear.weight = 0")  # type: ignore[arg-type]
    for seed in (1.5, "a", True):
        with pytest.raises(TypeError):
            initdsl.apply(mlp(), "Linear.weight = 0", seed=seed)  # type: ignore[arg-type]
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="between 0"):
            initdsl.apply(mlp(), "Linear.weight = 0", seed=seed)


def test_an_empty_file_is_a_rule_file() -> None:
    for text in ("", "\n\n", "# nothing\n", ";;;", "\ufeff", "\r\n"):
        net = filled(mlp())
        report = initdsl.apply(net, text)
        assert len(report.uncovered) == 6
        assert (net[0].weight == 7).all()


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 1000, 2.0**70])
def test_variables_of_64_bits(value: float) -> None:
    net = nn.Linear(2, 2)
    initdsl.apply(net, "let n = 1; *.* = n", vars={"n": value})
    assert (net.weight == value).all()
    initdsl.apply(net, "let n = (1, (1, 2)); *.* = n[1][0]", vars={"n": (0, (value, 1))})
    assert (net.weight == value).all()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2**63, "an integer of at most 64 bits"), (-(2**63) - 1, "an integer of at most 64 bits"),
        ((1, (2, 2**63)), "an integer of at most 64 bits"), ([object()], "a vector of those, not object"), (1j, "not complex"),
    ],
)  # fmt: skip
def test_variables_that_are_refused(value: object, said: str) -> None:
    with pytest.raises(initdsl.InitDSLError, match=said) as caught:
        initdsl.plan(nn.Linear(2, 2), "let n = 1; *.* = n", vars={"n": value})
    assert caught.value.diagnostics[0].name == "bad-variable"


@pytest.mark.parametrize(
    ("lets", "hint"),
    [
        ("let std = 1; ", "did you mean `std`?"), ("", "no `let` is in these rules"),
        ("let apple = 1; ", "there is `apple`"), ("let pear = 1; let apple = 1; ", "there are `apple`, `pear`"),
    ],
)  # fmt: skip
def test_a_variable_that_no_let_declares(lets: str, hint: str) -> None:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(nn.Linear(2, 2), f"{lets}*.* = 1", vars={"sdt": 2})
    (found,) = caught.value.diagnostics
    assert (found.name, found.message, found.hint) == ("unknown-variable", "no `let` declares `sdt`", hint)


@pytest.mark.parametrize(
    "rule",
    [
        "net[i].weight[i] = 0",
        "net[i].weight[i] ~ normal(0, 1)",
        "net[i].weight as (2, -1)[i] = 0",
        "net[i].weight[*, i] = 0",
    ],
)
def test_an_index_out_of_range_is_an_error_where_a_later_rule_wins_too(rule: str) -> None:
    net = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    with pytest.raises(initdsl.ResolveError, match=r"index 2 is out of range for dimension . of shape \[2, 2\]"):
        initdsl.plan(net, f"{rule}; *.* = 1")
