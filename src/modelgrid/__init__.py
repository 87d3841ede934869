"""ModelGrid turns GPU machines into a model-serving fleet."""

from importlib.metadata import version

__version__ = version("modelgrid")
