"""The lints: every one by its own documentation, their cases, suppressions, settings, and the stored tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import initdsl
from initdsl.language.syntax.parse import parse_source
from initdsl.linter import all_lints, lint, lint_file, lint_source
from initdsl.linter.against_network import Resolved
from initdsl.linter.config import Config, ConfigError, find_config
from initdsl.linter.definition import SECTIONS
from initdsl.linter.fixing import fixed
from initdsl.linter.targets import covers, targets_of
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Source

ROOT = Path(__file__).parents[2]
CASES = sorted((Path(__file__).parents[1] / "cases" / "lint").glob("*.init"))


def findings(text: str, config: Config | None = None) -> list[Diagnostic]:
    source = Source("rules.init", text)
    rules, problems = parse_source(source)
    return lint_source(source, rules, problems, config)


def names(text: str, config: Config | None = None) -> list[str]:
    return [found.name for found in findings(text, config)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*.* ~ normal(0, 0.02)", 1), ("net.** ~ normal(0, 0.02)", 1), ("/weight/ ~ normal(0, 0.02)", 1),
        (r"/.*\.weight$/ ~ normal(0, 0.02)", 1), ("/./ ~ normal(0, 1)\n*Norm*.weight = 1", 1),
        ("*.* ~ normal(0, 0.02)\n*Norm*.weight = 1", 1), ("*.* ~ normal(0, 0.02)\n*Norm*.weight = 1\n*.bias = 0", 0),
        ("*.* ~ normal(0, 0.02)\n*Norm*.* = 1", 1), ("*.* ~ normal(0, 0.02)\n*.*(ndim<2) = 0", 0),
        ("*Norm*.weight = 1\n*.weight ~ normal(0, 0.02)", 1), (r"/fc\.weight/ ~ normal(0, 0.02)", 0),
        ("*.weight in net.head ~ normal(0, 1)", 0),
    ],
)  # fmt: skip
def test_what_is_a_catch_all(text: str, expected: int) -> None:
    assert names(text).count("catch-all") == expected


# ---- every lint by its documentation


@pytest.mark.parametrize("name", [name for name, one in all_lints().items() if one.needs in ("file", "suppressions")])
def test_the_example_raises_exactly_this_lint(name: str) -> None:
    assert set(names(all_lints()[name].example("Example"))) == {name}


@pytest.mark.parametrize("name", all_lints())
def test_what_to_write_instead_raises_none(name: str) -> None:
    assert names(all_lints()[name].example("Use instead")) == []


@pytest.mark.parametrize("name", all_lints())
def test_the_fix_turns_one_into_the_other(name: str) -> None:
    one = all_lints()[name]
    found = findings(one.example("Example"))
    if not any(f.fix for f in found):
        pytest.skip("no fix")
    done = fixed("rules.init", one.example("Example"), Config(), unsafe=True)
    assert done.text == one.example("Use instead")
    assert done.count == len(found)


@pytest.mark.parametrize("name", all_lints())
def test_the_documentation_has_its_parts(name: str) -> None:
    one = all_lints()[name]
    assert [title for title in one.sections if title in SECTIONS] == list(SECTIONS)
    assert "Source" not in one.sections or re.fullmatch(r"(?s).+\.", one.sections["Source"].strip())
    first = one.doc.splitlines()[0]
    assert first.endswith(".")
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)


def test_there_are_as_many_as_promised() -> None:
    assert len([one for one in all_lints().values() if one.needs == "file"]) >= 18


@pytest.mark.parametrize("name", all_lints())
def test_findings_are_written_as_errors_are(name: str) -> None:
    for found in findings(all_lints()[name].example("Example")):
        assert not found.message.endswith(".")
        assert found.message[0].islower() or not found.message[0].isalpha()
        assert found.span is not None
        assert found.span.start < found.span.end


# ---- cases: `finds: name` stands on the line of every finding


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases(path: Path) -> None:
    expected = set()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        mark = re.search(r"finds: ([\w, -]+)", line)
        expected |= {(number, name.strip()) for name in mark[1].split(",")} if mark else set()
    assert {(found.line, found.name) for found in lint_file(path, config=Config())} == expected


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("Linear.weight", "nn.Linear.weight"), ("Linear+.weight", "Linear.weight"), ("*.weight", "Linear.weight"),
        ("*.*", "Linear.weight"), ("net.**.weight", "Linear.weight"), ("net.**", "net.a.*"), ("*.weight", "net.a.b.weight"),
        ("net.a.**.w", "net.a.w"), ("net.a[*].w", "net.a[3].w"), ("net.a[i].w", "net.a[2:3].w"), ("*Norm*.w", "LayerNorm.w"),
        ("Linear.w", "Linear(bias).w"), ("Linear.w", "Linear.w in net.a"), ("net.a.q_*.w", "net.a.q_proj.w"),
        ("Linear.w in net.a", "Linear(bias).w in net.a"), ("net.a[*].b[*].w", "net.a[i].b[i].w"),
    ],
)  # fmt: skip
def test_covers_one_way(wide: str, narrow: str) -> None:
    a, b = _target(wide), _target(narrow)
    assert covers(a, b)
    assert not covers(b, a)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Linear.weight", "Conv2d.weight"), ("Linear.weight", "net.a.weight"), ("net.*.w", "net.a.b.w"),
        ("net.a.*", "net.a.running_mean"), ("*Norm.w", "Norm+.w"), ("Linear(bias).w", "Linear(!bias).w"),
        ("Linear.w in net.a", "Linear.w in net.b"), ("Linear.w not in net.a", "Linear.w in net.a"),
        ("/weight/", "net.a.weight"), ("*.weight", "FrozenBatchNorm2d.*"),
        ("*.weight(ndim>=2)", "Linear.weight"), ("net.a[0:2].w", "net.a[1].w"),
    ],
)  # fmt: skip
def test_covers_neither_way(one: str, other: str) -> None:
    a, b = _target(one), _target(other)
    assert not covers(a, b)
    assert not covers(b, a)


def _target(selector: str):  # type: ignore[no-untyped-def]
    rules, problems = parse_source(Source("s", f"keep {selector}"))
    assert not problems
    (target,) = targets_of(rules[0].targets) or ()
    return target


@pytest.mark.parametrize(
    ("selector", "hint", "fix"),
    [
        ("layers.0.mlp.up.weight", "did you mean `net.layers[0].mlp.up.weight`?", "net.layers[0].mlp.up.weight"),
        ("layers[i].norm.bias", "did you mean `net.layers[i].norm.bias`?", "net.layers[i].norm.bias"),
        ("layers.0.attn.Wqkv.weight", "did you mean `net.layers[0].attn.Wqkv.weight`?", "net.layers[0].attn.Wqkv.weight"),
        ("self.head.weight", "did you mean `net.head.weight`?", "net.head.weight"),
        ("head.weight", "did you mean `net.head.weight`, or `*.head.weight`?", None),
        ("lora_A.weight", "did you mean `net.lora_A.weight`, or `*.lora_A.weight`?", None),
        ("weight", "did you mean `*.weight`?", None), ("linear.weight", "did you mean `Linear`?", "Linear.weight"),
    ],
)  # fmt: skip
def test_a_path_without_net(selector: str, hint: str, fix: str | None) -> None:
    (finding,) = findings(f"{selector} = 0")
    assert (finding.name, finding.hint) == ("missing-net", hint)
    assert fixed("a.init", f"{selector} = 0", Config(), True).text == f"{fix or selector} = 0"


@pytest.mark.parametrize(
    "text",
    ["nn.Linear.weight = 0", "torch.nn.Linear.weight = 0", "_Hidden.gate = 0", "linear+.weight = 0", "linear(bias).weight = 0",
     "timm.layers.*.weight = 0", "*.head.weight = 0", "net.head { .weight = 0; Linear.bias in net.a = 1 }", "/head/ = 0",
     "Linear.weight = len(net.layers)"],
)  # fmt: skip
def test_what_may_be_a_class_is_no_path_without_net(text: str) -> None:
    assert "missing-net" not in names(text)


# ---- fixes

STATEMENTS = [
    "Linear.weight ~ normal(0, 0.02)", "Linear.bias = 0", "Linear.bias ~ zeros()", "net.a.weight = 1", "net.a.weight *= 1",
    "Linear.weight in net.a ~ normal(0, 1)", "let std = 0.1", "net.a { .bias = 0; .bias = 0 }", "keep net.b.weight",
    "*.bias = 0", "net.b.weight ~ normal(0, True)", "net.b.weight = 2  # a comment", "default Linear", "Linear.bias = ones()",
    "net.c { }",
]  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(STATEMENTS), max_size=8), st.sampled_from(["\n", "; ", "\r\n", "\n\n"]), st.booleans())
def test_fixed_text_parses_and_stays_fixed(statements: list[str], between: str, unsafe: bool) -> None:
    if ";" in between:
        statements = [s.partition("  #")[0] for s in statements]
    text = between.join(statements)
    done = fixed("rules.init", text, Config(), unsafe)
    assert parse_source(Source("rules.init", done.text))[1] == []
    again = fixed("rules.init", done.text, Config(), unsafe)
    assert (again.text, again.count) == (done.text, 0)
    assert done.findings == findings(done.text)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(STATEMENTS[:10] + STATEMENTS[11:13]), min_size=1, max_size=8))
def test_safe_fixes_leave_the_plan_as_it_was(statements: list[str]) -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)

    text = "\n".join(s for s in statements if "True" not in s)
    after = fixed("rules.init", text, Config()).text
    values = []
    for rules in (text, after):
        torch.manual_seed(0)
        net = Net()
        initdsl.apply(net, rules)
        values.append(net.state_dict())
    assert all(torch.equal(values[0][key], values[1][key]) for key in values[0])


@pytest.mark.parametrize(
    ("between", "fixes"),
    [("W *= sum(it)", 0), ("W[1] = sum(weight)", 0), ("W[1] = sum(net.a.weight)", 0), ("W *= 2", 1), ("W[1] = 3", 1), ("", 1)],
)  # fmt: skip
def test_a_piece_that_is_read_before_it_is_set_again_stays(between: str, fixes: int) -> None:
    text = f"W = 1\nW[0] = 5\n{between}\nW[0] = 5\n".replace("W", "net.a.weight")
    assert fixed("rules.init", text, Config()).count == fixes


def test_a_text_that_does_not_parse_is_not_touched() -> None:
    text = "Linear.bias ~ zeros()\nLinear.weight ~\n"
    assert fixed("rules.init", text, Config(), unsafe=True).text == text


def test_removal_keeps_line_ends() -> None:
    text = "Linear.bias = 0\r\nConv2d.bias = 0\r\nLinear.bias = 0"
    assert fixed("rules.init", text, Config()).text == "Conv2d.bias = 0\r\nLinear.bias = 0"


# ---- suppressions

FOUND = "Linear.bias ~ zeros()"


def test_a_suppression_silences_its_line_alone() -> None:
    assert names(f"{FOUND}  # initdsl: ignore[drawn-constant] for show\nConv2d.bias ~ zeros()") == ["drawn-constant"]


def test_a_suppression_of_the_file() -> None:
    assert names(f"# initdsl: ignore-file[drawn-constant, zero-std]\n{FOUND}\nConv2d.bias ~ zeros()") == [
        "unused-suppression"
    ]


def test_a_suppression_reaches_a_statement_over_several_lines() -> None:
    assert names("Linear.weight ~ normal(\n  0, 0\n)  # initdsl: ignore[zero-std] for show") == []


def test_no_suppression_of_everything() -> None:
    assert sorted(names(f"{FOUND}  # initdsl: ignore")) == ["drawn-constant", "unknown-lint"]
    assert sorted(names(f"{FOUND}  # initdsl: ignore[]")) == ["drawn-constant", "unknown-lint"]
    assert sorted(names(f"{FOUND}  # initdsl: skip[drawn-constant]")) == ["drawn-constant", "unknown-lint"]


def test_an_unused_suppression_is_found_where_the_lint_ran() -> None:
    text = "Linear.bias = 0  # initdsl: ignore[drawn-constant]"
    assert names(text) == ["unused-suppression"]
    assert names(text, Config(ignore=("drawn-constant",))) == []
    assert names(text, Config(select=("zero-std", "unused-suppression"))) == []


def test_a_suppression_in_a_string_is_none() -> None:
    assert names('net.a = load("# initdsl: ignore[zero-std]")') == []


def test_suppressions_of_network_findings_are_known() -> None:
    assert names("Linear.bias = 0  # initdsl: ignore[unmatched-selector] heads come and go") == []


# ---- against a network, and with used files


def test_a_resolver_adds_its_findings() -> None:
    source = Source("rules.init", "Linear.bias = 0\nConv2d.bias = 0  # initdsl: ignore[unmatched-selector] maybe")
    rules, problems = parse_source(source)
    missing = [Diagnostic("unmatched-selector", "nothing", source, rule.targets.span) for rule in rules]  # type: ignore[union-attr]
    found = lint_source(source, rules, problems, network=lambda rules, names=(): Resolved(None, tuple(missing)))
    assert [(f.name, f.line) for f in found] == [("unmatched-selector", 1)]


def test_lint_against_a_module(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.init"
    path.write_text(
        "Linear.weight ~ kaimin()\nnet[0].bias = 0\nnet[7].bias = 0\nlinear.bias = 0\nLinear.bias ~ zeros()\n"
    )
    net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    alone = [(f.name, f.line) for f in initdsl.lint(path)]
    assert alone == [("unknown-initializer", 1), ("missing-net", 4), ("drawn-constant", 5)]
    found = [(f.name, f.line) for f in initdsl.lint(path, net=net)]
    assert found.count(("unknown-initializer", 1)) == 1
    assert ("unmatched-selector", 3) in found
    assert set(alone) - set(found) == {("missing-net", 4)}  # the network tells that there is no such class
    assert ("unmatched-selector", 4) in found


def test_a_used_file_counts_but_is_not_reported(tmp_path: Path) -> None:
    (tmp_path / "base.init").write_text("let std = 0.5\nLinear.weight ~ normal(0, std)\nLinear.bias ~ zeros()\n")
    (tmp_path / "a.init").write_text('let std = 0.1\nuse "base.init"\nLinear.weight ~ normal(0, 1)\n')
    (tmp_path / "b.init").write_text('Linear.weight ~ normal(0, 1)\nuse "base.init"\n')
    assert [f.name for f in lint_file(tmp_path / "a.init")] == []
    assert [f.name for f in lint_file(tmp_path / "b.init")] == ["shadowed-rule"]
    assert [Path(f.file or "").name for f in lint(tmp_path)] == ["b.init", "base.init"]


def test_a_let_above_a_use_holds_against_the_used_file(tmp_path: Path) -> None:
    (tmp_path / "base.init").write_text("let std = 0\nlet other = 0\n")
    (tmp_path / "a.init").write_text(
        'let std = 0.1\nuse "base.init"\nLinear.weight ~ normal(0, std)\nConv2d.weight ~ normal(0, other)\n'
    )
    assert [(f.name, f.line) for f in lint_file(tmp_path / "a.init")] == [("zero-std", 4)]


def test_a_syntax_error_is_a_finding_beside_the_others() -> None:
    assert names("Linear.bias ~ zeros()\nLinear.weight ~\n") == ["drawn-constant", "unexpected-token"]


@pytest.mark.parametrize(
    "text", ["", "\n", "#", "{", "}" * 100, "(" * 1000, "\0", "let a = a", "a" * 10_000, "x ~ " + "-" * 90 + "1"]
)
def test_no_text_breaks_the_linter(text: str) -> None:
    findings(text)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(re.findall(r"\S+|\s", "".join(c.read_text("utf-8") for c in CASES))), max_size=30))
def test_no_shuffled_text_breaks_the_linter(words: list[str]) -> None:
    for found in findings("".join(words)):
        found.render()


def test_chains_of_let_end() -> None:
    text = "let a0 = 1\n" + "".join(f"let a{i + 1} = a{i}\n" for i in range(300)) + "Linear.weight ~ normal(0, a300)"
    assert names(text) == []


# ---- settings


def config(tmp_path: Path, text: str) -> Config:
    (tmp_path / "pyproject.toml").write_text(f"[tool.initdsl]\n{text}\n")
    return find_config(tmp_path)


def test_settings_choose_lints(tmp_path: Path) -> None:
    found = config(tmp_path, 'ignore = ["zero-std"]\n[tool.initdsl.per-file-ignores]\n"old/*" = ["drawn-constant"]')
    (tmp_path / "old").mkdir()
    for place in ("a.init", "old/b.init"):
        (tmp_path / place).write_text("Linear.bias ~ zeros()\nLinear.weight ~ normal(0, 0)\n")
    assert found.ignored_in(tmp_path / "old/b.init") == {"drawn-constant"}
    assert [(Path(f.file or "").name, f.name) for f in lint(tmp_path)] == [("a.init", "drawn-constant")]


def test_settings_name_further_initializers(tmp_path: Path) -> None:
    config(tmp_path, 'initializers = ["far"]')
    (tmp_path / "a.init").write_text("Linear.weight ~ far()\nLinear.bias ~ nearly()\n")
    assert [(f.name, f.line) for f in lint(tmp_path)] == [("unknown-initializer", 2)]


def test_settings_exclude_files(tmp_path: Path) -> None:
    config(tmp_path, 'exclude = ["build", "gen_*.init"]')
    (tmp_path / "build").mkdir()
    for place in ("build/a.init", "gen_b.init", "c.init"):
        (tmp_path / place).write_text(FOUND)
    assert [Path(f.file or "").name for f in lint(tmp_path)] == ["c.init"]


def test_settings_name_a_manifest_for_some_files(tmp_path: Path) -> None:
    found = config(tmp_path, '[tool.initdsl.manifest]\n"*.init" = "all.json"\n"gpt/*.init" = "gpt.json"')
    assert found.manifest_of(tmp_path / "a.init") == str(tmp_path / "all.json")
    assert found.manifest_of(tmp_path / "gpt" / "a.init") == str(tmp_path / "gpt.json")
    assert config(tmp_path, 'root = "x"').manifest_of("a.init") is None
    assert config(tmp_path, 'manifest = "m.json"').manifest_of("a.init") == str(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("manifest = 1", "`manifest` is the path of a model description", None),
        ("manifest = {a = 1}", "`manifest` is the path of a model description", None),
        ('selct = ["a"]', "`tool.initdsl` has no setting `selct`", "did you mean `select`?"),
        ('per_file_ignores = ["a"]', "has no setting `per_file_ignores`", "did you mean `per-file-ignores`?"),
        ("ignore = 1", "`ignore` is a list of strings", 'as in `ignore = ["..."]`'),
        ('root = ["a"]', "`root` is a string", 'as in `root = "..."`'),
        ('per-file-ignores = {a = "b"}', "maps globs to lists of lints", None),
    ],
)
def test_wrong_settings_are_refused_with_the_nearest(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert hint is None or found.hint == hint
    assert found.line == 2
