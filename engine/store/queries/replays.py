"""Read replays that can be resumed, and how far one would reach."""

from collections.abc import Collection, Sequence

from engine.model.hashes import unpack_reports
from engine.store.operations.replays import Replay
from engine.store.queries.acts import act_of
from engine.store.queries.reader import Reader

AT_ONCE = 500  # messages of one query


def unfinished_replays(reader: Reader) -> list[Replay]:
    """Replays that have not ended, newest first."""
    rows = reader.rows(
        "SELECT r.number, r.position, r.last, r.total, r.done, r.deliveries, r.failed, j.id, j.received_us,"
        " j.body FROM replay r JOIN journal j ON j.id = r.number AND j.kind = 3 ORDER BY r.number DESC"
    )
    found = []
    for number, position, last, total, done, deliveries, failed, *row in rows:
        act = act_of(reader, row)
        found.append(
            Replay(
                number=number, position=position, last=last, total=total, done=done, deliveries=deliveries,
                failed=failed, actor=act.actor, at_us=act.at_us, what=act.what,
            )
        )  # fmt: skip
    return found


def unfinished_replay(reader: Reader, number: int) -> Replay | None:
    """The unfinished replay of that number, if there is one."""
    return next((one for one in unfinished_replays(reader) if one.number == number), None)


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
