"""Whether a document contains a critical value, which a person must learn of at once. Pure.

The sender's flag decides: HL7 table 0078 (FHIR R4, ObservationInterpretation) ``HH``, ``LL``, ``AA``. Values are not
judged here.
"""

from engine.model.errors import UnreadableResultsError
from engine.model.message import Document
from engine.model.packing import unpack
from engine.model.results import results_of

CRITICAL = frozenset({"HH", "LL", "AA"})
_IN_JSON = tuple(f'"{flag}"'.encode() for flag in sorted(CRITICAL))
_FLAGS = 8  # OBX-8


def is_critical(document: Document) -> bool:
    """Whether one of its results has such a flag; not, where it cannot be read."""
    try:
        body = unpack(document.body) if document.packed else document.body
        return tells_critical(body)
    except ValueError:
        return False


def tells_critical(body: bytes) -> bool:
    """As `is_critical`, of a document as it is sent."""
    if body.startswith(b"MSH"):
        return any(_flags_of(line) for line in body.split(b"\r") if line.startswith(b"OBX"))
    if not any(flag in body for flag in _IN_JSON):
        return False
    try:
        return any(not CRITICAL.isdisjoint(result.flags) for result in results_of(body))
    except UnreadableResultsError:
        return False


def _flags_of(line: bytes) -> bool:
    """Whether an OBX segment has such a flag; a mapping writes it with the usual delimiters."""
    fields = line.split(b"|")
    said = fields[_FLAGS].split(b"~") if len(fields) > _FLAGS else []
    return any(one.partition(b"^")[0].decode("ascii", "replace") in CRITICAL for one in said)
