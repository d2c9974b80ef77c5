"""`python -m raysel`: the same as the command `raysel`."""

import sys

from raysel.cli.main import main

if __name__ == "__main__":  # worker processes import this file under another name
    sys.exit(main())
