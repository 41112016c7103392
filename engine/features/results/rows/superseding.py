"""Keep older results from replacing newer ones that were delivered (P3).

A lane keeps its order, so this concerns retries, replays, and routes without order. Two messages carry the same report
(channel, order or specimen number, day, patient). The older one is not sent where newer messages had all of its results
delivered. Where they had some of them, or where it is unknown, a person decides: sending it would undo newer results,
and closing it would lose the others (one test of a panel is run again, and that result comes first). Where the two have
no result in common it is sent: analyzers send the tests of one specimen in several sessions, and a late one is no older
version, although the same report lists them. One exception: where it would set the report back (from final to
preliminary, say), a person decides, too.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from engine.features.results.rows.sent import told
from engine.model.content.results import conditional_updates, report_statuses, told_in
from engine.model.errors import IntegrityError, StoreError
from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import JOINS, RELEASED
from engine.model.message import Report
from engine.store.core.rows import Rows, body_of
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import search_index
from engine.store.operations.dedup import REPORT_MEMORY_US
from engine.succession import hl7_statements
from engine.succession.kinds import opened
from engine.succession.list_statements import LISTS
from engine.succession.statements import Resource
from engine.succession.steps import WITHDRAWN

# The resources that a transaction Bundle writes under our own ids and that say something about a result, by type.
_WRITES = re.compile(rb'"url":"((?:Observation|DiagnosticReport)/[0-9A-Za-z.-]+)"')
_RESULT = b"Observation/"
# Progress of a report, by DiagnosticReport.status and OBR-25 (table 0123); any other code means that it has just begun.
_WITHDRAWN = 5
_STAGE = {
    "partial": 1, "A": 1, "R": 1,
    "preliminary": 2, "M": 2, "P": 2,
    "final": 3, "F": 3,
    "amended": 4, "appended": 4, "corrected": 4, "C": 4,
    "cancelled": _WITHDRAWN, "entered-in-error": _WITHDRAWN, "X": _WITHDRAWN,
}  # fmt: skip
_NAMED = 5  # messages, where the text lists those that have overtaken one
_SLACK_US = 86_400_000_000  # clocks are corrected, and old reports are forgotten in steps


Overtaken = Literal["", "part", "whole"]


@operation(priority=Priority.SETTLE)
def overtaken_before_sent(batch: Batch, delivery_id: int) -> Overtaken:
    """How much of a delivery that is about to be sent was delivered in its lane by documents of newer messages for the
    same reports. ``whole``: it is an older version and nothing else. ``part``: a person has to decide; that includes
    newer documents that have none of its results but set the same report further.

    A report of another patient under the same number, which a person has accepted, is another report. A released
    delivery is checked more strictly: see `overtaken`. A document that the destination already has, sent again by a
    person, can lose nothing: with one result in common it is an older version.
    """
    lane_id, message_id, document_id, packed, flags, media_type, had = _delivery(
        batch,
        delivery_id,
        ", d.flags, o.media_type, EXISTS (SELECT 1 FROM delivery e WHERE e.message_id = d.message_id"
        " AND e.lane = d.lane AND e.document_id = d.document_id AND e.state = 'delivered')",
    )
    if flags & RELEASED:
        return overtaken(batch, delivery_id)
    newer = list(_newer(batch, lane_id, message_id, unpack_reports(packed)))
    if not newer:
        return ""
    mine = _told(batch, document_id)
    if mine is None and not had:
        return "part"
    if mine is None and media_type in LISTS:  # no form is at hand, and newer messages go along with a resent one
        return ""
    if had and media_type == hl7_statements.MEDIA_TYPE:
        others = (_told(batch, other) for other in newer)
        return "whole" if any(theirs is None or not theirs.isdisjoint(mine or ()) for theirs in others) else ""
    if had or not mine:  # or it has no results, as a document that only updates a patient
        written = written_in(batch, document_id)
        return "whole" if any(_have_in_common(written, written_in(batch, other)) for other in newer) else ""
    theirs = [_told(batch, other_id) for other_id in newer]
    if mine <= frozenset[ReportedResult]().union(*(told for told in theirs if told)):
        return "whole"
    if not _are_unlike(mine, theirs):
        return "part"
    if flags & JOINS and any(one.kind == "DiagnosticReport" for one in told(batch, document_id)):
        return ""  # `engine.features.results.rows.report_lists` keeps what the receiver has of the report
    stages = _stages(batch, document_id)
    return "part" if any(_takes_back(stages, _stages(batch, other_id)) for other_id in newer) else ""


@operation(priority=Priority.SETTLE)
def have_in_common(batch: Batch, delivery_id: int, others: Iterable[int]) -> bool:
    """Whether a delivery has results in common with one of ``others``, as far as a receiver could mistake the one for
    the other; True also where that is unknown.
    """
    asked = "SELECT document_id FROM delivery WHERE id = ? AND (id = ? OR state IN ('waiting', 'sending'))"
    rows = [batch.execute(asked, (one, delivery_id)).fetchone() for one in (delivery_id, *others)]
    mine, *theirs = (
        _told(batch, row[0]) for row in rows if row is not None
    )  # skip deliveries that were closed meanwhile
    return bool(theirs) and not (mine and _are_unlike(mine, theirs))


def _are_unlike(mine: frozenset["ReportedResult"], others: Iterable[frozenset["ReportedResult"] | None]) -> bool:
    """Whether each of ``others`` has results, and none of a test that ``mine`` has."""
    tests = {one.test for one in mine}
    return all(told and tests.isdisjoint(one.test for one in told) for told in others)


def _takes_back(mine: dict[str, int], theirs: dict[str, int]) -> bool:
    """Whether a newer document has our report at a later status, or ours withdraws it and the newer does not."""
    return any(
        stage > mine[report] or mine[report] == _WITHDRAWN != stage
        for report, stage in theirs.items()
        if report in mine
    )


def overtaken(rows: Rows, delivery_id: int) -> Overtaken:
    """How much of a held delivery was delivered in its lane by newer messages of the same reports.

    While it was held, others were delivered. ``whole``: each of its results came in a newer document, so it is only an
    older version. ``part``: some did, or it would replace resources that a newer message has updated; sending it would
    undo these, and closing it would lose the others. Tests of the same order from another session are no version of its
    results, even if they share a report: they take nothing from it, and a person has seen that report.

    A newer message that withdraws one of its results and is held itself takes ``part``: a person decides about that
    one first.
    """
    found = _overtaken(rows, delivery_id)
    return found or ("part" if any(True for _ in _held_withdrawals(rows, delivery_id)) else "")


def _overtaken(rows: Rows, delivery_id: int) -> Overtaken:
    lane_id, message_id, document_id, packed = _delivery(rows, delivery_id)
    newer = list(_newer(rows, lane_id, message_id, unpack_reports(packed)))
    if not newer:
        return ""
    try:
        body = body_of(rows, document_id)
        mine, updates = _told_by(body), conditional_updates(body)
        theirs: set[ReportedResult] = set()
        for other in (body_of(rows, other_id) for other_id in newer):
            theirs |= _told_by(other)
            if not updates.isdisjoint(conditional_updates(other)):
                return "part"
    except (IntegrityError, ValueError):  # unknown
        return "part"
    if not mine:  # unknown here, too
        return "part"
    if mine <= theirs:
        return "whole"
    return "part" if {one.test for one in mine} & {one.test for one in theirs} else ""


class NewerMessage(NamedTuple):
    """A newer message that was delivered before an older one.

    Attributes:
        in_common: keys of the results of the older one that it has, too; None where these are unknown.
        report: whether it has set a report further that the older one would set back.
    """

    message_id: int
    in_common: frozenset[str] | None = frozenset()
    report: bool = False


def overtaken_by(rows: Rows, delivery_id: int) -> list[NewerMessage]:
    """The newer messages that keep a delivery from being sent; where none of them does, all newer ones."""
    lane_id, message_id, document_id, packed = _delivery(rows, delivery_id)
    mine = _told(rows, document_id)
    found: dict[int, NewerMessage] = {}
    newer = _newer(rows, lane_id, message_id, unpack_reports(packed))
    for other_id in dict.fromkeys([*newer, *_held_withdrawals(rows, delivery_id)]):
        (number,) = rows.execute("SELECT message_id FROM document WHERE id = ?", (other_id,)).fetchone()
        theirs = _told(rows, other_id)
        if not mine or not theirs:
            found[number] = NewerMessage(number, None)
            continue
        common = {one.test for one in mine} & {one.test for one in theirs}
        report = not common and _takes_back(_stages(rows, document_id), _stages(rows, other_id))
        found[number] = NewerMessage(number, frozenset(common), report)
    return [one for one in found.values() if one.in_common or one.in_common is None or one.report] or [*found.values()]


def in_words(newer: list[NewerMessage]) -> str:
    """The reason why a delivery is not sent, as text. It names no patient."""
    if not newer:  # forgotten between the look and this
        return "overtaken by newer messages"
    numbers = [str(one.message_id) for one in newer[:_NAMED]]
    if len(newer) > _NAMED:
        numbers.append(f"{len(newer) - _NAMED} more")
    *first, last = numbers
    text = f"overtaken by message{'s' * bool(first)} {', '.join(first)}{' and ' * bool(first)}{last}"
    return f"{text} (the report, not its results)" if all(one.report for one in newer) else text


def _delivery(rows: Rows, delivery_id: int, more: str = "") -> tuple[Any, ...]:
    """Its lane, message and document, the reports of that, and ``more`` columns.

    Raises:
        StoreError: no delivery has that number.
    """
    row: tuple[Any, ...] | None = rows.execute(
        f"SELECT d.lane, d.message_id, d.document_id, o.reports{more} FROM delivery d"  # noqa: S608 - constants
        " JOIN document o ON o.id = d.document_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    return row


def newer_delivered(
    rows: Rows,
    lane_id: int,
    message_id: int,
    reports: Iterable[Report],
    written: Callable[[], frozenset[bytes]],
) -> bool:
    """Whether a newer message's document for one of ``reports`` was delivered in a lane, and writes the same results.

    Args:
        written: returns what the document at hand writes; called only when needed.
    """
    mine: frozenset[bytes] | None = None
    for other_id in _newer(rows, lane_id, message_id, reports):
        if mine is None:
            mine = written()
        theirs = written_in(rows, other_id)
        if _have_in_common(mine, theirs):
            return True
    return False


def _have_in_common(mine: frozenset[bytes], theirs: frozenset[bytes]) -> bool:
    """Whether two documents write the same results. For a document without results its reports are compared; a document
    with unknown content counts as the same.
    """
    results = [{one for one in written if one.startswith(_RESULT)} for written in (mine, theirs)]
    if all(results):
        return not results[0].isdisjoint(results[1])
    return not mine or not theirs or not mine.isdisjoint(theirs)


def _held_withdrawals(rows: Rows, delivery_id: int) -> Iterator[int]:
    """Documents of newer messages that are held in the lane of a delivery, and withdraw one of its results: of the same
    person, and of the same time unless the withdrawal names none."""
    lane_id, message_id, document_id, packed = _delivery(rows, delivery_id)
    held = list(_newer(rows, lane_id, message_id, unpack_reports(packed), state="held"))
    mine = {one.name: one for one in _resources(rows, document_id)} if held else {}
    for other_id in held:
        gone = (one for one in _resources(rows, other_id) if one.said == WITHDRAWN and one.name in mine)
        if any(one.subject == mine[one.name].subject and one.time in ("", mine[one.name].time) for one in gone):
            yield other_id


def _resources(rows: Rows, document_id: int) -> Sequence[Resource]:
    """The results in a document; none where it cannot be read, or has no status of them."""
    (media_type,) = rows.execute("SELECT media_type FROM document WHERE id = ?", (document_id,)).fetchone()
    try:
        found = opened(body_of(rows, document_id), media_type, None)
    except (IntegrityError, ValueError):
        return ()
    return () if found is None else [one for one in found.resources if one.kind == "Observation"]


def _newer(
    rows: Rows, lane_id: int, message_id: int, reports: Iterable[Report], *, state: str = "delivered"
) -> Iterator[int]:
    """Documents of newer messages for one of ``reports`` that were delivered in a lane, or are held there.

    The memory of reports is short. An older message is also looked up by its numbers, which are kept as long as
    messages are: a person may send it again after years, and its correction is still newer.
    """
    reports = list(reports)
    own = age(rows, message_id)
    # An edited message has the age of its original, but bears numbers that may have been wrong there.
    look = reports and is_forgotten(rows, own[0])
    by_number = search_index.newer(rows.execute, message_id, than=own[0]) if look else set[int]()
    for report in reports:
        named = rows.execute(
            "SELECT message_id FROM report WHERE key = ? AND message_id > ?", (report.key, own[0])
        ).fetchall()
        whose = report.key, report.patient  # a person's name may have been corrected since
        for other_message in sorted(({one for (one,) in named} | by_number) - {message_id}):
            for other_id, others in rows.execute(
                "SELECT d.document_id, o.reports FROM delivery d JOIN document o ON o.id = d.document_id"
                " WHERE d.message_id = ? AND d.lane = ? AND d.state = ?",
                (other_message, lane_id, state),
            ).fetchall():
                same = any(whose == (other.key, other.patient) for other in unpack_reports(others))
                if same and age(rows, other_message) > own:
                    yield other_id


def is_forgotten(rows: Rows, message_id: int) -> bool:
    """Whether reports of messages after this one may have been forgotten. Sending it again has just written a row, so
    the newest row gives the current time.
    """
    row = rows.execute(
        "SELECT received_us, (SELECT received_us FROM journal ORDER BY id DESC LIMIT 1) FROM journal WHERE id = ?",
        (message_id,),
    ).fetchone()
    return row is not None and bool(row[1] - row[0] >= REPORT_MEMORY_US - _SLACK_US)


def age(rows: Rows, message_id: int) -> tuple[int, int]:
    """The sort key of messages by age: an edited message has the age of its original and comes after it."""
    first = message_id
    while (row := rows.execute("SELECT original FROM edited WHERE message_id = ?", (first,)).fetchone()) is not None:
        first = row[0]
    return first, message_id


class ReportedResult(NamedTuple):
    """A result in a document.

    Attributes:
        test: the key by which the results of two documents are the same, as far as a receiver can see.
        within: the order of the result; an HL7 message may have several.
    """

    test: str
    within: str = ""


def _told(rows: Rows, document_id: int) -> frozenset[ReportedResult] | None:
    """The results in a document; None where they cannot be read."""
    try:
        return _told_by(body_of(rows, document_id))
    except (IntegrityError, ValueError):
        return None


def _told_by(body: bytes) -> frozenset[ReportedResult]:
    """The results in these bytes. Raises ValueError: they cannot be read."""
    return _told_in_message(body) if body.startswith(b"MSH") else frozenset(map(ReportedResult, told_in(body)))


def _told_in_message(body: bytes) -> frozenset[ReportedResult]:
    """The results of an HL7 v2 message that our mapping wrote: its OBX segments by their code and sub-id, each within
    its order (OBR-2, OBR-3). A test is its code (OBX-3.1)."""
    field, component = body[3:4], body[4:5]
    found, order = set(), b""
    for segment in body.split(b"\r"):
        name, *fields = segment.split(field)
        if name == b"OBR":
            order = field.join(fields[1:3])
        elif name == b"OBX" and len(fields) > 2:
            sub_id = fields[3] if len(fields) > 3 else b""
            code = fields[2].split(component)[0]
            found.add(ReportedResult(code.decode("latin-1"), field.join((order, fields[2], sub_id)).decode("latin-1")))
    return frozenset(found)


def _stages(rows: Rows, document_id: int) -> dict[str, int]:
    """The progress of each report in a document that can be read."""
    body = body_of(rows, document_id)
    statuses = _order_statuses(body) if body.startswith(b"MSH") else report_statuses(body)
    stages: dict[str, int] = {}
    for report, status in statuses:
        stages[report] = max(_STAGE.get(status, 0), stages.get(report, 0))
    return stages


def _order_statuses(body: bytes) -> Iterator[tuple[str, str]]:
    """The orders of an HL7 v2 message by number and code (OBR-2, OBR-3, OBR-4.1), each with its status (OBR-25)."""
    field, component = body[3:4], body[4:5]
    for segment in body.split(b"\r"):
        name, *fields = segment.split(field)
        if name == b"OBR":
            numbers, code, status = fields[1:3], fields[3:4], fields[24:25]
            order = field.join((*numbers, *(one.split(component)[0] for one in code)))
            yield order.decode("latin-1"), b"".join(status).decode("latin-1")


def results_written(body: bytes) -> frozenset[bytes]:
    """The results and reports that a document writes; empty where the document does not show them."""
    return frozenset(_WRITES.findall(body))


def written_in(rows: Rows, document_id: int) -> frozenset[bytes]:
    """The results and reports that a stored document writes; empty where it does not show them or cannot be opened."""
    try:
        return results_written(body_of(rows, document_id))
    except (IntegrityError, ValueError):
        return frozenset()
