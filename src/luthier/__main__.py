"""`python -m luthier`: the command line without the installed script."""

from luthier.cli.main import main

if __name__ == "__main__":
    main()
