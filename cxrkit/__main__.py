"""`python -m cxrkit` is the command line."""

from cxrkit.cli.app import main

if __name__ == "__main__":
    main()
