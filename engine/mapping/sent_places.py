"""The fields of a message by their text: a warning about a time names each field that this time came in.

Generated code hands on the text of a time without its field, and a time that cannot be read is rare; so its fields are
looked for once there is one. A filler (``-``) is in other fields as well: those are meant in which the standard has a
time.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache

from engine.config import registry
from engine.mapping.structures import HL7
from engine.model.message import Parsed, Segment

_HL7_TIMES = frozenset({"TS", "DTM", "DT"})
_ASTM_TIME = re.compile(r".* at|.*\bdates?\b.*")  # names of the fields of E1394

Place = tuple[str, int, int]  # name of a segment, number of a field, and of the component in it
Places = dict[str, dict[Place, list[Segment]]]


def sent_places(parsed: Parsed, delimiters: tuple[str, str], text_of: Callable[[str], str | None]) -> Places:
    """Text of a component -> its places in the message, each with its segments.

    Args:
        delimiters: of repetitions and of components.
        text_of: the text of a component as rules read it; None where it says nothing.
    """
    found: Places = defaultdict(dict)
    between, inside = delimiters
    for segment in parsed.segments:
        for number, sent in enumerate(segment.fields):
            for repetition in sent.split(between):
                for component, part in enumerate(repetition.split(inside), 1):
                    if text := text_of(part):
                        found[text].setdefault((segment.name, number, component), []).append(segment)
    return found


def of_times(
    message_format: str, places: dict[Place, list[Segment]], here: Segment | None
) -> dict[Place, list[Segment]]:
    """Those of the places in which the standard has a time. Where there are none, those in the segment at hand: a rule
    may read a time from any field, but hardly from the number of the segment."""
    times = {place: places[place] for place in places if _is_time(message_format, *place)}
    if times or here is None:
        return times
    number = 1 if message_format == HL7 else 2
    return {place: [here] for place, segments in places.items() if here in segments and place[1] > number}


@lru_cache(maxsize=512)
def _is_time(message_format: str, segment: str, number: int, component: int) -> bool:
    if message_format == HL7:
        type_at = registry.load(registry.WRITERS, HL7).place_type
        return bool(_HL7_TIMES & {type_at(segment, (number,)), type_at(segment, (number, component))})
    names: tuple[str, ...] = registry.load(registry.FORMATS, message_format).FIELDS.get(segment, ())
    return number < len(names) and _ASTM_TIME.fullmatch(names[number]) is not None
