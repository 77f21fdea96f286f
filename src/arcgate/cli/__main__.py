"""`arcgate`, and `python -m arcgate.cli`: nothing that takes time is imported before Ctrl-C is looked out for."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from arcgate.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
