"""`initdsl convert`: other libraries' initialization settings, as a rule file."""

from __future__ import annotations

import sys

import click

from initdsl.text.files import write_whole

from .console import fail
from .model import reported


@click.command("convert")
@click.argument("settings", type=click.Path())
@click.option(
    "--from",
    "kind",
    type=click.Choice(["mmengine", "allennlp", "regexes"]),
    help="What they are.  [default: what they look like]",
)
@click.option(
    "--last-wins", is_flag=True, help="Of several regular expressions that fit, the last counts, not the first."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to this file instead of standard output.")
def command(settings: str, kind: str | None, last_wins: bool, output: str | None) -> None:
    """Turn the file SETTINGS (JSON, jsonnet without code, YAML or Python literals; `-` is standard input) into rules.

    It holds mmengine's `init_cfg`, AllenNLP's `initializer`, or a list of regular expressions with initializers.
    """
    from initdsl.migrating.converting.convert import convert
    from initdsl.migrating.converting.read import LARGEST
    from initdsl.text.files import read_whole

    if output is not None and not output.endswith(".init"):
        fail(f"`{output}` is not an .init file", "write `-o model.init`")
    try:
        if settings == "-":
            text = sys.stdin.read(LARGEST + 1)
        else:
            text = read_whole(settings, 4 * LARGEST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8"
        fail(f"can't read `{settings}`: {reason.lower()}")
    made = reported(lambda: convert(text, kind, first_wins=not last_wins))
    if output is None:
        click.echo(made, nl=False)
    else:
        reported(lambda: write_whole(output, made.encode()))
