"""What a message says of critical values: by its facts, which are read where a flag is one, or a status takes something
back. Pure.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from engine.mapping.measured import Reading, hashed, numbers_of
from engine.model.content.facts import ANSWER, LEFT_OUT, Order, Person, Result
from engine.model.content.order_results import CORRECTS, WITHDRAWN
from engine.model.content.quality_controls import ASTM_ROLE
from engine.model.criticals import Spoken
from engine.model.message import Document, Parsed
from engine.model.routes import ChannelRoutes, Route
from engine.succession.critical import CRITICAL, is_critical, tells_critical
from engine.succession.steps import MINUTE

logger = logging.getLogger("labrelay.processing")

_AT = {"OBX": (8, 11), "R": (7, 9), "OBR": (0, 25), "O": (0, 26)}  # flags, status; 0: none
_BACK = {name: found | WITHDRAWN.get(name, frozenset()) for name, found in CORRECTS.items()}
_FLAG = re.compile("|".join(sorted(CRITICAL))).search


def spoken_of(
    parsed: Parsed,
    reading: Reading,
    channel: ChannelRoutes,
    documents: Iterable[tuple[Document, Route]],
    controls: Collection[int] = (),
) -> tuple[Spoken, ...]:
    """The results of a message, where one is critical or takes something back.

    Args:
        documents: that are made of it, with their routes; they show it where no reader takes the message, and those of
            a site's own mapping, which may read it from any field, where no field of flags has it.
        controls: positions of the results that a mapping's filter took as a control's.
    """
    is_flagged, takes_back = _asked(parsed)
    read_elsewhere = (document for document, route in documents if route.program is not None and route.program.is_own)
    if channel.reader is not None and parsed.segments and not (is_flagged or takes_back):
        return _shown(read_elsewhere)
    if reading.facts is None:
        found = _shown(document for document, _ in documents)
        return found or ((Spoken(),) if parsed.format == "astm" and _records_tell(parsed) else ())
    found = tuple(_spoken_in(reading, controls))
    return found if is_flagged else (*found, *_shown(read_elsewhere))


def _shown(documents: Iterable[Document]) -> tuple[Spoken, ...]:
    return (Spoken(),) if any(tells_critical(document) for document in documents) else ()


def _asked(parsed: Parsed) -> tuple[bool, bool]:
    """Whether a field of flags may have one of a critical value, and a status is of a correction or withdrawal."""
    back = _BACK.get(parsed.format, frozenset())
    is_flagged = takes_back = False
    for segment in parsed.segments:
        if (at := _AT.get(segment.name)) is not None:
            flags, status = at
            fields = segment.fields
            takes_back = takes_back or (len(fields) > status and fields[status] in back)
            is_flagged = is_flagged or (
                len(fields) > flags and len(fields[flags]) > 1 and _FLAG(fields[flags]) is not None
            )
    return is_flagged, takes_back


def _records_tell(parsed: Parsed) -> bool:
    """Whether a record has such a flag, where the facts cannot be read: a copy as sent is no document that shows it."""
    cut, is_controls = parsed.delimiters, False
    for segment in parsed.segments:
        if segment.name == "O":
            is_controls = segment.get(12).strip().upper() == ASTM_ROLE
        elif segment.name == "R" and not is_controls and segment.get(9).strip() not in WITHDRAWN["astm"]:
            told = (one.split(cut.component)[0].strip() for one in segment.get(7).split(cut.repetition))
            if not CRITICAL.isdisjoint(told):
                return True
    return False


def _spoken_in(reading: Reading, controls: Collection[int]) -> Iterator[Spoken]:
    """What a message says of each result of a patient."""
    key = reading.context.key
    found = [
        _spoken(person, order, result, key)
        for person, order, result in reading.measured(controls)
        if result.kind not in (ANSWER, LEFT_OUT)
    ]
    times = Counter(one.key for one in found if one.key)
    for one in found:
        # of several with one name (serum and urine, two runs), none says anything of another one
        yield one if times[one.key] < 2 else one._replace(key=hashed(key, one.key, one.said))


def _spoken(person: Person, order: Order, result: Result, key: bytes) -> Spoken:
    measure, value = result.measure, result.value
    number, tube = numbers_of(order, result)
    samples = [one for one in order.samples if one.number and one.number == (tube or one.number)]
    drawn = (samples[0].collected if samples else None) or order.collected
    is_timed = bool(result.stated) and len(result.at or "") >= MINUTE
    return Spoken(
        key=hashed(key, number, tube, measure.test, measure.sub, measure.unit) if number else "",
        person=_who(person, key),
        lasting=person.lasting,
        said=hashed(key, value.sent, measure.unit, *(measure.flags or ()), result.stated),
        at=hashed(key, result.stated) if is_timed else "",
        drawn=hashed(key, drawn) if drawn else "",
        state=measure.state or "",
        critical=is_critical(result),
    )


def _who(person: Person, key: bytes) -> str:
    """A number that may be a counter's is one person's together with the name; a name alone is one, too."""
    named = (person.name, person.born) if not person.lasting else ()
    who = (person.authority, person.number, *named)
    return hashed(key, *who) if person.number or person.name else ""
