"""Dead letters in groups of one reason, cause and destination, counted by the index on their causes
(`engine.store.operations.dead_letters`).

One letter of each cause is opened, for its text; the token identifies the channel of the counted letters. Letters
without a fingerprint are opened one by one.

Read how far a replay would reach.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from engine.model.journal.hashes import unpack_reports
from engine.model.journal.journal_views import Filter
from engine.store.core.connecting import Execute
from engine.store.core.notes import opened_note
from engine.store.operations.dead_letters import Group, Groups, cause_of
from engine.store.queries.listing import CAUSE_BYTES, letter_terms
from engine.store.queries.reader import Reader

# Word for word as in the indexes, or SQLite does not use them.
_MESSAGES = "message_state s INDEXED BY message_cause"
_DEAD_MESSAGES = "s.state IN ('dead', 'incomplete')"
_DELIVERIES = "delivery d INDEXED BY delivery_cause"
_DEAD_DELIVERIES = "d.state = 'dead'"
_Key = tuple[str, str, str]  # of a group: reason, cause, destination


def letter_groups(reader: Reader, wanted: Filter | None = None) -> list[Group]:
    """All dead letters in groups of one reason, cause and destination, the largest first; without the keys causes are
    unknown. A group of which a person has tried all again, and that are under way, has the count 0.
    """
    wanted = wanted or Filter()
    with reader.snapshot() as execute:
        search = _Search(execute, reader, wanted)
        if not wanted.destination:
            search.messages()
        search.deliveries()
        if wanted.state != "incomplete":
            search.retried()
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
        self._places: dict[_Key, list[tuple[bytes, int]]] = {}  # of each group: cause token, and lane or 0
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
                if token is not None:
                    self._places.setdefault((reason, cause, ""), []).append((token, 0))

    def deliveries(self) -> None:
        lanes = self._lanes()
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
                if token is not None:
                    self._places.setdefault((reason, cause, destination), []).append((token, lane))

    def retried(self) -> None:
        """Letters that a person has tried again: those that came back, and those under way; and how many came since."""
        lanes = self._lanes()
        wanted = replace(self._wanted, state=None)
        reason = "(CASE d.state WHEN 'dead' THEN d.cause ELSE r.reason END)"
        where, values = self._terms(wanted, "r.message_id", "d", reason)
        rows = self._execute(
            f"SELECT d.cause_token, {reason}, d.lane, d.state = 'dead', r.n, r.at_us, r.message_id, d.id"  # noqa: S608 - constants
            " FROM retried r CROSS JOIN delivery d ON d.id = r.delivery_id"
            " CROSS JOIN journal j ON j.id = r.message_id WHERE r.delivery_id > 0 AND r.n > 0"
            f" AND d.state IN ('dead', 'waiting', 'sending') AND {where}",
            values,
        ).fetchall()
        for token, code, lane, dead, retries, last_us, message, delivery in rows:
            if lane in lanes:
                channel, destination = lanes[lane]
                cause = self._cause(token, "delivery", delivery, channel)
                self.groups.add_retried(
                    code, cause, dead=bool(dead), count=1, retries=retries, last_us=last_us, message=message,
                    channel=channel, destination=destination,
                )  # fmt: skip
        if not wanted.destination:
            self._retried_messages(wanted)
        for group in self.groups.largest_first():
            if group.last_retry_us:
                key = group.reason, group.cause, group.destination
                group.new = sum(
                    self._since(group.reason, group.last_retry_us, *place) for place in self._places.get(key, ())
                )

    def _retried_messages(self, wanted: Filter) -> None:
        where, values = self._terms(wanted, "r.message_id", "s", "s.reason")
        rows = self._execute(
            "SELECT s.cause_token, s.reason, j.channel, r.n, r.at_us, s.id"  # noqa: S608 - constants
            " FROM retried r CROSS JOIN message_state s ON s.id = r.message_id CROSS JOIN journal j ON j.id = s.id"
            f" WHERE r.delivery_id = 0 AND s.state = 'dead' AND {where}",
            values,
        ).fetchall()
        for token, code, channel, retries, last_us, message in rows:
            cause = self._cause(token, "message_state", message, channel)
            self.groups.add_retried(
                code, cause, dead=True, count=1, retries=retries, last_us=last_us, message=message, channel=channel
            )

    def _since(self, reason: str, last_us: int, token: bytes, lane: int) -> int:
        """How many of a group died later, and were never tried again."""
        never = "NOT EXISTS (SELECT 1 FROM retried r WHERE r.message_id = {} AND r.delivery_id = {} AND r.n > 0)"
        if lane:
            statement = (
                f"SELECT count(*) FROM {_DELIVERIES} WHERE {_DEAD_DELIVERIES} AND d.cause_token = ? AND d.cause = ?"  # noqa: S608 - constants
                f" AND d.lane = ? AND d.settled_us > ? AND {never.format('d.message_id', 'd.id')}"
            )
            (count,) = self._execute(statement, (token, reason, lane, last_us)).fetchone()
        else:
            statement = (
                f"SELECT count(*) FROM {_MESSAGES} WHERE {_DEAD_MESSAGES} AND s.cause_token = ? AND s.reason = ?"  # noqa: S608 - constants
                f" AND s.at_us > ? AND {never.format('s.id', 0)}"
            )
            (count,) = self._execute(statement, (token, reason, last_us)).fetchone()
        return int(count)

    def _lanes(self) -> dict[int, tuple[str, str]]:
        """Channel and destination of the lanes that are wanted."""
        return {
            lane: (channel, destination)
            for lane, channel, destination in self._execute("SELECT id, channel, destination FROM lane")
            if self._wanted.channel in (None, channel) and self._wanted.destination in (None, destination)
        }

    def _cause(self, token: bytes | None, table: str, row_id: int, channel: str) -> str:
        """The cause of a letter, as text; each is opened once."""
        own = None if token is None else token[:CAUSE_BYTES]
        if own is not None and own in self._causes:
            return self._causes[own]
        cause = self._opened(table, row_id, channel)
        if own is not None:
            self._causes[own] = cause
        return cause

    def _opened(self, table: str, row_id: int, channel: str) -> str:
        """Empty without a detail, or where it cannot be opened: `labrelay verify` reports the damage."""
        (sealed,) = self._execute(f"SELECT detail FROM {table} WHERE id = ?", (row_id,)).fetchone()  # noqa: S608 - ours
        told = opened_note(self._vault, sealed, table, row_id, channel)
        return cause_of(str(told.get("detail", "")), told.get("issues", ()))

    def _terms(self, wanted: Filter, number: str, table: str, reason: str) -> tuple[str, list[object]]:
        return letter_terms(
            self._execute, lambda: self._reader.vault, wanted, None, number=number, table=table, reason=reason
        )

    def _joined(self, number: str) -> str:
        """The journal is read only where times or a type are asked for: the index has all else."""
        asked = (self._wanted.after_us, self._wanted.before_us, self._wanted.message_type)
        return "" if asked == (None, None, None) else f" CROSS JOIN journal j ON j.id = {number}"


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
