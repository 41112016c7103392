"""The line of each channel, for people: its state, its latest traffic, its faults. No content.

Frames come from the line's trace (`engine.store.operations.line_trace`), which is read again only after new traffic. A
tee has no trace: there the steps are whole messages, with the answers to them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from engine.model.link_events import Answered, Direction
from engine.model.ports import TracedLink
from engine.model.process.clock import from_us
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.channels import (
    STEPS,
    LineStep,
    LinkFaults,
    LinkSnapshot,
    LinkState,
    TeeSnapshot,
    line_steps,
)
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import Connection
from engine.receiving.tee import PassedMessage, TeeChannel
from engine.runtime.sources import ChannelSource
from engine.store.operations.line_trace import LineEntry

ENTRIES = 40  # of a trace are read for so many steps
_Key = tuple[int, int, int]
_ANSWERS: dict[Answered, tuple[Phrase, bool | None]] = {
    Answered.ACCEPTED: (Phrase("accepted"), True),
    Answered.REFUSED: (Phrase("refused"), False),
    Answered.NOT: (Phrase("no answer heard"), None),
}


class LinkViews:
    """Makes the `LinkSnapshot` of every channel."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[_Key, tuple[LineStep, ...]]] = {}

    def snapshot(self, source: ChannelSource, now: datetime, now_s: float) -> LinkSnapshot:
        """``now_s``: the same moment on the clock that channels use."""
        channel = source.channel
        counts = channel.counts
        kind, at_s = counts.last_fault or ("", 0.0)
        return LinkSnapshot(
            state=_state(source),
            stray_bytes=counts.stray_bytes + sum(_stray(one) for one in channel.connections.values()),
            faults=tuple(LinkFaults(kind=kind, n=n) for kind, n in counts.faults.most_common() if n),
            last_fault=kind,
            last_fault_at=now - timedelta(seconds=max(0.0, now_s - at_s)) if kind else None,
            steps=self._lately(channel),
        )

    def _lately(self, channel: Channel) -> tuple[LineStep, ...]:
        if isinstance(channel, TeeChannel):
            return tuple(_passed(one) for one in list(channel.lately)[-STEPS:])
        entries = _entries(channel)
        key = (entries[-1].at_us, len(entries), len(entries[-1].data)) if entries else (0, 0, 0)
        known = self._steps.get(channel.settings.name)
        if known is None or known[0] != key:
            known = self._steps[channel.settings.name] = (key, line_steps(entries))
        return known[1]


def tee_snapshot(channel: Channel) -> TeeSnapshot | None:
    if not isinstance(channel, TeeChannel):
        return None
    seen, answered = channel.tee.seen, channel.tee.answered
    return TeeSnapshot(
        seen=seen[Direction.ANALYZER],
        acknowledged=answered[Direction.ANALYZER, Answered.ACCEPTED],
        refused=answered[Direction.ANALYZER, Answered.REFUSED],
        middleware_seen=seen[Direction.MIDDLEWARE],
        middleware_acknowledged=answered[Direction.MIDDLEWARE, Answered.ACCEPTED],
        not_kept=channel.tee.not_kept,
    )


def _state(source: ChannelSource) -> LinkState:
    channel, config = source.channel, source.built.config
    if not config.enabled:
        return LinkState.OFF
    if channel.connections:
        if _is_receiving(channel):
            return LinkState.RECEIVING
        waits_for_enq = getattr(config.source, "framing", "") == "e1381" and config.source.link == "e1381"
        return LinkState.WAITING_ENQ if waits_for_enq else LinkState.CONNECTED
    if source.fault:
        return LinkState.DOWN
    return LinkState.CONNECTED if source.connected else LinkState.UNCONNECTED  # a folder is a line between files, too


def _is_receiving(channel: Channel) -> bool:
    if isinstance(channel, TeeChannel):
        return channel.receiving
    return any(_amid(one) for one in channel.connections.values())


def _amid(connection: Connection) -> bool:
    if connection.trace is not None:
        return not cast(TracedLink, connection.link).resting
    return connection.link.held > 0


def _stray(connection: Connection) -> int:
    return int(getattr(connection.link, "stray", 0))  # of links with sessions


def _entries(channel: Channel) -> Sequence[LineEntry]:
    """The latest entries: of the open connection if it has any, else of the last session."""
    live = [one.trace for one in channel.connections.values() if one.trace is not None and one.trace.entries]
    before = channel.last_line.entries if channel.last_line is not None else ()
    newest = max(live, key=lambda trace: trace.entries[-1][1], default=None)  # by its last instant
    if newest is None:
        return before[-ENTRIES:]
    return (*before, *(LineEntry(*entry) for entry in newest.entries[-ENTRIES:]))[-ENTRIES:]


def _passed(passed: PassedMessage) -> LineStep:
    size = {"size": passed.size}
    phrase = Phrase("message, {size} bytes", size) if passed.whole else Phrase("unfinished message, {size} bytes", size)
    verdict, good = _ANSWERS[passed.answered]
    return LineStep(at=from_us(passed.at_us), way=passed.way.value, words=phrase, verdict=verdict, good=good)
