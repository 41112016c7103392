"""What a message says of critical values: by its facts, where a flag is one, or a status takes something back. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from engine.mapping.measured import Reading, hashed, numbers_of
from engine.model.content import quality_controls
from engine.model.content.facts import ANSWER, LEFT_OUT, Facts, Order, Person, Result
from engine.model.content.order_results import CORRECTS, WITHDRAWN
from engine.model.message import Document, Parsed
from engine.model.outcome import Spoken
from engine.model.routes import ChannelRoutes, Route
from engine.succession.critical import CRITICAL, is_critical, tells_critical
from engine.succession.steps import MINUTE

_BACK = {name: found | WITHDRAWN.get(name, frozenset()) for name, found in CORRECTS.items()}


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
    if reading.facts is None:
        found = _shown(document for document, _ in documents)
        return found or ((Spoken(),) if parsed.format == "astm" and _records_tell(parsed) else ())
    is_flagged, takes_back = _asked(reading.facts, _BACK.get(parsed.format, frozenset()))
    asked = is_flagged or takes_back
    found = tuple(spoken(reading.measured(controls), reading.context.key)) if asked else ()
    if is_flagged:
        return found
    read_elsewhere = (document for document, route in documents if route.program is not None and route.program.is_own)
    return (*found, *_shown(read_elsewhere))


def _shown(documents: Iterable[Document]) -> tuple[Spoken, ...]:
    return (Spoken(),) if any(tells_critical(document) for document in documents) else ()


def _asked(facts: Facts, back: frozenset[str]) -> tuple[bool, bool]:
    """Whether a result has the flag of a critical value, and the status of a result or an order is one of ``back``."""
    is_flagged = takes_back = False
    for person in facts.people:
        for order in person.orders:
            takes_back = takes_back or order.status in back
            for result in order.results:
                measure = result.measure
                flags, status = measure.meant or measure.flags, measure.status
                is_flagged = is_flagged or (flags is not None and not CRITICAL.isdisjoint(flags))
                if status is not None and (status in back or (len(status) > 1 and not back.isdisjoint(status.split()))):
                    takes_back = True
    return is_flagged, takes_back


def _records_tell(parsed: Parsed) -> bool:
    """Whether a record has such a flag, where the facts cannot be read: a copy as sent is no document that shows it."""
    cut, is_controls = parsed.delimiters, False
    for segment in parsed.segments:
        if segment.name == "O":
            is_controls = segment.get(12).strip().upper() == quality_controls.ASTM_ROLE
        elif segment.name == "R" and not is_controls and segment.get(9).strip() not in WITHDRAWN["astm"]:
            told = (one.split(cut.component)[0].strip() for one in segment.get(7).split(cut.repetition))
            if not CRITICAL.isdisjoint(told):
                return True
    return False


def spoken(measured: Iterable[tuple[Person, Order, Result]], key: bytes) -> Iterator[Spoken]:
    """What a message says of each result of a patient; ``key``: the site's."""
    found = [
        _spoken(person, order, result, key)
        for person, order, result in measured
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
