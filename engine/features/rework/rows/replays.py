"""Read how far a replay would reach."""

from collections.abc import Collection, Sequence

from engine.model.journal.hashes import unpack_reports
from engine.store.queries.reader import Reader

AT_ONCE = 500  # messages of one query


def extent_of(
    reader: Reader, messages: Sequence[int], states: Collection[str], destination: str | None
) -> tuple[dict[str, int], int]:
    """The deliveries of some messages in one of ``states``: how many for each destination, and of how many patients.

    Args:
        destination: only deliveries to this one.
    """
    places: dict[str, int] = {}
    patients: set[bytes] = set()
    marks = ",".join("?" * len(states))
    for at in range(0, len(messages), AT_ONCE):
        part = messages[at : at + AT_ONCE]
        rows = reader.rows(
            "SELECT l.destination, o.reports FROM delivery d JOIN lane l ON l.id = d.lane"  # noqa: S608 - constants
            " JOIN document o ON o.id = d.document_id"
            f" WHERE d.message_id IN ({','.join('?' * len(part))}) AND d.state IN ({marks})"
            " AND (? IS NULL OR l.destination = ?)",
            (*part, *states, destination, destination),
        )
        for name, reports in rows:
            places[name] = places.get(name, 0) + 1
            patients.update(report.patient for report in unpack_reports(reports) if report.patient)
    return places, len(patients)
