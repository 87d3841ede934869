"""`make bench`: the gateway beside its peers on one machine. See docs/benchmarks.md."""
