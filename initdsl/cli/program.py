"""The group of all commands, and how the program ends."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import traceback
from importlib import metadata
from typing import Any

import click

from initdsl.text.diagnostic import Diagnostic, InitDSLError
from initdsl.text.failures import TORCH, internal, lacks_torch, out_of_memory, reason
from initdsl.text.wording import did_you_mean

from .console import show

COMMANDS = {
    "apply": "fill a model by its rules, and save it",
    "convert": "turn other libraries' initialization settings into a rule file",
    "diff": "show what a change of rules or of a model does to the start",
    "diagnose": "show how signals and gradients get through the model, before training",
    "explain": "show every rule for one parameter, and which one wins",
    "help": "print the language: a page, a part of it, or what a word means",
    "infer": "propose a rule file for a model",
    "lint": "find mistakes in rule files",
    "fmt": "format rule files; comments stay",
    "list": "list initializers, recipes and lints",
    "lock": "write down how rules start a model, and check what has changed since",
    "lsp": "serve editors (the language server)",
    "manifest": "describe a model as JSON, to lint and plan without its code",
    "plan": "show what would happen to every parameter; changes nothing",
    "verify": "compare a checkpoint with its rules",
}

INTERRUPTED = 128 + signal.SIGINT  # as shells say it
# what else asks a program to end, and ends it at once where nobody listens
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """A signal asks the program to end: it does as after Ctrl-C, with nothing half written left."""


class Commands(click.Group):
    """The group of all commands: each is imported when it is called, so that `initdsl lint` never pays for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = did_you_mean(args[0], COMMANDS)
            if hint is not None:
                raise click.UsageError(f"no command is named `{args[0]}`; {hint}", ctx) from None
            raise error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what ends it ends it with a sentence and an exit code, never with a traceback."""
        try:
            return super().invoke(ctx)
        except InitDSLError as error:
            show(error.diagnostics, file=sys.stderr)
        except Terminated as end:
            ctx.exit(128 + int(end.args[0]))
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            ctx.exit(INTERRUPTED)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            show([_last_words(error)], file=sys.stderr)
        ctx.exit(2)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


# what makes an unforeseen error show where it comes from
TRACEBACK = "INITDSL_TRACEBACK"


def _last_words(error: Exception) -> Diagnostic:
    """Return what is said of an error that no command has foreseen."""
    if library := lacks_torch(error):
        return Diagnostic("missing-library", f"this needs {library}, which is not installed", hint=TORCH)
    if out_of_memory(error):
        return Diagnostic("out-of-memory", "there is not enough memory")
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        return Diagnostic("usage", f"can't write what there is to say: {reason(error)}")
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    hint = f"this is a mistake in initdsl: report this line, with what {TRACEBACK}=1 shows above it and the files"
    return Diagnostic("internal-error", internal(error), hint=hint)


def _show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print our version, torch's, and which engine fills under a seed."""
    if not asked or ctx.resilient_parsing:
        return
    click.echo(f"initdsl, version {metadata.version('initdsl')}")
    try:
        import torch  # late, here alone: no command waits for it that doesn't need it

        from initdsl import streams

        click.echo(f"torch {torch.__version__}, seeded fills by {streams.engine()}")
    except ImportError as error:
        click.echo("torch can't be imported" + f"; {TORCH} brings it" * (lacks_torch(error) is not None))
    except ValueError as error:  # of INITDSL_KERNEL
        click.echo(str(error))
    ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the versions and exit.",
)
def group() -> None:
    """Set the initial weights of a PyTorch model from a rule file."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated(number)


def _leave_garbage() -> None:
    """Let Python end without looking for garbage, unless a library counts what is left of it, and calls that a leak."""
    if any(kind.__module__ == "nanobind" for kind in type.__subclasses__(type)):  # what binds Triton and JAX to Python
        gc.unfreeze()
    else:
        gc.freeze()


def run() -> None:
    """Run the command that the arguments name, and end the program: exit code 0 fine, 1 findings or a difference, 2 could not run, 130 interrupted."""
    # a short program: nearly all it makes lasts to its end, and looking for garbage would take a tenth of its time
    gc.set_threshold(100_000, 50, 100)
    atexit.register(_leave_garbage)
    for number in ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` has one ignored
            signal.signal(number, _terminate)
    try:
        group(prog_name="initdsl")
        _flush()
    except SystemExit as end:
        # at once: torch's threads may still be ending, and an orderly end would abort on them
        if isinstance(end.code, int) and end.code > 128:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not stream.closed:
                    stream.flush()
            os._exit(end.code)
        _flush()
        raise
    except Exception as error:  # of what is done before a command begins: help, options
        show([_last_words(error)], file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)


def _flush() -> None:
    """Write out what was said; where that fails, say so, and exit with 2 where Python would at the very end with 120."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:  # the language server closes it, as its protocol ends
            sys.stdout.flush()
    except BrokenPipeError:  # who read it has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        show([_last_words(error)], file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)
