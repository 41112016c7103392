"""Reports whose results come in several messages list all of them.

A receiver replaces a report as a whole, so a message with one more test of an order would take the others out of its
list. So before such a document is sent, the list of each of its reports is joined with what its destination has had of
the same report: a reference to what the receiver never got would make it refuse the document.

Without a patient the id of a report holds its results and their times (`Making.report_alone`), so that one id means a
correction of them. Not joined: a report that was first seen more than a week ago, and any where the channel says
`report_list: replace` (its sender repeats the whole report each time).
"""

from engine.batch import Batch
from engine.hashes import unpack_reports
from engine.packing import unpack
from engine.settling import told
from engine.told import Listed, joined, loads

JOINED_FOR_US = 7 * 86_400_000_000


def join(batch: Batch, delivery_id: int) -> bytes | None:
    """The document of a delivery with joined lists; None where it goes out as it is stored.

    Raises:
        IntegrityError, ValueError: it cannot be opened.
    """
    lane_id, message_id, document_id, packed_reports, channel, received_us, sealed = batch.execute(
        "SELECT d.lane, d.message_id, d.document_id, o.reports, j.channel, j.received_us, o.body FROM delivery d"
        " JOIN document o ON o.id = d.document_id JOIN journal j ON j.id = d.message_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    reports = {one.identity for one in told(batch, document_id) if one.kind == "DiagnosticReport"}
    if not reports:
        return None
    there = _delivered(batch, lane_id, message_id, packed_reports, received_us, reports)
    body, packed = batch.vault.open_packed(sealed, "document", document_id, channel)
    whole = unpack(body) if packed else body
    made = joined(loads(whole), there)
    return None if made == whole else made


def _delivered(
    batch: Batch, lane_id: int, message_id: int, packed_reports: bytes, received_us: int, wanted: set[str]
) -> dict[str, Listed]:
    """What the destination has had of reports: by id, the status that it had last and the results that it lists."""
    messages: set[int] = set()
    for report in unpack_reports(packed_reports):
        messages |= {
            row[0]
            for row in batch.execute(
                "SELECT r.message_id FROM report r JOIN journal j ON j.id = r.message_id WHERE r.key = ?"
                " AND r.patient = ? AND r.message_id <> ? AND j.received_us >= ?",
                (report.key, report.patient, message_id, received_us - JOINED_FOR_US),
            ).fetchall()
        }
    found: dict[str, Listed] = {}
    results: dict[str, str] = {}
    for other in sorted(messages):
        for (document_id,) in batch.execute(
            "SELECT DISTINCT d.document_id FROM delivery d JOIN lane l ON l.id = d.lane JOIN lane m ON m.id = ?"
            " WHERE d.message_id = ? AND l.destination = m.destination AND d.state = 'delivered'"
            " ORDER BY d.document_id",
            (lane_id, other),
        ).fetchall():
            resources = told(batch, document_id)
            results |= {one.identity: one.status for one in resources if one.kind == "Observation"}
            for one in resources:
                if one.kind == "DiagnosticReport" and one.identity in wanted:
                    before = found.get(one.identity)
                    listed = dict.fromkeys((*(before.results if before else ()), *one.lists), "")
                    found[one.identity] = Listed(one.status, listed)
    return {
        report: Listed(one.status, {result: results[result] for result in one.results if result in results})
        for report, one in found.items()
    }
