"""Findings as text for people and for machines: each format is a function from findings, and whether to colour, to text."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from initdsl.text.diagnostic import Diagnostic, Fix, printable
from initdsl.text.source import Source, Span

from .definition import all_lints

__all__ = ["FORMATS", "format_findings", "line_text"]


SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


# what other tools call our severities
GITHUB = {"error": "error", "warning": "warning", "note": "notice"}


GITLAB = {"error": "major", "warning": "minor", "note": "info"}


def format_findings(findings: Sequence[Diagnostic], output_format: str, colour: bool = False) -> str:
    """Return the findings in one of `FORMATS`, with the newline at its end; empty where it has nothing to say."""
    return FORMATS[output_format](findings, colour)


def text(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Return each finding with its source line, the span underlined, and the hint; and how many can be fixed."""
    if not findings:
        return ""
    fixes = [finding.fix for finding in findings if finding.fix is not None]
    safe = sum(fix.safe for fix in fixes)
    last = f"{len(findings)} finding{'s' * (len(findings) != 1)}"
    if safe:
        last += f", {safe} fixed by `--fix`"
    if len(fixes) > safe:
        last += f", {len(fixes) - safe}{' more' * bool(safe)} by `--unsafe-fixes`"
    return "\n\n".join([*(finding.render(colour) for finding in findings), last]) + "\n"


