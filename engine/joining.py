"""Reports whose results come in several messages list all of them.

A receiver replaces a report as a whole, so a message with one more test of an order would take the others out of its
list. So before such a document is sent, the list of each of its reports is joined with what its destination has had of
the same report: a reference to what the receiver never got would make it refuse the document. Where it tells other
tests alone, its reports keep their documents and conclusions, too.

Without a patient the id of a report holds its results and their times (`KeyScope.report_alone`), so that one id means a
correction of them. Not joined: any where the channel says `report_list: replace` (its sender repeats the whole report
each time), reports of cultures (`engine.cultures`), and what the memory of reports has forgotten.

A document that a person has released waited while others of its order went out, perhaps of the same act. A final result
of it that changes a final one which its destination has had goes out as ``amended``.
"""

import logging
from collections.abc import Mapping

from engine.accepted import NEAR_DAYS, NotComparedError, bundle_of, told
from engine.batch import Batch
from engine.cultures import reports_of_cultures
from engine.hashes import neighbours, unpack_reports
from engine.kinds import FHIR
from engine.packing import unpack
from engine.records import JOINS, RELEASED
from engine.succession import CHANGES
from engine.told import Listed, Resource, amended, changed_by, joined, loads, text_of

logger = logging.getLogger("labrelay." + __name__)


def join(batch: Batch, delivery_id: int) -> bytes | None:
    """The document of a delivery with joined lists; None where it goes out as it is stored.

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
    cultures = reports_of_cultures(mine)
    reports = {one.identity: one.texts for one in mine if one.kind == "DiagnosticReport" and flags & JOINS}
    reports = {report: texts for report, texts in reports.items() if report not in cultures}
    if not reports and not flags & RELEASED:
        return None
    there, results = _delivered(batch, lane_id, message_id, packed_reports, reports)
    body, packed = batch.vault.open_packed(sealed, "document", document_id, channel)
    whole = made = unpack(body) if packed else body
    if flags & RELEASED and (changed := changed_by(mine, results)):
        made = amended(loads(made), changed)
    if reports:
        made = joined(loads(made), there, reports)
    return None if made == whole else made


def _delivered(
    batch: Batch, lane_id: int, message_id: int, packed_reports: bytes, wanted: Mapping[str, frozenset[str]]
) -> tuple[dict[str, Listed], dict[str, Resource]]:
    """What the destination has had: of reports by id the status that it had last, the results that it lists and its
    texts, and results by id as it had them last.

    Args:
        wanted: id of a report -> the names of the texts that the new document has itself.
    """
    documents: set[tuple[int, int]] = set()
    for report in unpack_reports(packed_reports):
        documents.update(
            batch.execute(
                "SELECT d.message_id, d.document_id FROM report r JOIN delivery d ON d.message_id = r.message_id"
                " JOIN lane l ON l.id = d.lane JOIN lane m ON m.id = ? WHERE r.key BETWEEN ? AND ? AND r.patient = ?"
                " AND r.message_id <> ? AND l.destination = m.destination AND d.state = 'delivered'",
                # a correction may be of the day before
                (lane_id, *neighbours(report.key, NEAR_DAYS), report.patient, message_id),
            ).fetchall()
        )
    statuses: dict[str, str] = {}
    lists: dict[str, dict[str, None]] = {}
    texts: dict[str, dict[str, int]] = {}  # of a report: field -> the document that has it
    results: dict[str, Resource] = {}
    for _, document_id in sorted(documents):
        try:
            resources = told(batch, document_id)
        except NotComparedError as error:
            # What came after it was held for that, and a person has let it go; or it was damaged since.
            logger.warning(
                "a report goes out without the results of an earlier document, which cannot be read",
                extra={"journal_id": message_id, "earlier": error.message_id},
            )
            continue
        grows = results.keys().isdisjoint(one.identity for one in resources if one.kind == "Observation")
        for one in resources:
            if one.kind == "Observation":
                results[one.identity] = one
            elif one.kind == "DiagnosticReport" and one.identity in wanted:
                statuses[one.identity] = one.status
                lists.setdefault(one.identity, {}).update(dict.fromkeys(one.lists))
                before = texts.get(one.identity, {}) if grows and one.said not in CHANGES else {}
                texts[one.identity] = before | dict.fromkeys(one.texts, document_id)
    listed = {
        report: Listed(
            status,
            {result: results[result].status for result in lists[report] if result in results},
            {
                field: text_of(bundle_of(batch, document_id), report, field)
                for field, document_id in texts[report].items()
                if field not in wanted[report]
            },
        )
        for report, status in statuses.items()
    }
    return listed, results
