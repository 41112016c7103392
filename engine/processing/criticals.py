"""What a message says of critical values: by its facts, which are read where a flag is one, or a status takes something
back. Pure.
"""

import logging
from collections.abc import Collection, Iterable

from engine.mapping.measured import Reading, hashed, numbers_of
from engine.model.content.facts import Order, Person, Result
from engine.model.content.order_results import CORRECTS, WITHDRAWN
from engine.model.criticals import Spoken
from engine.model.message import Document, MapContext, Parsed
from engine.model.routes import ChannelRoutes
from engine.succession.critical import CRITICAL, is_critical, tells_critical

logger = logging.getLogger("labrelay.processing")

_AT = {"OBX": (8, 11), "R": (7, 9), "OBR": (0, 25), "O": (0, 26)}  # flags, status; 0: none


def spoken_of(
    parsed: Parsed, reading: Reading, channel: ChannelRoutes, documents: Iterable[Document], controls: Collection[int]
) -> tuple[Spoken, ...]:
    """The results of a message, where one is critical or takes something back.

    Args:
        documents: that are made of it; they tell it where no reader takes the message.
        controls: positions of the results that a mapping's filter took as a control's.
    """
    if channel.reader is not None and parsed.segments and not _is_asked(parsed):
        return ()
    if reading.facts is None:
        return (Spoken(),) if any(map(tells_critical, documents)) else ()
    return tuple(_spoken(*one, reading.context) for one in reading.measured(controls))


def _is_asked(parsed: Parsed) -> bool:
    """Whether a field of flags may have one of a critical value, or a status is that of a correction or withdrawal."""
    back = CORRECTS.get(parsed.format, frozenset()) | WITHDRAWN.get(parsed.format, frozenset())
    for segment in parsed.segments:
        at = _AT.get(segment.name)
        if at is not None and (segment.get(at[1]) in back or any(flag in segment.get(at[0]) for flag in CRITICAL)):
            return True
    return False


def _spoken(person: Person, order: Order, result: Result, context: MapContext) -> Spoken:
    measure, value = result.measure, result.value
    number, tube = numbers_of(order, result)
    return Spoken(
        key=hashed(context, number, tube, measure.test, measure.sub) if number else "",
        person=hashed(context, person.number) if person.number else "",
        said=hashed(context, value.sent, measure.unit, *(measure.flags or ()), result.stated),
        at=hashed(context, result.stated),
        state=measure.state or "",
        critical=is_critical(result),
    )
