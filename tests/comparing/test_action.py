"""The action for pull requests and the job for merge requests: their steps, run in a shell in a repository of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.code import ROOT
from tests.support.command import run

yaml = pytest.importorskip("yaml")

NET = "from torch import nn\ndef small():\n    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))\n"
RULES = "Linear.weight ~ normal(0, 0.02)\nLinear.bias   = 0\n"

GH = """#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
calls = pathlib.Path(os.environ["CALLS"])
calls.write_text(calls.read_text() + json.dumps(words) + "\\n")
if "--paginate" in words:
    print(os.environ.get("IDS", ""))
sys.exit(int(os.environ.get("GH_CODE", "0")))
"""


def git(*words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def steps() -> dict[str, str]:
    action = yaml.safe_load((ROOT / "editors/ci/action.yml").read_text("utf-8"))
    return {step["name"]: step["run"] for step in action["runs"]["steps"]}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A branch that changes nothing yet, whose origin is on disk; `initdsl`, `pip` and `gh` are on the path."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("net.init").write_text(RULES)
    Path("pyproject.toml").write_text('[tool.initdsl]\nmanifest = "net.json"\n')
    assert run("manifest --model net.py:small -o net.json").exit_code == 0
    assert run("lock -q").exit_code == 0
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", str(tmp_path))
    tools = tmp_path / ".git" / "tools"
    tools.mkdir()
    for name, text in (
        ("initdsl", f'#!/bin/sh\nexec {sys.executable} -P -m initdsl "$@"\n'),
        ("pip", '#!/bin/sh\necho "$@" > .git/installed\n'),
        ("gh", GH.format(python=sys.executable)),
    ):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / ".git/calls").write_text("")
    return tmp_path


def shell(text: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inside = folder / ".git"
    environment = {
        **os.environ, "PATH": f"{inside / 'tools'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "RUNNER_TEMP": str(inside),
        "GITHUB_STEP_SUMMARY": str(inside / "summary"), "GITHUB_OUTPUT": str(inside / "output"), "CALLS": str(inside / "calls"),
        "GIT_ALLOW_PROTOCOL": "file", **variables,
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", text], env=environment, capture_output=True, text=True, check=False
    )


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / ".git/calls").read_text().splitlines()]


def test_the_steps_of_a_change(steps: dict[str, str], folder: Path) -> None:
    assert shell(steps["Install"], folder, INSTALL="initdsl").returncode == 0
    assert (folder / ".git/installed").read_text().split() == ["install", "--disable-pip-version-check", "initdsl"]
    for name in ("Findings beside their lines", "Layout", "Locks"):
        done = shell(steps[name], folder)
        assert done.returncode == 0, done.stdout + done.stderr
    done = shell(steps["What the change does"], folder, BASE="main")
    assert done.returncode == 0, done.stderr
    assert (folder / ".git/output").read_text() == "changed=false\n"
    (folder / "net.init").write_text(RULES.replace("0.02", "0.2"))
    assert shell(steps["Locks"], folder).returncode == 1
    done = shell(steps["What the change does"], folder, BASE="main")
    assert done.returncode == 0, done.stderr
    assert (folder / ".git/output").read_text().endswith("changed=true\n")
    assert "x10" in (folder / ".git/summary").read_text()
    comment = (folder / ".git/initdsl-comment.md").read_text()
    assert comment.startswith("<!-- initdsl -->\n**Initialization:** 1 of 1 rule file")
    about = {"CHANGED": "true", "NUMBER": "7", "REPOSITORY": "a/b", "GH_TOKEN": "t"}
    assert shell(steps["One comment"], folder, **about).returncode == 0
    assert calls(folder)[-1][1:4] == ["--method", "POST", "repos/a/b/issues/7/comments"]
    assert shell(steps["One comment"], folder, **about, IDS="12\n13").returncode == 0
    assert calls(folder)[-1][1:4] == ["--method", "PATCH", "repos/a/b/issues/comments/12"]


def test_what_a_comment_is_not_written_for(steps: dict[str, str], folder: Path) -> None:
    about = {"CHANGED": "false", "NUMBER": "7", "REPOSITORY": "a/b", "GH_TOKEN": "t"}
    assert shell(steps["One comment"], folder, **about).returncode == 0
    assert len(calls(folder)) == 1  # no change, and no comment to be updated
    done = shell(steps["One comment"], folder, **about, GH_CODE="1")
    assert (done.returncode, "::notice::" in done.stdout) == (0, True)


def test_steps_that_fail(steps: dict[str, str], folder: Path) -> None:
    (folder / "net.init").write_text("Linear.weight ~ normal(0 0.02)\n")
    assert shell(steps["Findings beside their lines"], folder).returncode == 1
    assert shell(steps["What the change does"], folder, BASE="main").returncode == 2
    assert shell(steps["What the change does"], folder, BASE="--upload-pack=x").returncode != 0
    (folder / "net.init").write_text("Linear.weight~normal(0,0.02)\n")
    assert shell(steps["Layout"], folder).returncode == 1
    git("rm", "-q", "--cached", "net.init.lock")
    assert shell(steps["Locks"], folder).stdout == "no locks here\n"


def test_scripts_read_inputs_from_the_environment_alone(steps: dict[str, str]) -> None:
    """What a pull request may choose, as the name of a branch, is never part of a script."""
    assert not any("${{" in script for script in steps.values())


def test_the_job_of_a_merge_request(folder: Path) -> None:
    job: dict[str, Any] = yaml.safe_load((ROOT / "editors/ci/gitlab.yml").read_text("utf-8"))["initdsl"]
    script = "\n".join(job["script"])
    base = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    done = shell(script, folder, CI_MERGE_REQUEST_DIFF_BASE_SHA=base)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "gl-code-quality-report.json").read_text()) == []
    (folder / "net.init").write_text(RULES.replace("0.02", "0.2"))
    done = shell(script, folder, CI_MERGE_REQUEST_DIFF_BASE_SHA=base)
    assert done.returncode == 1  # the lock
    assert "x10" in done.stdout


class Notes(BaseHTTPRequestHandler):
    """The notes of a merge request, as GitLab serves them."""

    notes: ClassVar[list[dict[str, Any]]] = []
    methods: ClassVar[list[str]] = []

    def _answer(self) -> None:
        type(self).methods.append(f"{self.command} {self.path}")
        length = int(self.headers.get("Content-Length") or 0)
        if length:
            type(self).notes = [{"id": 5, **json.loads(self.rfile.read(length))}]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.notes).encode())

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *words: Any) -> None:
        pass


def test_a_note_is_updated_and_not_repeated(folder: Path) -> None:
    script = "\n".join(yaml.safe_load((ROOT / "editors/ci/gitlab.yml").read_text("utf-8"))["initdsl"]["script"])
    (folder / "net.init").write_text(RULES.replace("0.02", "0.2"))
    server = HTTPServer(("127.0.0.1", 0), Notes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    about = {
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}", "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_IID": "2",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": "main", "INITDSL_TOKEN": "t",
    }  # fmt: skip
    for _ in range(2):
        done = shell(script, folder, **about)
        assert "Traceback" not in done.stderr, done.stderr
    server.shutdown()
    server.server_close()
    assert [method.split()[0] for method in Notes.methods] == ["GET", "POST", "GET", "PUT"]
    assert Notes.methods[-1] == "PUT /projects/1/merge_requests/2/notes/5"
    assert "x10" in Notes.notes[0]["body"]
