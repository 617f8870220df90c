"""The command line, called in this process."""

from __future__ import annotations

import shlex

from click.testing import CliRunner, Result

from initdsl.cli.program import group

__all__ = ["run"]


def run(words: str) -> Result:
    """Run `initdsl WORDS`; an error that would end Python with a traceback is raised."""
    result = CliRunner().invoke(group, shlex.split(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
