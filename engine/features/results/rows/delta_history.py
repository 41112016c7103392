"""History for hold rules: earlier values of a patient, and the latest quality control runs.

Values are kept under a keyed hash of patient, code and unit, and sealed; controls under a keyed hash of their specimen
number. A value counts only when it is sent, at once or after a person has released it: a rejected result is nothing to
compare with. Values are kept only for channels whose rules ask for earlier values. Both tables drop what is
too old.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from engine.model.content.quality_controls import ControlResult, spellings
from engine.model.content.results import MEMORY_US, WITHDRAWN, Result
from engine.model.errors import IntegrityError
from engine.store.core.connecting import Rows
from engine.store.core.vault import NOTE_KEYS
from engine.store.core.writing.batch import Batch

SWEEP_ROWS = 500
_DAY_US = 86_400_000_000
_AHEAD_US = 2 * _DAY_US  # an analyzer's clock may be wrong; a value from later than this is not believed
_COLUMN = "earlier_value"


class DeltaHistory:
    """`engine.model.content.results.EarlierResults` as one transaction sees it, with everything that was decided before
    it.

    Args:
        message_id: the message at hand; its own values are not earlier ones, whatever it goes out as.
        channel: whose controls count (`Recording.controls_of`).
        received_us: when the message at hand was received, for results without a time of measurement.
    """

    def __init__(self, rows: Rows, message_id: int, channel: str, received_us: int) -> None:
        self._rows = rows
        self._message = message_id
        self._channel = channel
        self._received_us = received_us

    def value(self, result: Result, within_us: int) -> Decimal | None:
        found = self.last(result, within_us)
        return None if found is None else found[1]

    def days(self, result: Result, within_us: int) -> Decimal | None:
        found = self.last(result, within_us)
        return None if found is None else Decimal(_measured(result, self._received_us) - found[0]) / _DAY_US

    def last(self, result: Result, within_us: int) -> tuple[int, Decimal] | None:
        """When it was measured, and the value."""
        found = self._before(result, within_us, 1)
        return self._opened(*max(found)[:3]) if found else None  # a bound, or damaged: an older row is not the last

    def series(self, result: Result, within_us: int, most: int) -> list[tuple[int, Decimal]]:
        """The last ones, the oldest first, each run once; without bounds and what is damaged."""
        runs = {run: (at_us, row_id, sealed) for at_us, row_id, sealed, run in self._before(result, within_us, most)}
        values = [self._opened(*one) for one in sorted(runs.values())[-most:]]
        return [one for one in values if one is not None]

    def _before(self, result: Result, within_us: int, most: int) -> list[tuple[int, int, bytes, bytes]]:
        at_us, own = _measured(result, self._received_us), _run(self._rows, result)
        found: list[tuple[int, int, bytes, bytes]] = []
        for key in _keys(self._rows, result):
            found += self._rows.execute(
                "SELECT at_us, id, value, run FROM earlier_value WHERE key = ? AND at_us < ? AND at_us >= ?"
                " AND run <> ? AND message_id <> ? AND waits = 0 ORDER BY at_us DESC, id DESC LIMIT ?",
                (key, at_us, at_us - within_us, own, self._message, most),
            )
        return found

    def _opened(self, measured_us: int, row_id: int, sealed: bytes) -> tuple[int, Decimal] | None:
        try:
            return measured_us, Decimal(self._rows.vault.open(sealed, _COLUMN, row_id, "").decode())
        except (IntegrityError, InvalidOperation, UnicodeDecodeError):
            return None

    def control_failed(self, codes: tuple[str, ...], within_us: int) -> bool | None:
        """True while a verdict on its controls keeps a test closed. Only the last run of each material is known. Where
        it is newer than the message, the run before it is unknown.
        """
        since = self._received_us - within_us
        codes = tuple(spelled for code in codes for spelled in spellings(code))
        marks = ",".join("?" * len(codes))
        waits = self._rows.execute(
            "SELECT 1 FROM qc_closed c JOIN qc_code k ON k.channel = c.channel AND k.test = c.test"  # noqa: S608
            f" WHERE c.channel = ? AND c.until_us = 0 AND k.code IN ({marks}) LIMIT 1",
            (self._channel, *codes),
        ).fetchone()
        if waits is not None:
            return True
        failed, later = self._rows.execute(
            f"SELECT max(failed AND at_us <= ?), max(at_us > ?) FROM control_result"  # noqa: S608 - question marks
            f" WHERE channel = ? AND code IN ({marks}) AND at_us >= ?",
            (self._received_us, self._received_us, self._channel, *codes, since),
        ).fetchone()
        if failed is None:
            return self._passed(codes, since)
        return None if later and not failed else bool(failed)

    def _passed(self, codes: tuple[str, ...], since_us: int) -> bool | None:
        """False where the newest verdict on a run of the test's controls accepts it; else it is not known."""
        row = self._rows.execute(
            "SELECT (SELECT verdict FROM qc_verdict v WHERE v.run = r.id ORDER BY v.version DESC LIMIT 1)"  # noqa: S608
            " FROM qc_code k JOIN qc_stream s ON s.channel = k.channel AND s.test = k.test"
            " JOIN qc_run r ON r.stream = s.id"
            f" WHERE k.channel = ? AND k.code IN ({','.join('?' * len(codes))}) AND r.first_us BETWEEN ? AND ?"
            " ORDER BY r.first_us DESC LIMIT 1",
            (self._channel, *codes, since_us, self._received_us),
        ).fetchone()
        return False if row is not None and row[0] in ("accept", "warn") else None


