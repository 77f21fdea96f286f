"""The early tunnel: one on a channel whose CONNECT is under way and not answered yet.

The client's bytes follow the CONNECT in frames at once, so that the target's first byte comes back after one round
trip. The gateway's answer is the first thing that is read: a 200 with frames, and all goes on as on any channel;
anything else ends the tunnel as a reset, since the client has its 200 already.
"""

from collections.abc import Callable

from arcgate.core.errors import Hop, HopError
from arcgate.core.hand_over import HandOverMode, parse_mode
from arcgate.core.names import Target
from arcgate.net.channel import ChannelTunnel
from arcgate.net.dialer import LARGEST_REFUSAL, ConnectAnswer, content_length, no_answer, refused_connect
from arcgate.net.messages import MessageStream
from arcgate.net.streams import PromptStream, StreamReset
from arcgate.net.tls import TlsStream
from arcgate.wire.connect import HAND_OVER_FIELD
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import HeadError, ResponseHead, ResponseReader


class EarlyTunnel(ChannelTunnel):
    """See the module. `via` names the gateway for messages, `hand_over` is the most that we agree to."""

    __slots__ = (
        "_failure",
        "_is_answered",
        "_offered",
        "_page",
        "_reader",
        "_refusal",
        "_via",
        "agreed",
        "on_answered",
        "target",
    )

    def __init__(
        self,
        tls: TlsStream | MessageStream,
        target: Target,
        *,
        via: str,
        hand_over: HandOverMode,
        hold_end: float,
        on_done: Callable[[bool], None],
    ) -> None:
        super().__init__(tls, b"", may_hand_over=False, hold_end=hold_end, on_done=on_done)
        self.target = target
        self._via = via
        self._offered = hand_over
        self._reader = ResponseReader()
        self._refusal: ResponseHead | None = None
        self._page = b""
        self._failure: HopError | None = None
        self._is_answered = False
        self.agreed = HandOverMode.OFF
        """What the gateway has agreed to."""
        self.on_answered: Callable[[], None] = lambda: None
        """Called when the gateway has accepted the tunnel."""

    def failure(self) -> HopError | None:
        """Return why the tunnel has failed to begin, None when it has begun."""
        if self._failure is None and not self._is_answered:
            self._look_for_refusal()
        if self._failure is None and not self._is_answered:
            self.give_up("the channel broke before the answer")
        return self._failure

    def give_up(self, cause: str) -> None:
        """Take it that no answer will come."""
        self._failure = self._failure or no_answer(Hop.GATEWAY, self._via, cause)

    def _look_for_refusal(self) -> None:
        """Read what is there: a reset that met our bytes may have come before we had read why."""
        try:
            while not self._is_answered and self.receive_now():
                pass
        except StreamReset:
            return

    def _take_frames(self, data: bytes) -> None:
        if self._is_answered:
            super()._take_frames(data)
        elif self._refusal is not None:
            self._take_page(data)
        else:
            self._take_answer(data)

    def _take_answer(self, data: bytes) -> None:
        try:
            head = self._reader.feed(data)
        except HeadError as error:
            self.give_up(str(error))
            raise StreamReset("no answer") from None
        if head is None:
            return
        if not 200 <= head.status < 300:
            self._refusal = head
            self._take_page(self._reader.rest)
            return
        if head.first(FRAMES_FIELD.lower()) != FRAMES_VERSION:
            self.give_up("it has stopped to speak frames")
            raise StreamReset("no frames")
        self._begin(head)

    def _begin(self, head: ResponseHead) -> None:
        self._is_answered = True
        self.agreed = min(
            self._offered, parse_mode(head.first(HAND_OVER_FIELD.lower())), key=lambda one: one.strictness
        )
        self._may_hand_over = self.agreed is not HandOverMode.OFF and isinstance(self._tls.inner, PromptStream)
        self.on_answered()
        if self._reader.rest:
            super()._take_frames(self._reader.rest)

    def _take_page(self, data: bytes) -> None:
        assert self._refusal is not None
        self._page += data
        if len(self._page) >= min(content_length(self._refusal), LARGEST_REFUSAL):
            self._refuse()

    def _refuse(self) -> None:
        assert self._refusal is not None
        answer = ConnectAnswer(self._refusal, self._page)
        self._failure = refused_connect(Hop.GATEWAY, self._via, self.target, answer)
        raise StreamReset(self._failure.sentence)

    def _take_close_notify(self) -> None:
        if self._is_answered:
            super()._take_close_notify()
            return
        if self._refusal is not None:
            self._refuse()
        self.give_up("it ended the channel")
        raise StreamReset("no answer")
