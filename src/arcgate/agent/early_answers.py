"""Early answers: for which targets Arc Proxy says 200 before the gateway has said so.

Only what the machine's goal allows goes to the gateway at all, so the gateway's policy is known; its dial is not. A
target that failed after an early answer is asked for the usual way next time, so that the client learns why.
"""

from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.names import Target
from arcgate.core.routing import Route, Way

MOST_DOUBTED = 1000
"""Targets that are remembered for having failed; the oldest is forgotten first."""


class EarlyAnswers:
    """What has been learnt of gateways and targets."""

    def __init__(self) -> None:
        self._speaking_frames: set[GatewayPlace] = set()
        self._doubted: dict[Target, None] = {}

    def may(self, target: Target, route: Route, now: Surroundings) -> bool:
        """Say whether the target may be answered early."""
        if not now.answers_early or route.way is not Way.GATEWAY or now.problem is not None:
            return False
        return now.gateway in self._speaking_frames and target not in self._doubted

    def spoke_frames(self, gateway: GatewayPlace) -> None:
        """Take note that a gateway accepts frames: without them nothing can be sent before its answer."""
        self._speaking_frames.add(gateway)

    def worked(self, target: Target) -> None:
        """Take note that the gateway has carried a tunnel to the target."""
        self._doubted.pop(target, None)

    def failed(self, target: Target) -> None:
        """Take note that a target has failed after an early answer."""
        self._doubted[target] = None
        if len(self._doubted) > MOST_DOUBTED:
            del self._doubted[next(iter(self._doubted))]
