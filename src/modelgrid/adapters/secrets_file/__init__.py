"""Sealing of secrets with a key kept in a file of the state directory."""

from modelgrid.adapters.secrets_file.secrets import FileSecrets

__all__ = ["FileSecrets"]
