"""Reading the audit trail: what people did, what of it has not ended, and replays that can be taken up again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from engine.model.records import Act
from engine.store.queries.snapshots import Snapshots

if TYPE_CHECKING:
    from engine.store.operations.replays import Replay


class Acts(Snapshots):
    """Acts of people, and replays."""

    def acts(self, *, before_id: int | None = None, limit: int = 50) -> list[Act]:
        """A page of the audit trail, newest first."""
        with self.snapshot() as execute:
            rows = execute(
                "SELECT id, received_us, body FROM journal WHERE kind = 3 AND id < ? ORDER BY id DESC LIMIT ?",
                (before_id if before_id is not None else 2**62, limit),
            ).fetchall()
        return [self._act(row) for row in rows]

    def open_acts(self) -> list[Act]:
        """Acts that were begun and have not ended."""
        with self.snapshot() as execute:
            rows = execute(
                "SELECT j.id, j.received_us, j.body FROM open_act a CROSS JOIN journal j ON j.id = a.id ORDER BY a.id"
            ).fetchall()
        return [self._act(row) for row in rows]

    def unfinished_replays(self) -> "list[Replay]":
        """Replays that have not come to their end, newest first."""
        from engine.store.operations.replays import Replay

        with self.snapshot() as execute:
            rows = execute(
                "SELECT r.number, r.position, r.last, r.total, r.done, r.deliveries, r.failed, j.id, j.received_us,"
                " j.body FROM replay r JOIN journal j ON j.id = r.number AND j.kind = 3 ORDER BY r.number DESC"
            ).fetchall()
        found = []
        for number, position, last, total, done, deliveries, failed, *row in rows:
            act = self._act(row)
            found.append(
                Replay(
                    number=number, position=position, last=last, total=total, done=done, deliveries=deliveries,
                    failed=failed, actor=act.actor, at_us=act.at_us, what=act.what,
                )
            )  # fmt: skip
        return found

    def unfinished_replay(self, number: int) -> "Replay | None":
        """The unfinished replay of that number, if there is one."""
        return next((one for one in self.unfinished_replays() if one.number == number), None)

    def _act(self, row: Sequence[Any]) -> Act:
        row_id, at_us, sealed = row
        content = orjson.loads(self.vault.open(sealed, "body", row_id, ""))
        return Act(
            id=row_id,
            at_us=at_us,
            actor=content.get("actor", ""),
            verb=content.get("verb", ""),
            what=content.get("what", {}),
            ended=content.get("act", 0),
            by=content.get("by", {}),
            config=content.get("config", ""),
        )
