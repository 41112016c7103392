"""Dead letters in groups of one reason and cause, counted by the index on their causes
(`engine.store.operations.failure_fingerprint`).

One letter of each cause is opened, for its text; the token identifies the channel of the counted letters. Letters
without a fingerprint are opened one by one.
"""

from dataclasses import replace

from engine.model.records import Filter
from engine.store.core.notes import opened_note
from engine.store.core.rows import Execute
from engine.store.operations.dead_letters import Group, Groups, cause_of
from engine.store.queries.listing import CAUSE_BYTES, letter_terms
from engine.store.queries.reader import Reader

# Word for word as in the indexes, or SQLite does not use them.
_MESSAGES = "message_state s INDEXED BY message_cause"
_DEAD_MESSAGES = "s.state IN ('dead', 'incomplete')"
_DELIVERIES = "delivery d INDEXED BY delivery_cause"
_DEAD_DELIVERIES = "d.state = 'dead'"


def letter_groups(reader: Reader, wanted: Filter | None = None) -> list[Group]:
    """All dead letters in groups of one reason and cause, the largest first; without the keys causes are unknown."""
    wanted = wanted or Filter()
    with reader.snapshot() as execute:
        search = _Search(execute, reader, wanted)
        if wanted.destination is None:
            search.messages()
        search.deliveries()
    return search.groups.largest_first()


class _Search:
    def __init__(self, execute: Execute, reader: Reader, wanted: Filter) -> None:
        self.groups = Groups()
        self._execute = execute
        self._reader = reader
        self._vault = vault = reader.keys
        self._wanted = wanted
        self._anywhere = replace(wanted, channel=None)  # the token identifies the channel, so that no other row is read
        self._causes: dict[bytes, str] = {}
        names = [name for (name,) in execute("SELECT name FROM channel")]
        self._channels = {vault.channel_token(name): name for name in names} if vault is not None else {}

    def messages(self) -> None:
        by_token, values = self._terms(self._anywhere, "s.id", "s", "s.reason")
        rows = self._execute(
            "SELECT s.cause_token, s.reason, count(*), min(s.at_us), max(s.at_us), max(s.id)"  # noqa: S608 - constants
            f" FROM {_MESSAGES}{self._joined('s.id')} WHERE {_DEAD_MESSAGES} AND s.cause_token IS NOT NULL"
            f" AND {by_token} GROUP BY s.cause_token, s.reason",
            values,
        ).fetchall()
        each, values = self._terms(self._wanted, "s.id", "s", "s.reason")
        rows += self._execute(
            "SELECT NULL, s.reason, 1, s.at_us, s.at_us, s.id"  # noqa: S608 - constants
            f" FROM {_MESSAGES} CROSS JOIN journal j ON j.id = s.id"
            f" WHERE {_DEAD_MESSAGES} AND s.cause_token IS NULL AND {each}",
            values,
        ).fetchall()
        for token, reason, *counted in rows:
            message = counted[-1]
            channel = self._channels.get(token[CAUSE_BYTES:]) if token is not None else None
            if channel is None:
                (channel,) = self._execute("SELECT channel FROM journal WHERE id = ?", (message,)).fetchone()
            if self._wanted.channel in (None, channel):
                cause = self._cause(token, "message_state", message, channel)
                self.groups.add(reason, cause, *counted, channel=channel)

    def deliveries(self) -> None:
        lanes = {
            lane: (channel, destination)
            for lane, channel, destination in self._execute("SELECT id, channel, destination FROM lane")
            if self._wanted.channel in (None, channel) and self._wanted.destination in (None, destination)
        }
        where, values = self._terms(self._anywhere, "d.message_id", "d", "d.cause")
        source = f"FROM {_DELIVERIES}{self._joined('d.message_id')} WHERE {_DEAD_DELIVERIES} AND {where}"
        rows = self._execute(
            "SELECT d.cause_token, d.cause, d.lane, count(*), min(d.settled_us), max(d.settled_us), max(d.message_id),"
            f" max(d.id) {source} AND d.cause_token IS NOT NULL GROUP BY d.cause_token, d.cause, d.lane",
            values,
        ).fetchall()
        rows += self._execute(
            "SELECT NULL, d.cause, d.lane, 1, d.settled_us, d.settled_us, d.message_id, d.id"
            f" {source} AND d.cause_token IS NULL",
            values,
        ).fetchall()
        for token, reason, lane, *counted, delivery in rows:
            if lane in lanes:
                channel, destination = lanes[lane]
                cause = self._cause(token, "delivery", delivery, channel)
                self.groups.add(reason, cause, *counted, channel=channel, destination=destination)

    def _cause(self, token: bytes | None, table: str, row_id: int, channel: str) -> str:
        """The cause of a letter, as text; each is opened once."""
        if token is None:
            return cause_of(self._detail(table, row_id, channel))
        own = token[:CAUSE_BYTES]
        if own not in self._causes:
            self._causes[own] = cause_of(self._detail(table, row_id, channel))
        return self._causes[own]

    def _detail(self, table: str, row_id: int, channel: str) -> str:
        """Empty without a detail, or where it cannot be opened: `labrelay verify` reports the damage."""
        (sealed,) = self._execute(f"SELECT detail FROM {table} WHERE id = ?", (row_id,)).fetchone()  # noqa: S608 - ours
        return str(opened_note(self._vault, sealed, table, row_id, channel).get("detail", ""))

    def _terms(self, wanted: Filter, number: str, table: str, reason: str) -> tuple[str, list[object]]:
        return letter_terms(
            self._execute, lambda: self._reader.vault, wanted, None, number=number, table=table, reason=reason
        )

    def _joined(self, number: str) -> str:
        """The journal is read only where times or a type are asked for: the index has all else."""
        asked = (self._wanted.after_us, self._wanted.before_us, self._wanted.message_type)
        return "" if asked == (None, None, None) else f" CROSS JOIN journal j ON j.id = {number}"
