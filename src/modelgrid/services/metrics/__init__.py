"""Figures over time: what gateways count, engines say and GPUs measure.

`series` keeps them in bounded memory, `traffic` and `engine` make them from reports and scrapes, `service` samples
once a second, `exposition` writes control's part of `/metrics`. See docs/architecture/metrics.md.
"""
