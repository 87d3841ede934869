"""Installs and starts the real parts that the engine tests run against. Standard library only: it runs before
anything of the project is installed."""
