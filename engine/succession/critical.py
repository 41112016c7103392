"""Critical values, which a person must learn of at once. Pure.

The sender's flag decides: HL7 table 0078 (FHIR R4, ObservationInterpretation) ``HH``, ``LL``, ``AA``. Values are not
judged here. It is read from the facts of a message, whatever goes out of it. A result that is withdrawn is none, nor
is that of a control, a calibrator, a blank or a pool, an answer at order entry, or what the code table leaves out.

A message that no reader takes (JSON; of HL7 v2 all but results) shows it by the documents that are made of it.
"""

from engine.model.content.facts import ANSWER, LEFT_OUT, Result
from engine.model.content.results import WITHDRAWN, results_of
from engine.model.errors import UnreadableResultsError
from engine.model.message import Document
from engine.model.packing import unpack

CRITICAL = frozenset({"HH", "LL", "AA"})
_IN_JSON = tuple(f'"{flag}"'.encode() for flag in sorted(CRITICAL))
_FLAGS, _STATUS = 8, 11  # of OBX
_WITHDRAWN = (b"D", b"W")


def is_critical(result: Result) -> bool:
    """Whether it has such a flag, and is not withdrawn."""
    measure, beside = result.measure, result.value.flags
    is_flagged = not CRITICAL.isdisjoint(measure.meant or ()) or (
        bool(beside) and not CRITICAL.isdisjoint(beside or ())
    )
    return is_flagged and measure.state not in WITHDRAWN and result.kind not in (ANSWER, LEFT_OUT)


# -- documents ---------------------------------------------------------------------------------------------------------


def tells_critical(document: Document) -> bool:
    """Whether a result in it has such a flag; not, where it cannot be read."""
    try:
        body = unpack(document.body) if document.packed else document.body
        if body.startswith(b"MSH"):
            return any(line.startswith(b"OBX") and _has_flag(line) for line in body.split(b"\r"))
        return any(flag in body for flag in _IN_JSON) and any(
            not CRITICAL.isdisjoint(result.flags) and result.status not in WITHDRAWN for result in results_of(body)
        )
    except (ValueError, UnreadableResultsError):
        return False


def _has_flag(line: bytes) -> bool:
    """Whether an OBX segment has such a flag; a mapping writes it with the usual delimiters."""
    fields = line.split(b"|")
    if len(fields) > _STATUS and fields[_STATUS] in _WITHDRAWN:
        return False
    said = fields[_FLAGS].split(b"~") if len(fields) > _FLAGS else []
    return any(one.partition(b"^")[0].decode("ascii", "replace") in CRITICAL for one in said)
