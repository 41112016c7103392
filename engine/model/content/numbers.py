"""Texts that are no number where one should be: of a person, a tube, an order. Pure.

    placeholder  words, signs, crosses, one digit repeated: typed for people who have no number, or whose number is not
                 known. Taken as numbers, they would join all these people into one patient
    name         two words or more without a digit of any script: other people have it, too
    zeros        of a tube, in any script, or signs alone: nothing was keyed or read. A site adds texts of its own
                 (`no_specimen_ids`)

A site also names fields that never hold a number (`not_numbers`): the lot of a cartridge in SPM-2, a test in OBR-2.
"""

import re
import unicodedata
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from engine.model.content.quality_controls import is_control_number, listed
from engine.model.message import Parsed, Segment

PLACES = {"PID": (2, 3, 4), "OBR": (2, 3), "ORC": (2, 3), "SPM": (2, 30), "SAC": (3, 4), "P": (3, 4, 5), "O": (3, 4)}
"""Fields that a site may say are no numbers."""
_TUBES = {name: PLACES[name] for name in ("OBR", "ORC", "SPM", "SAC")}
SPANS = tuple((name, slice(first, last + 1, last - first)) for name, (first, last) in _TUBES.items())
"""Segments with numbers of tubes and orders, and the fields of these."""
# Nearly each number begins with one of these signs, and has no blank and no component.
_UNUSUAL = re.compile(r"^[^1-9A-Za-z\n]|[^\S\n]|\^", re.MULTILINE).search
_HAS_NUMBER = re.compile(r"[1-9A-Za-z]").search
RESULTS = ("ORU", "OUL")  # structures of HL7 v2
_ABSENT = "\ud800"  # replaces a delimiter that a message does not have

# Compared without what is no letter or digit: N.A., n/a and (NA) are one word. Only whole ones: TEMP00123 is a number.
WORDS = frozenset(
    (
        *("UNKNOWN", "UNKNOW", "UNK", "UNKNOWNPATIENT", "NOTKNOWN", "UNIDENTIFIED", "ANONYMOUS"),
        *("NA", "NONE", "NULL", "NIL", "NO", "NOID", "NONUMBER", "NOTAVAILABLE", "NOTAPPLICABLE"),
        *("TEMP", "TEST", "DEMO", "DUMMY", "OPD", "IPD", "CASUALTY", "EMERGENCY", "STAT", "WALKIN", "PATIENT"),
    )
)
_REPEATED_DIGIT = re.compile(r"([0-9])\1{2,}|0+", re.ASCII)
_CROSSES = re.compile(r"X+")


def says_nothing(text: str) -> bool:
    """Whether a text has no letter and no digit, in any script: such a text is never a number."""
    return not any(map(str.isalnum, text))


def stands_for_none(text: str, words: Container[str] = WORDS) -> bool:
    """Whether a text says that there is no number: one of the words, crosses, zeros, one digit three times or more."""
    bare = (text if text.isalnum() else "".join(filter(str.isalnum, text))).upper()
    if bare in words or not bare:
        return True
    if bare[0] != bare[-1]:  # more than one sign
        return False
    return _CROSSES.fullmatch(bare) is not None or _is_digit(text.strip())


def _is_digit(text: str) -> bool:
    return _REPEATED_DIGIT.fullmatch(text) is not None


def is_listed(text: str, listed: Iterable[object]) -> bool:
    """As `stands_for_none`, by a channel's own list (`no_patient_ids`) in any case; ``0`` is any number of zeros."""
    texts = {str(entry).upper() for entry in listed}
    return says_nothing(text) or text.upper() in texts or ("0" in texts and not text.strip("0"))


def is_name(words: Sequence[str]) -> bool:
    """Whether texts in the place of a number, its components, are two words or more without a digit of any script."""
    return len(" ".join(words).split()) > 1 and not any(map(has_digit, words))


def has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def may_last(text: str) -> bool:
    """Whether a patient number may be one person's for good: it has a digit, or is an address (``name@abdm``)."""
    return has_digit(text) or "@" in text


def is_tube(text: str, settings: Mapping[str, Any]) -> bool:
    """Whether a text is the number of a tube or an order, or that of a control. A name is none, nor are zeros and signs
    alone."""
    none = listed(settings, "no_specimen_ids") if "no_specimen_ids" in settings else ()
    if (
        (_HAS_NUMBER(text) or not _is_zero(text))
        and not (none and text.upper() in map(str.upper, none))
        and (text.isalnum() or not is_name((text,)))
    ):
        return True
    return is_control_number(text, listed(settings, "control_numbers"))


def _is_zero(text: str) -> bool:
    """Whether no sign of a text is a letter or a digit but zero, in any script."""
    return all(unicodedata.digit(sign, 1) == 0 for sign in text if sign.isalnum())


def clear(parsed: Parsed, settings: Mapping[str, Any]) -> None:
    """Empty the fields of a message that a site says are no numbers, and in results over HL7 v2 those of tubes and
    orders that have none."""
    for place in listed(settings, "not_numbers"):
        name, _, number = place.partition("-")
        for segment in parsed.names.get(name, []):
            if segment.get(int(number)):
                segment.fields[int(number)] = ""
                if name in _TUBES:
                    parsed.cleared = parsed.cleared or {}
    if not parsed.structure.startswith(RESULTS):  # the numbers of orders are their sender's own
        return
    texts = [text for name, span in SPANS for tube in parsed.names.get(name, []) for text in tube.fields[span]]
    if parsed.delimiters.component == "^" and not settings.get("no_specimen_ids") and not is_any_unusual(texts):
        return
    for segment in parsed.segments:
        for at in _TUBES.get(segment.name, ()):
            if segment.get(at):
                _clear_tube(parsed, settings, segment, at)


def is_any_unusual(texts: list[str]) -> bool:
    """Whether one of these may be no number, by its signs."""
    together = "".join(texts)
    if together.isascii() and together.isalnum() and "0" not in [text[:1] for text in texts]:
        return False
    return _UNUSUAL("\n".join(texts)) is not None


def _clear_tube(parsed: Parsed, settings: Mapping[str, Any], segment: Segment, at: int) -> None:
    component, inner = (sign or _ABSENT for sign in (parsed.delimiters.component, parsed.delimiters.subcomponent))
    parts = segment.fields[at].split(component)
    for which, part in enumerate(parts[: 2 if segment.name == "SPM" else 1]):
        if (text := part.partition(inner)[0].strip()) not in ("", '""') and not is_tube(text, settings):
            parts[which] = ""
            segment.fields[at] = component.join(parts)
            names = parsed.cleared or {}
            if is_name((text,)):
                names = {**names, segment.position: [*names.get(segment.position, ()), text]}
            parsed.cleared = names
