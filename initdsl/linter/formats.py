"""Findings as text for people and for machines; each format is one function from findings to text."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from initdsl.text.diagnostic import Diagnostic, Fix, printable
from initdsl.text.source import Source, Span

__all__ = ["FORMATS", "written"]


SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def written(findings: Sequence[Diagnostic], form: str, colour: bool = False) -> str:
    """The findings in a format, with the newline at its end; empty where it has nothing to say."""
    return FORMATS[form](findings, colour)


def text(findings: Sequence[Diagnostic], colour: bool) -> str:
    """The source line with its span underlined, and the hint."""
    if not findings:
        return ""
    blocks = [found.render(colour) for found in findings]
    count = len(findings)
    fixable = [found for found in findings if found.fix is not None]
    safe = sum(found.fix is not None and found.fix.safe for found in fixable)
    last = f"{count} finding{'s' * (count != 1)}"
    if safe:
        last += f", {safe} fixed by `--fix`"
    if len(fixable) > safe:
        last += f", {len(fixable) - safe}{' more' * bool(safe)} by `--unsafe-fixes`"
    return "\n\n".join([*blocks, last]) + "\n"


def concise(findings: Sequence[Diagnostic], colour: bool) -> str:
    """`file:line:column: severity[name] message`, a line each."""
    return "".join(
        f"{found.location + ': ' if found.location else ''}{found.severity}[{found.name}] {printable(found.message)}\n"
        for found in findings
    )


def as_json(findings: Sequence[Diagnostic], colour: bool) -> str:
    """A list of objects: name, severity, message, hint, file, start, end, fix."""
    return _dumped([{**found.to_dict(), "fix": _fix(found)} for found in findings])


def github(findings: Sequence[Diagnostic], colour: bool) -> str:
    """Workflow commands, which GitHub shows beside the line."""
    lines = []
    for found in findings:
        kind = {"error": "error", "warning": "warning", "note": "notice"}[found.severity]
        properties = {"title": f"initdsl {found.name}"}
        if found.file is not None:
            properties["file"] = printable(_relative(found.file))
        region = _region(found)
        if region is not None:
            properties |= {
                "line": str(region[0]), "col": str(region[1]), "endLine": str(region[2]), "endColumn": str(region[3]),
            }  # fmt: skip
        shown = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
        lines.append(f"::{kind} {shown}::{_escaped(_sentence(found))}\n")
    return "".join(lines)


def gitlab(findings: Sequence[Diagnostic], colour: bool) -> str:
    """GitLab's code quality report."""
    prints = _fingerprints(findings)
    entries = []
    for found, fingerprint in zip(findings, prints, strict=True):
        line, column, end_line, end_column = _region(found) or (1, 1, 1, 1)
        entries.append(
            {
                "description": _sentence(found),
                "check_name": found.name,
                "fingerprint": fingerprint,
                "severity": {"error": "major", "warning": "minor", "note": "info"}[found.severity],
                "location": {
                    "path": _relative(found.file or ""),
                    "positions": {
                        "begin": {"line": line, "column": column},
                        "end": {"line": end_line, "column": end_column},
                    },
                },
            }
        )
    return _dumped(entries)


def junit(findings: Sequence[Diagnostic], colour: bool) -> str:
    """A JUnit report: a test case a finding, failed."""
    from xml.sax.saxutils import escape, quoteattr

    cases = []
    for found in findings:
        line, column, end_line, end_column = _region(found) or (1, 1, 1, 1)
        file = printable(found.file or "")
        place = f"{file}:{line}:{column} to {end_line}:{end_column}"
        cases.append(
            f'    <testcase name={quoteattr(found.name)} classname={quoteattr(file)} file={quoteattr(file)} line="{line}">\n'
            f"      <failure type={quoteattr(found.name)} message={quoteattr(printable(found.message))}>"
            f"{escape(f'{place}: {_sentence(found)}')}</failure>\n"
            "    </testcase>\n"
        )
    if not cases:
        cases.append('    <testcase name="no findings" classname="initdsl"/>\n')
    count = len(findings)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<testsuites tests="{len(cases)}" failures="{count}">\n'
        f'  <testsuite name="initdsl" tests="{len(cases)}" failures="{count}" errors="0">\n'
        f"{''.join(cases)}"
        "  </testsuite>\n"
        "</testsuites>\n"
    )


