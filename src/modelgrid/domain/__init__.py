"""The ground floor: what ModelGrid talks about. Standard library only; no IO, no clock, no logging.

Conventions that hold for every class here:

* times are seconds since the Unix epoch in UTC (`float`), durations are seconds, sizes are bytes;
* `None` means "not known" or "not yet", never zero;
* every value is frozen: a change makes a new value with `dataclasses.replace`.
"""
