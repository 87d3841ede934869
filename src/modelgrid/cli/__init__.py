"""The command line: one file per noun. Talks to the daemon over HTTP, through `modelgrid.client` only."""
