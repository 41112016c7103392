"""Join the lists of reports whose results come in several messages.

A receiver replaces a report as a whole, so a message with one more test of an order would remove the others from its
list. Therefore each report's list is joined, before it is sent, with the results that its destination has had for the
same report. A reference to a result that the receiver never got would make it refuse the document. Where the new
document has other tests only, its reports also keep their earlier documents and conclusions.

Without a patient the id of a report contains its results and their times (`KeyScope.report_alone`), so one id means a
correction of them. Not joined: reports of a channel with `report_list: replace` (its sender repeats the whole report
each time), and reports that the memory of reports has forgotten. A report of a culture (`engine.succession.cultures`)
replaces the one before as a whole: a susceptibility that comes alone is joined with the list of the last whole one.

Other documents of the order may have been sent while a released one waited, perhaps released with it. A final result in
it that changes a final one at its destination goes out as ``amended``, as does each other final report there that lists
it.

The guards of a delivery right before it is sent.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from engine.delivery.before_send import BeforeSend
from engine.features.results.rows import hold_queue, superseding
from engine.features.results.rows.accepted import NEAR_DAYS
from engine.features.results.rows.sent import bundle_of, told
from engine.model.errors import NotComparedError
from engine.model.journal.hashes import neighbours, unpack_reports
from engine.model.journal.records import JOINS, RELEASED
from engine.model.packing import unpack
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.succession.cultures import head_codes, reports_of_cultures
from engine.succession.kinds import FHIR
from engine.succession.statements import (
    Listed,
    Resource,
    amended,
    beside,
    changed_by,
    joined,
    loads,
    text_of,
    written_anew,
)
from engine.succession.steps import CHANGES, RANK

logger = logging.getLogger("labrelay.journal")


@operation(priority=Priority.SETTLE)
def join(batch: Batch, delivery_id: int) -> bytes | None:
    """The document of a delivery with joined lists; None where it goes out as stored.

    Raises:
        IntegrityError, ValueError: it cannot be opened.
    """
    lane_id, message_id, document_id, packed_reports, channel, sealed, media_type, flags = batch.execute(
        "SELECT d.lane, d.message_id, d.document_id, o.reports, j.channel, o.body, o.media_type, d.flags"
        " FROM delivery d JOIN document o ON o.id = d.document_id JOIN journal j ON j.id = d.message_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if media_type != FHIR:
        return None
    mine = told(batch, document_id)
    reports = {one.identity: one.texts for one in mine if one.kind == "DiagnosticReport" and flags & JOINS}
    if not reports and not flags & RELEASED:
        return None
    there = _delivered(batch, lane_id, (message_id, document_id), packed_reports, head_codes(mine))
    for report in reports_of_cultures(mine, there.codes):
        reports.pop(report, None)
    body, packed = batch.vault.open_packed(sealed, "document", document_id, channel)
    del sealed  # of a large document each copy counts
    whole = made = unpack(body) if packed else body
    if flags & RELEASED:
        if changed := changed_by(mine, there.results):
            made = amended(loads(made), changed)
        if others := _other_reports(mine, changed, there):
            entries = [entry for name, status in others.items() for entry in there.written_anew(batch, name, status)]
            made = beside(loads(made), entries)
            reports |= {name: there.reports[name][0].texts for name in others if flags & JOINS}
    if reports:
        known = {one: there.listed(batch, one, texts) for one, texts in reports.items() if one in there.reports}
        made = joined(loads(made), known, reports)
    return None if made == whole else made


def _other_reports(mine: Sequence[Resource], changed: Collection[str], there: "_There") -> dict[str, str]:
    """The final reports of other documents that list a result which this one changes, by id, each with its new status.

    Args:
        changed: names of the results that go out as ``amended``.
    """
    statuses = {
        one.identity: "amended" if one.name in changed else one.status
        for one in mine
        if one.kind == "Observation" and (one.name in changed or one.status in CHANGES)
    }
    own = {one.identity for one in mine}
    found = {}
    for name, (report, _) in there.reports.items() if statuses else ():
        listed = {statuses[result] for result in report.lists if result in statuses}
        if listed and name not in own and RANK.get(report.status, 0) >= RANK["final"]:
            status = "amended" if listed == {"amended"} else "corrected"
            if RANK[status] > RANK[report.status]:
                found[name] = status
    return found


@dataclass(slots=True)
class _There:
    """The state of a destination.

    Attributes:
        codes: of the tests that report isolates, in any of its documents or the new one.
        results: by id, in their last version.
        reports: by id, each in its last version with the document of that version.
        lists: the results that each report lists. texts: field -> the document that has it.
    """

    codes: frozenset[str]
    results: dict[str, Resource] = field(default_factory=dict)
    reports: dict[str, tuple[Resource, int]] = field(default_factory=dict)
    lists: dict[str, dict[str, None]] = field(default_factory=dict)
    texts: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, document_id: int, resources: Sequence[Resource]) -> None:
        """Add the next document that was delivered there."""
        for report in reports_of_cultures(resources, self.codes):
            self.lists[report] = {}
        grows = self.results.keys().isdisjoint(one.identity for one in resources if one.kind == "Observation")
        for one in resources:
            if one.kind == "Observation":
                self.results[one.identity] = one
            elif one.kind == "DiagnosticReport":
                self.reports[one.identity] = one, document_id
                self.lists.setdefault(one.identity, {}).update(dict.fromkeys(one.lists))
                before = self.texts.get(one.identity, {}) if grows and one.said not in CHANGES else {}
                self.texts[one.identity] = before | dict.fromkeys(one.texts, document_id)

    def listed(self, batch: Batch, report: str, own: frozenset[str]) -> Listed:
        """A report, without the texts that the new document has itself (``own``)."""
        return Listed(
            self.reports[report][0].status,
            {result: self.results[result].status for result in self.lists[report] if result in self.results},
            {
                name: text_of(bundle_of(batch, document_id), report, name)
                for name, document_id in self.texts[report].items()
                if name not in own
            },
        )

    def written_anew(self, batch: Batch, report: str, status: str) -> Iterable[str]:
        """The entries that write a report with another status."""
        return written_anew(bundle_of(batch, self.reports[report][1]), {f"DiagnosticReport/{report}": status}).values()


def _delivered(
    batch: Batch, lane_id: int, own: tuple[int, int], packed_reports: bytes, codes: frozenset[str]
) -> _There:
    """The resources that a destination has for the orders of a document whose isolates are reported under ``codes``.

    Args:
        own: its message and its number. Of its message another document may have gone out before it.
    """
    message_id, own_document = own
    documents: set[tuple[int, int]] = set()
    for report in unpack_reports(packed_reports):
        documents.update(
            batch.execute(
                "SELECT d.message_id, d.document_id FROM report r JOIN delivery d ON d.message_id = r.message_id"
                " JOIN document o ON o.id = d.document_id JOIN lane l ON l.id = d.lane JOIN lane m ON m.id = ?"
                " WHERE r.key BETWEEN ? AND ? AND r.patient IN (?, x'') AND (r.message_id <> ? OR (o.id <> ?"
                " AND o.revision = (SELECT revision FROM document WHERE id = ?)))"
                " AND l.destination = m.destination AND d.state = 'delivered'",
                # a correction may be of the day before
                (
                    lane_id,
                    *neighbours(report.key, NEAR_DAYS),
                    report.patient,
                    message_id,
                    own_document,
                    own_document,
                ),
            ).fetchall()
        )
    found: dict[int, Sequence[Resource]] = {}
    for _, document_id in sorted(documents):
        try:
            found[document_id] = told(batch, document_id)
        except NotComparedError as error:
            # Later documents were held because of it and released by a person, or it was damaged since.
            logger.warning(
                "a report goes out without the results of an earlier document, which cannot be read",
                extra={"journal_id": message_id, "earlier": error.message_id},
            )
    there = _There(codes.union(*map(head_codes, found.values())))
    for document_id, resources in found.items():
        there.add(document_id, resources)
    return there


GUARD = BeforeSend(
    overtaken=superseding.overtaken_before_sent,
    close=hold_queue.close_overtaken,
    alike=superseding.have_in_common,
    joined=join,
)
