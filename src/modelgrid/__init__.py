"""ModelGrid turns GPU machines into a model-serving fleet."""

__version__ = "0.1.0"
