"""`config.json`: its typed model, its JSON Schema, and reading and writing the file."""
