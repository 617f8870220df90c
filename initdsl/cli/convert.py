"""`initdsl convert`: other libraries' initialization settings, as a rule file."""

from __future__ import annotations

import sys

import click

from initdsl.migrating.converting.convert import convert
from initdsl.migrating.converting.read import LARGEST
from initdsl.text.failures import reason
from initdsl.text.files import read_whole

from .console import fail, refuse_unless_rule_file, reported, write_or_print
from .options import output_option


@click.command("convert")
@click.argument("settings", type=click.Path())
@click.option(
    "--from",
    "library",
    type=click.Choice(["mmengine", "allennlp", "regexes"]),
    help="The kind of settings.  [default: by their form]",
)
@click.option(
    "--last-wins", is_flag=True, help="If several regular expressions fit, the last one counts, not the first."
)
@output_option()
def command(settings: str, library: str | None, last_wins: bool, output: str | None) -> None:
    """Turn the file SETTINGS (JSON, jsonnet without code, YAML or Python literals; `-` is standard input) into rules.

    It holds mmengine's `init_cfg`, AllenNLP's `initializer`, or a list of regular expressions with initializers.
    """
    refuse_unless_rule_file(output)
    text = _read(settings)
    write_or_print(reported(lambda: convert(text, library, first_wins=not last_wins)), output)


def _read(path: str) -> str:
    if path == "-":
        return sys.stdin.read(LARGEST + 1)
    try:
        return read_whole(path, 4 * LARGEST).decode("utf-8-sig")
    except OSError as error:
        fail(f"can't read `{path}`: {reason(error)}")
    except UnicodeDecodeError:
        fail(f"can't read `{path}`: it is not utf-8")
