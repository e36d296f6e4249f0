"""Keeping runs: an embedded Tiled server, its client, and writers that never make a plan wait."""
