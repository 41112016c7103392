"""What a message says of critical values: by its facts, which are read where a flag is one, or a status takes something
back. Pure.
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b

from engine.mapping.functions.controls import NUMBERS, ORDERS, listed
from engine.model.content.facts import Facts, Order, Person, Result, unpacked
from engine.model.content.order_results import CORRECTS, WITHDRAWN
from engine.model.criticals import Spoken
from engine.model.errors import ConfigError, ContentError
from engine.model.message import Document, MapContext, Parsed, Stored
from engine.model.routes import ChannelRoutes, Route, context_of
from engine.model.values import changed
from engine.succession.critical import CRITICAL, is_critical, of_patients, tells_critical

logger = logging.getLogger("labrelay.processing")

_AT = {"OBX": (8, 11), "R": (7, 9), "OBR": (0, 25), "O": (0, 26)}  # flags, status; 0: none
_HASH_BYTES = 12


def spoken_of(
    stored: Stored,
    parsed: Parsed,
    channel: ChannelRoutes,
    documents: Iterable[tuple[Document, Route]],
    controls: Collection[int] = (),
) -> tuple[Spoken, ...]:
    """The results of a message, where one is critical or takes something back.

    Args:
        documents: that are made of it, with their routes; they show it where no reader takes the message.
        controls: positions of the results that a mapping's filter took as a control's.
    """
    if channel.reader is not None and parsed.segments and not _is_asked(parsed):
        return ()
    context = changed(context_of(stored, channel.context), packs=False)
    facts = facts_of(parsed, channel, context)
    if facts is None:
        return (Spoken(),) if any(tells_critical(document) for document, _ in documents) else ()
    return tuple(spoken_in(facts, parsed, context, controls))


def _is_asked(parsed: Parsed) -> bool:
    """Whether a field of flags may have one of a critical value, or a status is that of a correction or withdrawal."""
    back = CORRECTS.get(parsed.format, frozenset()) | WITHDRAWN.get(parsed.format, frozenset())
    for segment in parsed.segments:
        at = _AT.get(segment.name)
        if at is not None and (segment.get(at[1]) in back or any(flag in segment.get(at[0]) for flag in CRITICAL)):
            return True
    return False


def facts_of(parsed: Parsed, channel: ChannelRoutes, context: MapContext) -> Facts | None:
    """What the channel's reader reads; None: no reader takes the message, or it fails."""
    if channel.reader is None:
        return None
    try:
        reader = channel.reader(parsed)
        if reader is None:
            return None
        read = reader.apply(parsed, context)
        return unpacked(read.documents[0].body) if read.documents else None
    except (ConfigError, ContentError) as error:
        detail = str(error) if isinstance(error, ConfigError) else error.reason.value
    except Exception as error:
        detail = type(error).__name__
    logger.error("facts cannot be read", extra={"channel": channel.channel, "detail": detail})
    return None


def spoken_in(facts: Facts, parsed: Parsed, context: MapContext, controls: Collection[int] = ()) -> Iterator[Spoken]:
    """What a message says of each result of a patient."""
    is_hl7 = parsed.format == "hl7v2"
    name = "OBX" if is_hl7 else "R"
    apart = {one.ordinal for one in parsed.segments if one.position in controls and one.name == name}
    numbers, orders = (listed(context.settings, setting) for setting in (NUMBERS, ORDERS))
    known = of_patients(facts, is_hl7=is_hl7, numbers=numbers, orders=orders)
    for person, order, result in known:
        if result.place not in apart:
            yield _spoken(person, order, result, context.key)


def _spoken(person: Person, order: Order, result: Result, key: bytes) -> Spoken:
    measure, value = result.measure, result.value
    tube = result.tube or next((one.number for one in order.samples if one.number), None)
    number = order.filler or order.placer or tube
    return Spoken(
        key=_hashed(key, number, tube, measure.test, measure.sub) if number else "",
        person=_hashed(key, person.number) if person.number else "",
        lasting=person.lasting,
        said=_hashed(key, value.sent, measure.unit, *(measure.flags or ()), result.stated),
        at=_hashed(key, result.stated) if result.stated else "",
        state=measure.state or "",
        critical=is_critical(result),
    )


def _hashed(key: bytes, *parts: str | None) -> str:
    return blake2b(repr(parts).encode(), key=key, digest_size=_HASH_BYTES).hexdigest()
