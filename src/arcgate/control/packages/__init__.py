"""What a new machine downloads: the installer, the agent's package, and the authorities to trust."""

from arcgate.control.packages.routes import routes

__all__ = ["routes"]
