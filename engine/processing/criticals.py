"""Which results of a message are critical: by its facts; where these have none, by what is made of it. Pure."""

from collections.abc import Collection, Iterable

from engine.mapping.measured import Reading
from engine.model.content import quality_controls
from engine.model.content.facts import ANSWER, LEFT_OUT, Facts
from engine.model.content.order_results import WITHDRAWN
from engine.model.message import Document, Parsed
from engine.model.routes import Route
from engine.succession.critical import CRITICAL, is_critical, tells_critical

SHOWN = 0  # the place of a result that no fact has


def criticals_in(
    parsed: Parsed, reading: Reading, documents: Iterable[tuple[Document, Route]], controls: Collection[int] = ()
) -> tuple[int, ...]:
    """The places of the critical results of a message.

    Args:
        documents: that are made of it, with their routes; they show it where no reader takes the message, and those of
            a site's own mapping, which may read it from any field, where no field of flags has it.
        controls: positions of the results that a mapping's filter took as a control's.
    """
    if reading.facts is None:
        reading.log_fault()
        is_shown = any(tells_critical(document) for document, _ in documents)
        return (SHOWN,) if is_shown or (parsed.format == "astm" and _records_tell(parsed)) else ()
    if _is_flagged(reading.facts):
        return tuple(
            result.place
            for _, _, result in reading.measured(controls)
            if result.kind not in (ANSWER, LEFT_OUT) and is_critical(result)
        )
    own = (document for document, route in documents if route.program is not None and route.program.is_own)
    return (SHOWN,) if any(map(tells_critical, own)) else ()


def _is_flagged(facts: Facts) -> bool:
    """Whether a result, also of a control, has the flag of a critical value."""
    for person in facts.people:
        for order in person.orders:
            for result in order.results:
                measure = result.measure
                if (flags := measure.meant or measure.flags) and not CRITICAL.isdisjoint(flags):
                    return True
                if (flags := result.value.flags) and not CRITICAL.isdisjoint(flags):
                    return True
    return False


def _records_tell(parsed: Parsed) -> bool:
    """Whether a record has such a flag, where the facts cannot be read: a copy as sent is no document that shows it."""
    cut, is_controls = parsed.delimiters, False
    for segment in parsed.segments:
        if segment.name == "O":
            is_controls = segment.get(12).strip().upper() == quality_controls.ASTM_ROLE
        elif segment.name == "R" and not is_controls and segment.get(9).strip() not in WITHDRAWN["astm"]:
            flags = (one.split(cut.component)[0].strip() for one in segment.get(7).split(cut.repetition))
            if not CRITICAL.isdisjoint(flags):
                return True
    return False
