"""`python -m modelgrid.cli` is the `modelgrid` command."""

from modelgrid.cli.main import main

main()
