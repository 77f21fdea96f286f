"""Arcgate: a self-hosted Arc gateway. Servers behind a closed firewall reach their cloud through one name."""

__version__ = "0.1.0"
