"""Points: each control result that a message has, with what it is of and the target that it is judged with.

Written with the outcome of the message, and judged in the same transaction (`judging`). A message that is processed
again has its points already; a result that another message brought with the same number, time, value and unit is no
second one. One without a time is none where that message had the same bytes: it was sent once more, and nothing was
measured again. A time that is not believed is none: its point is judged by when it came. Points are added and never
changed.
"""

from collections.abc import Sequence

from engine.features.quality_control.rows import judging
from engine.features.quality_control.rules.beside import says_the_same
from engine.features.quality_control.rules.lots import INVALID, Known, Lot, TargetOf, known_as, ucum_of, why_not
from engine.model.content.quality_controls import OTHER, ControlResult, is_control_number, spellings
from engine.store.core.writing.batch import Batch
from engine.store.operations.dedup import TOKEN_BYTES

RUN_US = 30 * 60_000_000  # controls of one test that are measured within so long of the first are one run
SAME_US = 86_400_000_000  # so long the same bytes are the same message; without a number of its own as long as a run
AHEAD_US = 2 * 86_400_000_000  # an analyzer's clock may be wrong; a time from later than this is not believed
BEHIND_US = 182 * 86_400_000_000  # ... nor one from longer before it came
_AT = "(channel = ? OR channel = '') AND from_us <= ? AND (until_us = 0 OR until_us > ?)"


def note(batch: Batch, message_id: int, channel: str, received_us: int, controls: Sequence[ControlResult]) -> None:
    """Store the points of a message, and judge them."""
    begins: dict[int, tuple[int, int]] = {}  # stream -> the first of its new points, in measuring order
    places = {place for (place,) in batch.execute("SELECT place FROM qc_point WHERE message_id = ?", (message_id,))}
    for control in controls:
        if control.place not in places and (made := add(batch, message_id, channel, received_us, control)) is not None:
            stream, order = made
            begins[stream] = min(order, begins.get(stream, order))
    _excuse(batch, message_id)
    for stream, order in begins.items():
        judging.settle(batch, stream, order, judging.MEASURED)


def _excuse(batch: Batch, message_id: int) -> None:
    """What says no more than the result beside it that is judged rejects nothing."""
    rows = batch.execute(
        "SELECT p.id, p.value, p.unit, j.value, j.unit FROM qc_point p"
        " JOIN qc_point j USING (message_id, stream, number, measured_us)"
        " WHERE message_id = ? AND p.rejects = 1 AND p.why <> ? AND j.why = ''",
        (message_id, INVALID),
    ).fetchall()
    same = [(point,) for point, *values in rows if says_the_same(*values)]
    batch.executemany("UPDATE qc_point SET rejects = 0 WHERE id = ?", same)


def add(
    batch: Batch, message_id: int, channel: str, received_us: int, control: ControlResult, *, act: int = 0
) -> tuple[int, tuple[int, int]] | None:
    """Add a point; its stream, and its place there in measuring order. None: it is there already."""
    stream = stream_of(batch, channel, control.module, control.test)
    measured_us, known, target = _placed(batch, channel, control, received_us, act)
    is_timed = measured_us == control.at_us
    if _is_repeat(batch, stream, message_id, control, known) or (
        not is_timed and _is_sent_again(batch, stream, message_id, received_us, control)
    ):
        return None
    why = why_not(control, known, target, batch.day_of(measured_us))
    is_other = not known.listed and (control.mark == OTHER or is_control_number(control.number))  # as a blank count
    rejects = (
        bool(why) and not is_other and _had_target(batch, channel, control.test, measured_us if act else received_us)
    )
    if not why:
        batch.execute(
            "INSERT INTO qc_level (stream, level, lot, first_us) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET first_us = min(first_us, excluded.first_us)",
            (stream, known.level, known.lot, measured_us),
        )
    if target is not None:
        batch.executemany(
            "INSERT OR IGNORE INTO qc_code (channel, code, test) VALUES (?, ?, ?)",
            [(channel, one, control.test) for code in {control.test, *control.codes} for one in spellings(code)],
        )
    cursor = batch.execute(
        "INSERT INTO qc_point (stream, run, level, lot, number, value, unit, measured_us, received_us, timed, failed,"
        " mark, target, why, rejects, message_id, place, act)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            stream, _run(batch, stream, measured_us, known, control.number), known.level, known.lot, control.number,
            control.value, control.unit, measured_us, received_us, int(is_timed),
            None if control.failed is None else int(control.failed), control.mark,
            0 if target is None else target.id, why, int(rejects), message_id, control.place, act,
        ),
    )  # fmt: skip
    return stream, (measured_us, int(cursor.lastrowid or 0))


def is_believed(at_us: int, received_us: int) -> bool:
    """Whether a message that came then may say this time; 0: it says none."""
    return received_us - BEHIND_US <= at_us <= received_us + AHEAD_US


def _placed(
    batch: Batch, channel: str, control: ControlResult, received_us: int, act: int
) -> tuple[int, Known, TargetOf | None]:
    """When a control was measured, of what, and its target. A time before its lot or its target is not believed, unless
    it is that of a person."""
    if act and control.at_us:
        times = [control.at_us]
    else:
        times = [*([control.at_us] if is_believed(control.at_us, received_us) else ()), received_us]
    places = []
    for at_us in times:
        material = known_as(control, lots_at(batch, channel, at_us))
        places.append((at_us, material, target_at(batch, channel, control, material, at_us)))
    (_, of, target), (_, newer_of, newer_target) = places[0], places[-1]
    is_before = newer_target is not None and (target is None or (of.level, of.lot) != (newer_of.level, newer_of.lot))
    return places[-1 if is_before else 0]


