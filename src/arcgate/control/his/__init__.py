"""The agent service: discovery, machine certificates, heartbeats, goals and onboarding reports.

Machines authenticate each request by an assertion signed with their own key, so that the service works
through every kind of proxy.
"""

from arcgate.control.his.routes import routes

__all__ = ["routes"]
