"""The one stream of the console: what is published, what is kept for those who come back, who listens.

`backlog` and `wish` are the core, without IO and clocks; `hub` puts it on the event loop. See
docs/architecture/stream.md.
"""
