"""``python -m vecgrad`` is the command ``vecgrad``."""

from vecgrad.cli import main

if __name__ == "__main__":
    main()
