"""`python -m arcgate.cli`."""

from arcgate.cli.main import main

main()