def sarif(findings: Sequence[Diagnostic], colour: bool) -> str:
    """SARIF 2.1.0, as code scanning reads it."""
    from importlib import metadata

    from .definition import all_lints

    lints = all_lints()
    names = sorted({found.name for found in findings} | set(lints))
    rules = []
    for name in names:
        entry: dict[str, Any] = {"id": name}
        if name in lints:
            one = lints[name]
            entry |= {
                "shortDescription": {"text": one.summary},
                "fullDescription": {"text": one.sections["Why is this bad"]},
                "help": {"text": one.doc, "markdown": one.doc},
                "defaultConfiguration": {"level": _level(one.severity)},
            }
        rules.append(entry)
    results = [
        _sarif_result(found, names.index(found.name), fingerprint)
        for found, fingerprint in zip(findings, _fingerprints(findings), strict=True)
    ]
    driver = {"name": "initdsl", "version": metadata.version("initdsl"), "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return _dumped({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def _sarif_result(found: Diagnostic, index: int, fingerprint: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": found.name,
        "ruleIndex": index,
        "level": _level(found.severity),
        "message": {"text": _sentence(found)},
        "partialFingerprints": {"initdsl/v1": fingerprint},
    }
    if found.file is not None:
        result["locations"] = [_sarif_location(found.file, found.source, found.span)]
    if found.labels:
        result["relatedLocations"] = [
            {**_sarif_location(label.source.name, label.source, label.span), "message": {"text": label.text}}
            for label in found.labels
        ]
    if found.fix is not None and found.source is not None:
        result["fixes"] = [_sarif_fix(found.source, found.fix)]
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


def _level(severity: str) -> str:
    return severity


def _dumped(value: Any) -> str:
    """JSON that any reader takes: what UTF-8 can't hold is escaped."""
    return json.dumps(value, indent=2) + "\n"


def _fix(found: Diagnostic) -> dict[str, Any] | None:
    if found.fix is None or found.source is None:
        return None
    edits = []
    for edit in found.fix.edits:
        start, end = found.source.position(edit.span.start), found.source.position(edit.span.end)
        edits.append(
            {
                "start": {"line": start.line, "column": start.column, "offset": edit.span.start},
                "end": {"line": end.line, "column": end.column, "offset": edit.span.end},
                "text": edit.text,
            }
        )
    return {"title": found.fix.title, "safe": found.fix.safe, "edits": edits}


def _region(found: Diagnostic) -> tuple[int, int, int, int] | None:
    """Line and column of the start and of the end (exclusive), from 1."""
    if found.source is None or found.span is None:
        return None
    return (*found.source.position(found.span.start), *found.source.position(found.span.end))


def _sentence(found: Diagnostic) -> str:
    hint = "; ".join(printable(line) for line in found.hint.splitlines()) if found.hint else ""
    return printable(found.message) + (f" ({hint})" if hint else "")


def _fingerprints(findings: Sequence[Diagnostic]) -> list[str]:
    """What stays the same while the file around a finding changes; unlike for every one of several alike."""
    import hashlib

    seen: Counter[str] = Counter()
    prints = []
    for found in findings:
        line = found.source.line(found.line).strip() if found.source is not None and found.line else ""
        base = "\0".join([_relative(found.file or ""), found.name, found.message, line])
        seen[base] += 1
        prints.append(hashlib.sha256(f"{base}\0{seen[base]}".encode("utf-8", "surrogatepass")).hexdigest()[:32])
    return prints


def _relative(file: str) -> str:
    """A path below the working directory as relative to it, with `/`."""
    if os.path.isabs(file):
        inside = os.path.relpath(file)
        file = file if inside.startswith("..") else inside
    return file.replace(os.sep, "/")


def _uri(file: str) -> str:
    from urllib.parse import quote

    shown = quote(_relative(file).encode("utf-8", "surrogateescape"))
    return f"file://{shown}" if shown.startswith("/") else shown


def _escaped(value: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        value = value.replace(character, f"%{ord(character):02X}")
    return value


FORMATS: dict[str, Callable[[Sequence[Diagnostic], bool], str]] = {
    "text": text, "concise": concise, "json": as_json, "github": github, "gitlab": gitlab, "junit": junit, "sarif": sarif,
}  # fmt: skip