def remember(batch: Batch, message_id: int, results: Iterable[Result], received_us: int, *, waits: int = 0) -> None:
    """Remember the values of a message that is sent. A correction replaces the value that it corrects, a withdrawal
    removes it.

    Args:
        waits: ordinal of the held document whose release lets them count (`released`); 0: they count at once.
    """
    for result in results:
        run = _run(batch, result)
        at_us = _measured(result, received_us)
        if not waits:
            _take_place(batch, run)
        gone = result.value is None or result.status in WITHDRAWN
        if gone and not waits:
            continue
        text = "" if gone else f"{result.comparator}{result.value}"
        for key in [b""] if gone else _keys(batch, result):
            cursor = batch.execute(
                "INSERT INTO earlier_value (key, run, message_id, waits, at_us, kept_us, value)"
                " VALUES (?, ?, ?, ?, ?, ?, x'')"
                " ON CONFLICT (key, run, message_id, waits) DO UPDATE SET at_us = excluded.at_us RETURNING id",
                (key, run, message_id, waits, at_us, batch.now_us),
            )
            row_id = int(cursor.fetchone()[0])  # the row id is part of the sealed value
            sealed = batch.seal(NOTE_KEYS, text.encode(), _COLUMN, row_id, "")
            batch.execute("UPDATE earlier_value SET value = ? WHERE id = ?", (sealed, row_id))


def _take_place(batch: Batch, run: bytes) -> None:
    """Under any code and unit: a correction may have others, and a withdrawal has none."""
    batch.execute("DELETE FROM earlier_value WHERE run = ? AND waits = 0", (run,))


def released(batch: Batch, message_id: int, ordinal: int) -> None:
    """The values of a held document count from now on."""
    of = (message_id, ordinal)
    for (run,) in batch.execute("SELECT DISTINCT run FROM earlier_value WHERE message_id = ? AND waits = ?", of):
        _take_place(batch, run)
    batch.execute("DELETE FROM earlier_value WHERE message_id = ? AND waits = ? AND key = x''", of)
    batch.execute(
        "UPDATE earlier_value SET waits = 0, kept_us = ? WHERE message_id = ? AND waits = ?", (batch.now_us, *of)
    )


def decided_anew(batch: Batch, message_id: int) -> None:
    """What waited for documents of a message that is processed again waits no more."""
    batch.execute("DELETE FROM earlier_value WHERE message_id = ? AND waits > 0", (message_id,))


def forget(rows: Rows, message_id: int) -> int:
    """Forget the values of a message, and everything under their patient, codes and units; return how many."""
    keys = "SELECT key FROM earlier_value WHERE message_id = ? AND key <> x''"
    gone = rows.execute(f"DELETE FROM earlier_value WHERE key IN ({keys})", (message_id,)).rowcount  # noqa: S608
    return gone + rows.execute("DELETE FROM earlier_value WHERE message_id = ?", (message_id,)).rowcount


def note_controls(batch: Batch, channel: str, received_us: int, runs: Sequence[ControlResult]) -> None:
    """Remember how controls ended, where they were judged; the last run of a test counts for each material."""
    for run in runs:
        material = batch.vault.past_key(b"control", channel.encode(), run.number.encode())
        for code in () if run.failed is None else run.codes:
            batch.execute(
                "INSERT INTO control_result (channel, code, material, at_us, failed) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (channel, code, material) DO UPDATE SET at_us = excluded.at_us, failed = excluded.failed"
                " WHERE excluded.at_us >= control_result.at_us",
                (channel, code, material, received_us, int(run.failed is True)),
            )


def sweep_values(batch: Batch) -> bool:
    """Delete a few hundred expired values, oldest first; return True when none is left."""
    return _sweep(batch, "DELETE FROM earlier_value WHERE id IN (SELECT id FROM earlier_value ORDER BY id LIMIT ?)"
                         " AND kept_us < ?")  # fmt: skip


def sweep_controls(batch: Batch) -> bool:
    """As `sweep_values`, for controls. They have few rows: one for each test and material of an analyzer."""
    return _sweep(batch, "DELETE FROM control_result WHERE id IN (SELECT id FROM control_result ORDER BY at_us LIMIT ?)"
                         " AND at_us < ?")  # fmt: skip


def _sweep(batch: Batch, delete: str) -> bool:
    return batch.execute(delete, (SWEEP_ROWS, batch.steady_us - MEMORY_US)).rowcount < SWEEP_ROWS


def _measured(result: Result, received_us: int) -> int:
    return received_us if result.at_us is None else min(result.at_us, received_us + _AHEAD_US)


def _keys(rows: Rows, result: Result) -> list[bytes]:
    """One key for each code, so that a code table which gains a term loses no history. None without a patient."""
    if not result.subject:
        return []
    unit = result.unit.encode()
    return [
        rows.vault.past_key(b"value", result.subject.encode(), system.encode(), code.encode(), unit)
        for system, code in dict.fromkeys(result.codes)
    ]


def _run(rows: Rows, result: Result) -> bytes:
    said = result.run or f"{result.at_us} {result.text}"
    return rows.vault.past_key(b"run", result.subject.encode(), said.encode())
