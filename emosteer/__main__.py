"""`python -m emosteer` is the command line."""

from emosteer.cli import main

main()
