"""The Python client of the console API: all that the command line and the console can do, from scripts."""

from modelgrid.client.http import ModelGridClient, local_client

__all__ = ["ModelGridClient", "local_client"]
