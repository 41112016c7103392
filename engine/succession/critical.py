"""Whether a document contains a critical value, which a person must learn of at once. Pure.

The sender's flag decides: HL7 table 0078 (FHIR R4, ObservationInterpretation) ``HH``, ``LL``, ``AA``. Values are not
judged here. A result that is withdrawn is none, nor is that of a control, which only a message that passes through
unchanged still has; its channel may list the numbers of controls. OBX-11 ``X`` is no withdrawal here: a mapping writes
it where a measurement failed, too.
"""

from collections.abc import Sequence

from engine.model.content.order_results import rows_of
from engine.model.content.quality_controls import is_control_number
from engine.model.content.results import WITHDRAWN, results_of
from engine.model.errors import UnreadableResultsError
from engine.model.message import Delimiters, Document, Group, Parsed, Segment
from engine.model.packing import unpack

CRITICAL = frozenset({"HH", "LL", "AA"})
_IN_JSON = tuple(f'"{flag}"'.encode() for flag in sorted(CRITICAL))
_FLAGS, _STATUS = 8, 11  # of OBX
_WITHDRAWN = (b"D", b"W")


def is_critical(document: Document, controls: Sequence[str] = ()) -> bool:
    """Whether one of its results has such a flag; not, where it cannot be read.

    Args:
        controls: patterns of numbers of controls.
    """
    try:
        body = unpack(document.body) if document.packed else document.body
        return tells_critical(body, controls)
    except ValueError:
        return False


def tells_critical(body: bytes, controls: Sequence[str] = ()) -> bool:
    """As `is_critical`, of a document as it is sent."""
    if body.startswith(b"MSH"):
        lines = body.split(b"\r")
        flagged = {at for at, line in enumerate(lines) if line.startswith(b"OBX") and _has_flag(line)}
        return bool(flagged) and not flagged <= _of_controls(lines, controls)
    if not any(flag in body for flag in _IN_JSON):
        return False
    try:
        return any(
            not CRITICAL.isdisjoint(result.flags) and result.status not in WITHDRAWN for result in results_of(body)
        )
    except UnreadableResultsError:
        return False


def _of_controls(lines: Sequence[bytes], listed: Sequence[str]) -> set[int]:
    """Which lines are results of a control, a calibrator or a pool."""
    told = [line.decode("latin-1").split("|") for line in lines]
    segments = [Segment(fields[0], fields, at, 0) for at, fields in enumerate(told)]
    parsed = Parsed(
        format="hl7v2", structure="", message_type="", delimiters=Delimiters(), root=Group(""), segments=segments
    )
    return {row.result.position for row in rows_of(parsed) if row.control or is_control_number(row.specimen, listed)}


def _has_flag(line: bytes) -> bool:
    """Whether an OBX segment has such a flag; a mapping writes it with the usual delimiters."""
    fields = line.split(b"|")
    if len(fields) > _STATUS and fields[_STATUS] in _WITHDRAWN:
        return False
    said = fields[_FLAGS].split(b"~") if len(fields) > _FLAGS else []
    return any(one.partition(b"^")[0].decode("ascii", "replace") in CRITICAL for one in said)
