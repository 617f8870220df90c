"""`initdsl fmt` as it is called: files, folders, standard input, exit codes, and what it must never do to a file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from initdsl.cli import fmt
from initdsl.text.source import Source
from tests.support.processes import LONGEST

UGLY = "Linear{.weight~normal(0,1);.bias=0} # c\n"
NICE = "Linear {\n  .weight ~ normal(0, 1)\n  .bias   = 0  # c\n}\n"
BROKEN = "Linear.weight ~\nnet.w = = 1\n"


def run(*arguments: str | Path, text: bytes | None = None) -> Result:
    command: click.Command = fmt.command
    return CliRunner().invoke(command, [str(a) for a in arguments], input=text, catch_exceptions=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fmt._project.cache_clear()
    return tmp_path


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def identity(path: Path) -> tuple[int, int, int]:
    """A file that was written anew has another inode or time."""
    known = os.stat(path)
    return known.st_ino, known.st_mtime_ns, known.st_size


def test_a_file_is_written_in_the_layout(folder: Path) -> None:
    file = write(folder / "a.init", UGLY)
    result = run(file)
    assert result.exit_code == 0
    assert file.read_text() == NICE
    assert result.stdout == ""
    assert result.stderr == "1 file reformatted\n"
    assert os.listdir(folder) == ["a.init"]


def test_a_formatted_file_is_not_touched(folder: Path) -> None:
    file = write(folder / "a.init", NICE)
    before = identity(file)
    assert run(file).exit_code == 0
    assert identity(file) == before


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf" + NICE.encode(), NICE.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_crlf_are_differences(folder: Path, text: bytes) -> None:
    file = write(folder / "a.init", text)
    assert run("--check", file).exit_code == 1
    assert run(file).exit_code == 0
    assert file.read_bytes() == NICE.encode()


def test_permissions_and_links_stay(folder: Path) -> None:
    file = write(folder / "real" / "a.init", UGLY)
    file.chmod(0o640)
    link = folder / "link.init"
    link.symlink_to(file)
    assert run(link).exit_code == 0
    assert link.is_symlink()
    assert file.read_text() == NICE
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_read_only_file_is_not_replaced(folder: Path) -> None:
    file = write(folder / "a.init", UGLY)
    file.chmod(0o444)
    result = run(file)
    assert result.exit_code == 2
    assert "it is read-only" in result.stderr
    assert file.read_text() == UGLY


@pytest.mark.parametrize("options", [["--check"], ["--diff"], ["--check", "--diff"]])
def test_check_and_diff_write_nothing(folder: Path, options: list[str]) -> None:
    ugly, nice = write(folder / "a.init", UGLY), write(folder / "b.init", NICE)
    before = identity(ugly)
    result = run(*options, ".")
    assert result.exit_code == 1
    assert identity(ugly) == before
    assert result.stderr == "1 file would be reformatted, 1 file already formatted\n"
    if "--diff" in options:
        assert result.stdout.splitlines()[:5] == [
            "--- a.init",
            "+++ a.init",
            "@@ -1 +1,4 @@",
            f"-{UGLY}".strip(),
            "+Linear {",
        ]
    else:
        assert result.stdout == "would reformat a.init\n"
    assert run(*options, nice).exit_code == 0


def test_a_diff_tells_of_a_missing_last_newline(folder: Path) -> None:
    result = run("--diff", write(folder / "a.init", "a = 1"))
    assert result.stdout.splitlines()[3:] == ["-a = 1", "\\ No newline at end of file", "+a = 1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("syntax", BROKEN.encode()),
        ("not-utf8", b"a = 1 # \xff\n"),
        ("nul", b"a=1\0\n"),
        ("utf16", "a=1\n".encode("utf-16")),
        ("carriage-return", b"a=1\rb=2"),
        ("unclosed", b"a = [1,\n"),
        ("too-deep", b"a = " + b"(" * 5000),
        ("too-large", b"#" * (1 << 20) + b"\n"),
        ("bidirectional", "a=1 # \u202e\n".encode()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [[], ["--check"], ["--diff"]])
def test_what_is_no_rule_file_stays_and_the_others_are_formatted(
    folder: Path, name: str, text: bytes, options: list[str]
) -> None:
    bad, good = write(folder / "bad.init", text), write(folder / "good.init", UGLY)
    before = identity(bad)
    result = run(*options, ".")
    assert result.exit_code == 2
    assert identity(bad) == before
    assert bad.read_bytes() == text
    assert "error[" in result.stderr
    assert "bad.init" in result.stderr or name == "too-large"
    assert (good.read_text() == NICE) is not bool(options)


def test_every_mistake_of_a_file_is_reported(folder: Path) -> None:
    result = run(write(folder / "a.init", BROKEN))
    assert result.stderr.count("error[") == 2
    assert "a.init:1:16" in result.stderr


def test_a_missing_file_is_reported_and_the_others_are_formatted(folder: Path) -> None:
    good = write(folder / "good.init", UGLY)
    result = run("missing.init", good)
    assert result.exit_code == 2
    assert "there is no file `missing.init`" in result.stderr
    assert good.read_text() == NICE


def test_what_another_writes_meanwhile_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(folder / "a.init", UGLY)
    formatted = fmt.format_source

    def while_somebody_saves(source: Source) -> str:
        write(file, UGLY + "net.bias = 2\n")
        return formatted(source)

    monkeypatch.setattr(fmt, "format_source", while_somebody_saves)
    result = run(file)
    assert result.exit_code == 2
    assert "error[unwritable-file]: can't write" in result.stderr
    assert "the file changed meanwhile" in result.stderr
    assert file.read_text() == UGLY + "net.bias = 2\n"
    assert [path.name for path in folder.iterdir()] == ["a.init"]


def test_a_layout_of_another_meaning_is_never_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from initdsl.formatter import layout as formatter

    file = write(folder / "a.init", UGLY)
    monkeypatch.setattr(formatter, "_render", lambda entries: "net.w = 1\n")
    result = run(file)
    assert result.exit_code == 2
    assert "error[formatter-bug]" in result.stderr
    assert file.read_text() == UGLY


def test_folders_are_searched_but_not_hidden_ones(folder: Path) -> None:
    for name in ("a.init", "deep/er/b.init", ".hidden/c.init", "d.txt"):
        write(folder / name, UGLY)
    result = run()
    assert result.stderr == "2 files reformatted\n"
    assert (folder / ".hidden/c.init").read_text() == UGLY
    assert (folder / "d.txt").read_text() == UGLY


def test_a_file_named_twice_is_formatted_once(folder: Path) -> None:
    file = write(folder / "a.init", UGLY)
    assert run(file, ".", file).stderr == "1 file reformatted\n"


def test_no_file_is_fine(folder: Path) -> None:
    result = run()
    assert (result.exit_code, result.stderr) == (0, "no rule files\n")


@pytest.mark.parametrize("options", [[], ["--check"], ["--diff"]])
def test_a_refused_file_is_not_called_none(folder: Path, options: list[str]) -> None:
    result = run(*options, write(folder / "a.init", BROKEN))
    assert result.exit_code == 2
    assert "a.init:1:" in result.stderr
    assert "no rule files" not in result.stderr


@pytest.mark.parametrize("pattern", ["third_party", "third_party/", "third_party/*.init", "*/b.init", "b.init"])
def test_exclude_is_honoured(folder: Path, pattern: str) -> None:
    write(folder / "pyproject.toml", f"[tool.initdsl]\nexclude = [{pattern!r}]\n")
    write(folder / "a.init", UGLY)
    excluded = write(folder / "third_party" / "b.init", UGLY)
    assert run().stderr == "1 file reformatted, 1 file excluded\n"
    assert run(excluded).stderr == "1 file excluded\n"
    assert excluded.read_text() == UGLY


@pytest.mark.parametrize("text", ["[tool.initdsl]\nexclude = 1\n", "not toml", "[tool]\ninitdsl = 1\n", b"\xff"])
def test_a_bad_configuration_is_reported(folder: Path, text: str | bytes) -> None:
    write(folder / "pyproject.toml", text)
    write(folder / "a.init", UGLY)
    write(folder / "b.init", UGLY)
    result = run(".")
    assert result.exit_code == 2
    assert result.stderr.count("error[bad-configuration]") == 1


# ---- standard input


@pytest.mark.parametrize(
    ("options", "text", "code", "out"),
    [
        ([], UGLY.encode(), 0, NICE.encode()),
        ([], b"", 0, b""),
        ([], b"\xef\xbb\xbfa=1", 0, b"a = 1\n"),
        (["--check"], UGLY.encode(), 1, b""),
        (["--check"], NICE.encode(), 0, b""),
        (["--check"], b"\xef\xbb\xbf" + NICE.encode(), 1, b""),
        ([], BROKEN.encode(), 2, b""),
        ([], b"\xff", 2, b""),
        ([], b"#" * (1 << 21), 2, b""),
    ],
)
def test_standard_input(options: list[str], text: bytes, code: int, out: bytes) -> None:
    result = run(*options, "-", text=text)
    assert (result.exit_code, result.stdout_bytes) == (code, out)
    assert ("error[" in result.stderr) is (code == 2)


def test_a_diff_of_standard_input() -> None:
    result = run("--diff", "-", text=b"a=1\n")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["--- <stdin>", "+++ <stdin>", "@@ -1 +1 @@", "-a=1", "+a = 1"]


def test_standard_input_stands_alone(folder: Path) -> None:
    write(folder / "a.init", UGLY)
    assert run("-", "a.init").exit_code == 2


# ---- the process


def test_the_program_loads_no_torch_and_a_name_that_is_no_text_is_shown(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.init")).write_text(BROKEN)
    (folder / os.fsdecode(b"\xfe.init")).write_text(UGLY)
    code = (
        "import sys, initdsl.cli\n"
        "sys.argv = ['initdsl', 'fmt', '--diff', '.']\n"
        "try: initdsl.cli.main()\n"
        "finally: print('torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 2
    assert done.stdout.startswith("--- \\udcfe.init\n")
    assert done.stdout.endswith("False False\n")
    assert "\\udcff.init:1:16" in done.stderr
    assert "Traceback" not in done.stderr