def concise(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Return `file:line:column: severity[name] message`, a line each."""
    return "".join(
        f"{f.location + ': ' if f.location else ''}{f.severity}[{f.name}] {printable(f.message)}\n" for f in findings
    )


def as_json(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Return a list of objects: name, severity, message, hint, file, start, end, fix."""
    return _dumped([{**finding.to_dict(), "fix": _fix(finding)} for finding in findings])


def github(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Return workflow commands, which GitHub shows beside the line."""
    lines = []
    for finding in findings:
        properties = {"title": f"initdsl {finding.name}"}
        if finding.file is not None:
            properties["file"] = printable(_relative(finding.file))
        region = _region(finding)
        if region is not None:
            properties |= dict(zip(("line", "col", "endLine", "endColumn"), map(str, region), strict=True))
        pairs = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
        lines.append(f"::{GITHUB[finding.severity]} {pairs}::{_escaped(_sentence(finding))}\n")
    return "".join(lines)


def gitlab(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Return GitLab's code quality report."""
    entries = []
    for finding, fingerprint in zip(findings, _fingerprints(findings), strict=True):
        line, column, end_line, end_column = _region(finding) or (1, 1, 1, 1)
        entries.append(
            {
                "description": _sentence(finding),
                "check_name": finding.name,
                "fingerprint": fingerprint,
                "severity": GITLAB[finding.severity],
                "location": {
                    "path": _relative(finding.file or ""),
                    "positions": {
                        "begin": {"line": line, "column": column},
                        "end": {"line": end_line, "column": end_column},
                    },
                },
            }
        )
    return _dumped(entries)


def junit(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Return a JUnit report: a test case a finding, failed; notes are none."""
    from xml.sax.saxutils import escape, quoteattr

    findings = [finding for finding in findings if finding.severity != "note"]
    cases = []
    for finding in findings:
        line, column, end_line, end_column = _region(finding) or (1, 1, 1, 1)
        file, name = printable(finding.file or ""), quoteattr(finding.name)
        place = f"{file}:{line}:{column} to {end_line}:{end_column}"
        cases.append(
            f'    <testcase name={name} classname={quoteattr(file)} file={quoteattr(file)} line="{line}">\n'
            f"      <failure type={name} message={quoteattr(printable(finding.message))}>"
            f"{escape(f'{place}: {_sentence(finding)}')}</failure>\n"
            "    </testcase>\n"
        )
    if not cases:
        cases.append('    <testcase name="no findings" classname="initdsl"/>\n')
    counts = f'tests="{len(cases)}" failures="{len(findings)}"'
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f"<testsuites {counts}>\n"
        f'  <testsuite name="initdsl" {counts} errors="0">\n'
        f"{''.join(cases)}"
        "  </testsuite>\n"
        "</testsuites>\n"
    )


def sarif(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Return SARIF 2.1.0, as code scanning reads it."""
    from importlib import metadata

    names = sorted({finding.name for finding in findings} | set(all_lints()))
    results = [
        _sarif_result(finding, names.index(finding.name), fingerprint)
        for finding, fingerprint in zip(findings, _fingerprints(findings), strict=True)
    ]
    rules = [_sarif_rule(name) for name in names]
    driver = {"name": "initdsl", "version": metadata.version("initdsl"), "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return _dumped({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def _sarif_rule(name: str) -> dict[str, Any]:
    lint = all_lints().get(name)
    if lint is None:  # a finding of the parser
        return {"id": name}
    return {
        "id": name,
        "shortDescription": {"text": lint.summary},
        "fullDescription": {"text": lint.sections["Why is this bad"]},
        "help": {"text": lint.doc, "markdown": lint.doc},
        "defaultConfiguration": {"level": lint.severity},
    }


def _sarif_result(finding: Diagnostic, rule: int, fingerprint: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.name,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": _sentence(finding)},
        "partialFingerprints": {"initdsl/v1": fingerprint},
    }
    if finding.file is not None:
        result["locations"] = [_sarif_location(finding.file, finding.source, finding.span)]
    if finding.labels:
        result["relatedLocations"] = [
            {**_sarif_location(label.source.name, label.source, label.span), "message": {"text": label.text}}
            for label in finding.labels
        ]
    if finding.fix is not None and finding.source is not None:
        result["fixes"] = [_sarif_fix(finding.source, finding.fix)]
    return result


def _sarif_location(file: str, source: Source | None, span: Span | None) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(file)}}
    if source is not None and span is not None:
        physical["region"] = _sarif_region(source, span)
    return {"physicalLocation": physical}


def _sarif_region(source: Source, span: Span) -> dict[str, int]:
    start, end = source.position(span.start), source.position(span.end)
    return {"startLine": start.line, "startColumn": start.column, "endLine": end.line, "endColumn": end.column}


def _sarif_fix(source: Source, fix: Fix) -> dict[str, Any]:
    replacements = [
        {"deletedRegion": _sarif_region(source, edit.span), "insertedContent": {"text": edit.text}}
        for edit in fix.edits
    ]
    change = {"artifactLocation": {"uri": _uri(source.name)}, "replacements": replacements}
    return {"description": {"text": fix.title}, "artifactChanges": [change]}


# ---- parts of several formats


def _dumped(value: Any) -> str:
    """Return JSON that any reader takes: what UTF-8 can't hold is escaped."""
    return json.dumps(value, indent=2) + "\n"


def _fix(finding: Diagnostic) -> dict[str, Any] | None:
    source, fix = finding.source, finding.fix
    if fix is None or source is None:
        return None
    edits = [
        {"start": _position(source, edit.span.start), "end": _position(source, edit.span.end), "text": edit.text}
        for edit in fix.edits
    ]
    return {"title": fix.title, "safe": fix.safe, "edits": edits}


def _position(source: Source, offset: int) -> dict[str, int]:
    position = source.position(offset)
    return {"line": position.line, "column": position.column, "offset": offset}


def _region(finding: Diagnostic) -> tuple[int, int, int, int] | None:
    """Return line and column of the start and of the end (exclusive), from 1."""
    if finding.source is None or finding.span is None:
        return None
    return (*finding.source.position(finding.span.start), *finding.source.position(finding.span.end))


def _sentence(finding: Diagnostic) -> str:
    hint = "; ".join(printable(line) for line in finding.hint.splitlines()) if finding.hint else ""
    return printable(finding.message) + (f" ({hint})" if hint else "")


def line_text(finding: Diagnostic) -> str:
    """Return the line a finding begins on, without what indents it; empty where there is none."""
    return finding.source.line(finding.line).strip() if finding.source is not None and finding.line else ""


def _fingerprints(findings: Sequence[Diagnostic]) -> list[str]:
    """Return what stays the same while the file around a finding changes; unlike for every one of several alike."""
    seen: Counter[str] = Counter()
    fingerprints = []
    for finding in findings:
        text = "\0".join([_relative(finding.file or ""), finding.name, finding.message, line_text(finding)])
        seen[text] += 1
        digest = hashlib.sha256(f"{text}\0{seen[text]}".encode("utf-8", "surrogatepass")).hexdigest()
        fingerprints.append(digest[:32])
    return fingerprints


def _relative(file: str) -> str:
    """Return a path below the working directory as relative to it, with `/`."""
    if os.path.isabs(file):
        inside = os.path.relpath(file)
        file = file if inside.startswith("..") else inside
    return file.replace(os.sep, "/")


def _uri(file: str) -> str:
    from urllib.parse import quote

    path = quote(_relative(file).encode("utf-8", "surrogateescape"))
    return f"file://{path}" if path.startswith("/") else path


def _escaped(value: str, further: str = "") -> str:
    """Return a text with what ends a workflow command, and `further` characters, as `%` and their code."""
    for character in "%\r\n" + further:
        value = value.replace(character, f"%{ord(character):02X}")
    return value


FORMATS: dict[str, Callable[[Sequence[Diagnostic], bool], str]] = {
    "text": text,
    "concise": concise,
    "json": as_json,
    "github": github,
    "gitlab": gitlab,
    "junit": junit,
    "sarif": sarif,
}
