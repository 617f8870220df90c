"""The findings of a file fixed, as far as they can be."""

from __future__ import annotations

import os
from dataclasses import dataclass

from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.files import read_whole, write_whole
from initdsl.text.places import leads_out
from initdsl.text.source import Source, decode

from .against_network import Resolve
from .config import Config
from .fixes import applied
from .run import lint_file

__all__ = ["Fixed", "fix_file", "fixed"]


BOM = b"\xef\xbb\xbf"


# a fix may bring up the next one; this many rounds settle everything but a circle
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Fixed:
    """A text after its fixes: how many were made, and the findings that remain."""

    text: str
    count: int
    findings: list[Diagnostic]


def fixed(
    path: str | os.PathLike[str], text: str, config: Config, unsafe: bool = False, network: Resolve | None = None
) -> Fixed:
    """Return a text with its findings fixed as far as they can be; one that does not parse is left as it is.

    Only safe fixes, which leave the plan as it was, unless `unsafe`. The result parses: a round of fixes that would
    break the text is not made.
    """
    name = os.fspath(path)
    findings = lint_file(name, text, config, network)
    count = 0
    for _ in range(ROUNDS):
        source = Source(name, text)
        fixes = [f.fix for f in findings if f.fix is not None and (f.fix.safe or unsafe) and f.source == source]
        changed, taken = applied(text, fixes)
        if changed == text or not _parses(Source(name, changed)):
            break
        text, count = changed, count + len(taken)
        findings = lint_file(name, text, config, network)
    return Fixed(text, count, findings)


def fix_file(path: str, config: Config, unsafe: bool = False, network: Resolve | None = None) -> Fixed:
    """Fix a file in place, as `fixed` does, and return what that has done; what can't be read is not touched.

    Where the fixed text can't be written, the findings begin with one that says why.
    """
    try:
        data = read_whole(path, DEFAULT_LIMITS.file_bytes)
    except (OSError, ValueError):
        data = b""
    source = decode(path, data)
    if isinstance(source, tuple) or not data:
        return Fixed("", 0, lint_file(path, config=config, network=network))
    result = fixed(path, source.text, config, unsafe, network)
    if result.count and leads_out(path):
        message = f"can't write `{path}`: it is a link to `{os.path.realpath(path)}`, out of this folder"
        problem = Diagnostic("unreadable-file", message, hint="name the file that it leads to")
        return Fixed(source.text, 0, [problem, *lint_file(path, config=config, network=network)])
    if result.count:
        mark = BOM if data.startswith(BOM) else b""
        try:
            write_whole(path, mark + result.text.encode("utf-8"), was=data)
        except OSError as error:
            problem = Diagnostic("unreadable-file", str(error))
            return Fixed(source.text, 0, [problem, *lint_file(path, config=config, network=network)])
    return result


def _parses(source: Source) -> bool:
    return not parse_source(source)[1]
