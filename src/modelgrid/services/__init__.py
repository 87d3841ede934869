"""The loops: read facts, call decisions, apply effects through ports. One writer per state machine."""
