"""Decisions: pure functions of facts, time and seeds included. No clock, no randomness, no IO, no logging."""
