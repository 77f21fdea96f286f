"""The audit store: taking records from nodes, answering operators' questions, forgetting after the set time."""

from arcgate.control.audit.retention import keep_swept
from arcgate.control.audit.routes import routes

__all__ = ["keep_swept", "routes"]
