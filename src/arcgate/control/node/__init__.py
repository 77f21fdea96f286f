"""The node API: snapshots, certificates and authorities for gateway nodes, and audit records from them."""

from arcgate.control.node.routes import routes

__all__ = ["routes"]
