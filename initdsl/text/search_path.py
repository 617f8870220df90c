"""Where Python looks for modules: never in the working folder, whose files may be a stranger's.

This is imported before the path is clean, so it imports nothing that Python has not loaded when it starts.
"""

import os
import sys

__all__ = ["behind_standard_library", "without_working_folder"]


STANDARD_LIBRARY = os.path.dirname(os.__file__)
# where this package was imported from
OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def without_working_folder(path: list[str]) -> list[str]:
    """Return a search path without the working folder, and without relative entries, which lead into it.

    Python puts it first under `-c` and `-m`, and where PYTHONPATH has an empty entry or a dot. What stands behind the
    standard library is the environment's own (a project installed for development) and stays: it shadows nothing.
    So does, as the last, the folder that this package was imported from: else it could not be imported again.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:  # it was removed
        here = ""
    end = path.index(STANDARD_LIBRARY) if STANDARD_LIBRARY in path else len(path)
    front = [place for place in path[:end] if os.path.isabs(place) and os.path.realpath(place) != here]
    kept = front + [place for place in path[end:] if os.path.isabs(place)]
    return kept if OURS in kept else [*kept, OURS]


def behind_standard_library(folder: str) -> None:
    """Add a folder to the search path, if it is not there: no file in it takes the place of a standard module."""
    if folder in sys.path:
        return
    start = sys.path.index(STANDARD_LIBRARY) + 1 if STANDARD_LIBRARY in sys.path else len(sys.path)
    while start < len(sys.path) and os.path.basename(sys.path[start]) in ("lib-dynload", "DLLs"):
        start += 1
    sys.path.insert(start, folder)
