"""``python -m qfkit`` is the command ``qfkit``."""

import sys

from qfkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
