"""Runs the control plane: `python -m arcgate.control`."""

import sys

from arcgate.control.service import main

if __name__ == "__main__":
    sys.exit(main())
