"""Engines that somebody else runs: attached by their URL, never started or stopped."""
