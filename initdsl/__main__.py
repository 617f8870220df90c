"""`python -m initdsl` is the command `initdsl`."""

from .cli import main

if __name__ == "__main__":
    main()
