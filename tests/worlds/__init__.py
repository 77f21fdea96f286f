"""Builders of what tests run against: authorities, streams in memory, scripted servers. Loopback only."""
