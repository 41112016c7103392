"""*Lately on the line* beyond the snapshot: steps from before the start, and messages of a line without frames.

Nothing is written for it. A line with frames has a trace in the journal, session by session
(`engine.store.operations.line_trace`); of any other line the messages are shown. So an end without a stop costs the
session that was under way, and half a second of what was over.
"""

from engine.model.clock import from_us
from engine.model.journal_views import Filter, MessageView
from engine.model.phrases import Phrase
from engine.monitoring.line_steps import STEPS, line_steps
from engine.monitoring.snapshot.channels import ChannelSnapshot
from engine.monitoring.snapshot.links import LineStep
from engine.store.queries.line import line_of
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader

SESSIONS = 6  # that are opened for so many steps


class Lately:
    """The steps of each channel from before the start: read once, since they change no more."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[LineStep, ...]] = {}

    def steps(self, reader: Reader, channel: ChannelSnapshot, started_us: int) -> tuple[LineStep, ...]:
        """The latest steps on a line, oldest first.

        Args:
            channel: of the site; so there are no more names than channels.

        Raises:
            StoreError, ConfigError: the journal cannot be read.
        """
        since = channel.link.steps
        if len(since) >= STEPS:
            return since
        before = self._before.get(channel.name)
        if before is None:
            before = self._before[channel.name] = _traced(reader, channel.name, started_us)
        if not before:
            wanted = Filter(channel=channel.name, before_us=started_us if since else None)
            found = messages_page(reader, wanted, limit=STEPS - len(since))
            before = tuple(_message(one) for one in reversed(found))
        return (*before, *since)[-STEPS:]


def _traced(reader: Reader, channel: str, started_us: int) -> tuple[LineStep, ...]:
    sessions = line_of(reader, channel, before_us=started_us, limit=SESSIONS)
    return tuple(step for one in reversed(sessions) for step in line_steps(one.entries))[-STEPS:]


def _message(one: MessageView) -> LineStep:
    whole = one.state != "incomplete"
    numbers: dict[str, str | int] = {"n": one.id, "size": one.size}
    words = (
        Phrase("message {n}, {size} bytes", {**numbers})
        if whole
        else Phrase("unfinished message {n}, {size} bytes", {**numbers})
    )
    return LineStep(at=from_us(one.received_us), way="in", words=words, verdict=Phrase("stored"), good=whole or None)
