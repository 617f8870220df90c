"""`python -m initdsl` is the command `initdsl`."""

# no `__future__`: the path is not clean before `main` runs
from .cli import main

if __name__ == "__main__":
    main()