def _had_target(batch: Batch, channel: str, test: str, at_us: int) -> bool:
    """Whether a test had a target, unless all had ended before a person opened it without a repeat."""
    row = batch.execute(
        "SELECT 1 FROM qc_target t WHERE channel = ? AND test = ? AND from_us > 0 AND from_us <= ? AND (until_us = 0 OR"
        " until_us > coalesce((SELECT max(c.until_us) FROM qc_closed c WHERE c.channel = t.channel AND c.test = t.test"
        " AND c.act > 0 AND c.repeat = 0), 0)) LIMIT 1",
        (channel, test, at_us),
    ).fetchone()
    return row is not None


def stream_of(batch: Batch, channel: str, module: str, test: str) -> int:
    """The number of the points of one test on one module; it begins with the first."""
    key = (channel, test, module)
    row = batch.execute("SELECT id FROM qc_stream WHERE channel = ? AND test = ? AND module = ?", key).fetchone()
    if row is None:
        row = batch.execute(
            "INSERT INTO qc_stream (channel, test, module) VALUES (?, ?, ?) RETURNING id", key
        ).fetchone()
    return int(row[0])


def lots_at(batch: Batch, channel: str, at_us: int) -> list[Lot]:
    """The list of controls of an analyzer at this time."""
    rows = batch.execute(
        f"SELECT channel, number, material, level, lot, expires FROM qc_lot WHERE {_AT}",  # noqa: S608 - a constant
        (channel, at_us, at_us),
    )
    return [Lot(*row) for row in rows]


def target_at(batch: Batch, channel: str, control: ControlResult, known: Known, at_us: int) -> TargetOf | None:
    """The target that is in force for a control at this time: that of its module before that of each."""
    row = batch.execute(
        "SELECT id, unit, mean, sd FROM qc_target WHERE channel = ? AND test = ? AND level = ? AND lot = ?"
        " AND module IN ('', ?) AND from_us > 0 AND from_us <= ? AND (until_us = 0 OR until_us > ?)"
        " ORDER BY module DESC, id DESC LIMIT 1",
        (channel, control.test, known.level, known.lot, control.module, at_us, at_us),
    ).fetchone()
    return None if row is None else TargetOf(*row)


def _is_repeat(batch: Batch, stream: int, message_id: int, control: ControlResult, known: Known) -> bool:
    """Whether another message brought the same, in all that is judged."""
    rows = batch.execute(
        "SELECT unit FROM qc_point WHERE stream = ? AND measured_us = ? AND number = ? AND value = ?"
        " AND (message_id <> ? OR message_id = 0) AND timed = 1 AND (why = ?) = ? AND (? OR level = ? AND lot = ?)",
        (stream, control.at_us, control.number, control.value, message_id, INVALID, control.invalid,
         not control.level and not control.lot, known.level, known.lot),
    )  # fmt: skip
    return any(ucum_of(unit) == ucum_of(control.unit) for (unit,) in rows)


def _is_sent_again(batch: Batch, stream: int, message_id: int, received_us: int, control: ControlResult) -> bool:
    row = batch.execute("SELECT channel, token FROM journal WHERE id = ?", (message_id,)).fetchone()
    if row is None:
        return False
    channel, token = row
    is_numbered = not token.startswith(batch.vault.control_token(channel, ""))
    return (
        batch.execute(
            "SELECT 1 FROM qc_point p JOIN journal j ON j.id = p.message_id WHERE p.stream = ? AND p.measured_us > ?"
            " AND p.number = ? AND p.value = ? AND p.place = ? AND p.timed = 0 AND p.message_id <> ?"
            " AND substr(j.token, 1, ?) = ? LIMIT 1",
            (
                stream, received_us - (SAME_US if is_numbered else RUN_US), control.number, control.value,
                control.place, message_id, TOKEN_BYTES, token[:TOKEN_BYTES],
            ),
        ).fetchone()
        is not None
    )  # fmt: skip


def _run(batch: Batch, stream: int, measured_us: int, known: Known, number: str) -> int:
    """The run of a point: one that began shortly before it, else one that begins with it. No other run changes.

    A level that a failed run has already is measured again: that begins a run, which may be accepted. So does a number
    whose level was not known.
    """
    row = batch.execute(
        "SELECT id, (SELECT verdict FROM qc_verdict v WHERE v.run = r.id ORDER BY version DESC LIMIT 1) = 'reject'"
        " AND EXISTS (SELECT 1 FROM qc_point p WHERE p.run = r.id AND p.measured_us < ?"
        " AND (p.level = ? AND p.lot = ? OR p.rejects AND p.number = ?))"
        " FROM qc_run r WHERE stream = ? AND first_us BETWEEN ? AND ? ORDER BY first_us DESC LIMIT 1",
        (measured_us, known.level, known.lot, number, stream, measured_us - RUN_US, measured_us),
    ).fetchone()
    if row is None or row[1]:
        row = batch.execute(
            "INSERT INTO qc_run (stream, first_us) VALUES (?, ?) RETURNING id", (stream, measured_us)
        ).fetchone()
    return int(row[0])
