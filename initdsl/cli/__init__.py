"""The command line. Only this package prints or exits; each command is one module, imported when it is called."""

# no `__future__`, and no module of the standard library beyond what Python starts with: the path is not clean yet
import sys

from initdsl.text.search_path import without_working_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .program import COMMANDS, group

__all__ = ["COMMANDS", "group", "main"]


def main() -> None:
    """Run the `initdsl` program; nothing is imported from the working folder, which may be a stranger's."""
    sys.path[:] = without_working_folder(sys.path)
    from .program import run

    run()


def __getattr__(name: str) -> object:
    if name in __all__:
        from . import program

        return getattr(program, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
