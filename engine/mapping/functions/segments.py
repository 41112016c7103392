"""Fields of segments for functions that are given whole segments."""

from engine.mapping.message_context import MessageContext
from engine.model.message import Segment


def field_of(run: MessageContext, segment: Segment, number: int) -> str:
    """The first repetition of a field, raw and noted as read; empty where there is none."""
    if not (raw := segment.get(number)):
        return ""
    if run.trace is not None:
        run.trace.read(segment, number, 0)
    return raw.split(run.R)[0]
