"""An ASTM E1381 (LIS1) line in both directions: what an analyzer sends, and messages for it between its sessions. Pure.

    analyzer  ENQ      frame      EOT          ACK          ACK
    we            ACK        ACK      ENQ          frame        EOT

The line is half duplex. `AstmReceiver` has it during a session of the analyzer, `AstmSender` during one of ours, one
message a session. A byte belongs to the side that has the line:

- Nothing is sent inside the analyzer's session. Our ENQ follows its EOT at once.
- Where both sides send ENQ the analyzer wins. We stay silent, and answer its next ENQ.
- EOT in place of an ACK is a request for the line. We end our session, and send the whole message again later.
- After either of these we begin once the analyzer has had its session, or let the line rest for the hold.

A receiver that nothing is offered to behaves as `AstmReceiver` does, byte for byte.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from adapters.codecs.astm import link as astm_link
from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.sender import AstmSender, Failed, SenderEvent, SenderOptions, State, frames_of
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.astm.session import State as ReceiverState
from adapters.codecs.link_options import options_of
from engine.model.link_events import LinkEvent, NotSent, SendEnd, Sent

QUIET_S = 1.0  # what began outside a session and did not go on for this long keeps the line no more

_BEGINS = re.compile(rb"\x02|[Hh][!-/:-@\[-`{-~]")

assemble = astm_link.assemble


def links(source: object, sending: Mapping[str, Any] | None = None) -> "Callable[[], AstmTwoWayLink]":
    """Return the factory that makes a link for each connection of a channel.

    Args:
        sending: `SenderOptions` that its kind of analyzer needs.
    """
    receiving, options = options_of(AstmOptions, source), replace(options_of(SenderOptions, source), **sending or {})
    return lambda: AstmTwoWayLink(receiving, options)


class AstmTwoWayLink:
    """One connection's link in both directions (`engine.model.ports.TwoWayLink`)."""

    traced = True

    def __init__(self, receiving: AstmOptions | None = None, sending: SenderOptions | None = None) -> None:
        self._sending = sending or SenderOptions()
        self._receiver = AstmReceiver(receiving)
        self._sender = AstmSender(self._sending)
        self._queue: deque[tuple[int, bytes]] = deque()  # the first is the sender's, once the line was free for it
        self._ended: list[SendEnd] = []
        self._said = b""  # bytes of ours that go before the receiver's
        self._heard = float("-inf")  # when the last byte came
        self._now = float("-inf")
        self._theirs = False  # the analyzer's session was not over when last seen
        options = receiving or AstmOptions()
        # The start of a transmission from an analyzer that does not ask for the line, and perhaps never repeats it.
        self._begins = _BEGINS.search if options.framing != "e1381" or options.acks != "frame" else None

    # -- receiving -----------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        return self._receiver.held

    @property
    def stray(self) -> int:
        """Bytes so far that belonged to nothing."""
        return self._receiver.stray

    @property
    def resting(self) -> bool:
        return self._receiver.resting and self._sender.state is State.IDLE

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        if data:
            self._heard = now
            data = self._answers_in(data, now)
        events = self._receiver.receive(data, now)
        self._turn(now)
        return events

    def committed(self, now: float) -> None:
        self._receiver.committed(now)

    def failed(self, now: float) -> None:
        self._receiver.failed(now)

    def outgoing(self) -> bytes:
        out = self._said + self._receiver.outgoing() + self._sender.outgoing()
        self._said = b""
        return out

    def deadline(self) -> float | None:
        due = [self._receiver.deadline(), self._sender.deadline()]
        if self._queue and self._unfinished and self._now < self._heard + QUIET_S:
            due.append(self._heard + QUIET_S)
        return min((at for at in due if at is not None), default=None)

    def tick(self, now: float) -> list[LinkEvent]:
        events = self._receiver.tick(now)
        self._turn(now)
        self._note(self._sender.tick(now))
        self._turn(now)
        return events

    def closed(self) -> list[LinkEvent]:
        events = self._receiver.closed()
        self._note(self._sender.closed())
        self._ended += [NotSent(ticket, "closed") for ticket, _ in self._queue]
        self._queue.clear()
        return events

    def wrap(self, payload: bytes) -> bytes:
        return self._receiver.wrap(payload)

    # -- sending -------------------------------------------------------------------------------------------------------

    @property
    def sending(self) -> int:
        return len(self._queue)

    @property
    def in_session(self) -> bool:
        return self._receiver.state is not ReceiverState.IDLE

    def offer(self, ticket: int, payload: bytes, now: float) -> None:
        frames_of(payload, self._sending.frame_limit, self._sending.pack)
        self._queue.append((ticket, payload))
        self._turn(now)

    def withdraw(self, ticket: int) -> bool:
        for at, (offered, _) in enumerate(self._queue):
            if offered == ticket:
                if at == 0 and self._sender.waiting and not self._sender.withdraw():
                    return False
                del self._queue[at]
                self._turn(self._now)
                return True
        return False

    def sends_ended(self) -> list[SendEnd]:
        ended, self._ended = self._ended, []
        return ended

    # -- whose line it is ----------------------------------------------------------------------------------------------

    def _answers_in(self, data: bytes, now: float) -> bytes:
        """Take the answer to what we sent; returns the bytes that are the receiver's."""
        if self._sender.state is State.IDLE:
            return data
        begins = self._begins(data) if self._begins is not None else None
        if begins is not None:
            events, rest = self._sender.yield_line(now), data[begins.start() :]
        else:
            events, rest = self._sender.answered(data, now)
        self._note(events)
        self._said += self._sender.outgoing()
        return rest

    def _note(self, events: list[SenderEvent]) -> None:
        for event in events:
            ticket, _ = self._queue.popleft()
            self._ended.append(
                NotSent(ticket, event.reason, maybe=event.maybe) if isinstance(event, Failed) else Sent(ticket)
            )

    @property
    def _unfinished(self) -> bool:
        """Outside a session something has begun, which may be noise."""
        return self._receiver.state is ReceiverState.IDLE and not self._receiver.resting

    def _turn(self, now: float) -> None:
        """Give the line to the side whose turn it is; called after each event that may have changed that."""
        self._now = now
        in_session = self._receiver.state is not ReceiverState.IDLE
        self._sender.pause(in_session or (self._unfinished and now < self._heard + QUIET_S), now)
        if in_session:
            self._theirs = True
        elif self._theirs:
            self._theirs = False
            self._sender.peer_had_line(now)
        if self._queue and not self._sender.waiting:
            self._sender.offer(self._queue[0][1], now)
