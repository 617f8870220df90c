"""How long the linter takes to start, beside the import of what it stands on, each in its own process and in turn.

python benchmarks/lint.py [rounds]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from side_by_side import compare

RULES = "Linear {\n  .weight ~ kaiming_normal(nonlinearity=relu)\n  .bias   = 0\n}\n"
LINT = "import sys; from initdsl.cli import main; sys.argv[1:] = ['lint', {!r}]; main()"
IMPORT = "import lark, pydantic, click"


def program(code: str, folder: str) -> Callable[[], object]:
    # with bytecode, which an installed package has
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return lambda: subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)


def main() -> None:
    """Print both medians and the median of the ratios, which is to be at most 2.5."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 31
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.init").write_text(RULES)
        ours, theirs, ratio = compare(program(LINT.format("model.init"), folder), program(IMPORT, folder), rounds)
        print(f"initdsl lint, a file of four lines: {ours * 1e3:.0f} ms")
        print(f'python -c "{IMPORT}": {theirs * 1e3:.0f} ms')
        print(f"ratio: {ratio:.2f} (at most 2.5)")


if __name__ == "__main__":
    main()
