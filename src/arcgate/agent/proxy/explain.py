"""The explanation of a route, for `azcmagent route`: the same decision that Arc Proxy makes."""

from arcgate.agent.paths import AgentPaths
from arcgate.agent.surroundings_watch import SurroundingsWatch
from arcgate.core.names import Target
from arcgate.core.routing import Route


def explain(paths: AgentPaths, target: Target) -> Route:
    """Return the way of a request to the target, with its reason; raises ArcgateError when files are damaged."""
    now = SurroundingsWatch(paths).current
    if now.problem is not None:
        raise now.problem
    return now.routing.route(target)
