"""What the daemon, its gateways and the engines say: one store, one order.

`store` takes records in and answers questions, `engine` is one deployment's view of it, `search` makes regular
expressions safe. See docs/architecture/logs.md.
"""
