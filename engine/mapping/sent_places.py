"""The fields of a message by their text: a warning about a time names each field that this time came in.

Generated code hands on the text of a time without its field, and a time that cannot be read is rare; so its fields are
looked for once there is one. A filler (``-``) is in other fields as well: those are meant in which the standard has a
time.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache

from engine.config import registry
from engine.mapping.structures import HL7
from engine.model.message import Parsed, Segment

MOST_COMPONENTS = 30  # no type of HL7 has more

_HL7_TIMES = frozenset({"TS", "DTM", "DT"})
_ASTM_TIME = re.compile(r".* at|.*\bdates?\b.*")  # names of the fields of E1394

Place = tuple[str, int, int]  # name of a segment, number of a field, and of the component in it
Places = dict[Place, list[Segment]]
TextOf = Callable[[str], str | None]  # the text of a component as rules read it; None where it says nothing


def times_in(parsed: Parsed, delimiters: tuple[str, str], text_of: TextOf) -> dict[str, Places]:
    """Text of a component in which the standard has a time -> its places in the message, each with its segments.

    Args:
        delimiters: of repetitions and of components.
    """
    found: dict[str, Places] = defaultdict(dict)
    for segment in parsed.segments:
        for number, component, text in _components(segment, delimiters, text_of):
            if _is_time(parsed.format, segment.name, number, component):
                segments = found[text].setdefault((segment.name, number, component), [])
                if not segments or segments[-1] is not segment:  # it may repeat the field
                    segments.append(segment)
    return found


def places_in(segment: Segment, message_format: str, delimiters: tuple[str, str], text_of: TextOf, sent: str) -> Places:
    """The places of a text in one segment: a rule may read a time from any field, but hardly from the number of the
    segment.
    """
    first = 2 if message_format == HL7 else 3
    return {
        (segment.name, number, component): [segment]
        for number, component, text in _components(segment, delimiters, text_of)
        if text == sent and number >= first
    }


def _components(segment: Segment, delimiters: tuple[str, str], text_of: TextOf) -> Iterator[tuple[int, int, str]]:
    between, inside = delimiters
    for number, sent in enumerate(segment.fields[1:], 1):  # the first is the segment's name
        for repetition in sent.split(between):
            for component, part in enumerate(repetition.split(inside), 1):
                if text := text_of(part):
                    yield number, component, text


def _is_time(message_format: str, segment: str, number: int, component: int) -> bool:
    return (component == 1 and _is_time_field(message_format, segment, number)) or (
        message_format == HL7 and component <= MOST_COMPONENTS and _is_time_part(segment, number, component)
    )


@lru_cache(maxsize=1024)
def _is_time_field(message_format: str, segment: str, number: int) -> bool:
    if message_format == HL7:
        return registry.load(registry.WRITERS, HL7).place_type(segment, (number,)) in _HL7_TIMES
    names: tuple[str, ...] = registry.load(registry.FORMATS, message_format).FIELDS.get(segment, ())
    return number < len(names) and _ASTM_TIME.fullmatch(names[number]) is not None


@lru_cache(maxsize=1024)
def _is_time_part(segment: str, number: int, component: int) -> bool:
    return registry.load(registry.WRITERS, HL7).place_type(segment, (number, component)) in _HL7_TIMES
