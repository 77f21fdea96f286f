"""The server's certificate from a public authority, by ACME: ordered, renewed, and never given up for a failure."""

from arcgate.control.acme.service import keep_certified

__all__ = ["keep_certified"]
