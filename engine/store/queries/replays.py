"""Read replays that can be resumed."""

from engine.store.operations.replays import Replay
from engine.store.queries.acts import act_of
from engine.store.queries.reader import Reader


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
