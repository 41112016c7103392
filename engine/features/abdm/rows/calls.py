"""Calls to ABDM's gateway.

    waiting -> sending -> done                   the answer is the result
                       -> accepted -> done       the result comes by a callback, which may overtake the answer
                       -> waiting                later again
                       -> failed

A row is here before its first byte goes out, and so is the REQUEST-ID of each attempt: a repeat needs another one, and
the callback may answer to any of them. After a crash a call that was under way is made again; the gateway says that it
was done before, or does the same once more.

What was noted while the clock was ahead follows it once it is set back: a call, an SMS or a page that was put off
waits as long as it was to wait, from now on; so last a search, a code, a token, an invitation and the window of a
request; and a block by the network lasts a day at most.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from engine.features.abdm.rows import change
from engine.features.abdm.rows.sealing import opened, sealed
from engine.features.abdm.rules.network import BLOCK_S, Attempt, Call, CallState, GatewayAnswer, Verdict
from engine.model.errors import IntegrityError
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

_WAITS = "not_before_us = ?1 + max(not_before_us - changed_us, 0), "
_LASTS = "{end} = CASE WHEN made_us > ?1 AND {end} > 0 THEN ?1 + max({end} - made_us, 0) ELSE {end} END, "
_ENDS, _UNTIL = _LASTS.format(end="ends_us"), _LASTS.format(end="until_us")
_MADE = "made_us = min(made_us, ?1), "
_AHEAD = "changed_us > ?1"
# Made under the clock that was ahead, and changed under the right one: it was under way when the clock was set back.
_OF_AHEAD = f"({_AHEAD} OR made_us > ?1)"
_OPEN = "(SELECT number FROM abdm_transfer WHERE state NOT IN ('ended', 'refused'))"
_FOLLOW = tuple(
    f"UPDATE {table} SET {follows}changed_us = min(changed_us, ?1) WHERE {ahead}{which}"  # noqa: S608 - constants
    for table, follows, ahead, which in (
        ("abdm_call", _WAITS + _ENDS + _MADE, _OF_AHEAD, " AND state IN ('waiting', 'accepted', 'sending')"),
        ("abdm_code", _WAITS + _ENDS + _MADE + "typed_us = min(typed_us, ?1), ", _OF_AHEAD, ""),
        ("abdm_offer", _ENDS + _MADE, _OF_AHEAD, ""),
        ("abdm_page", _WAITS, _AHEAD, f" AND state = 'sealed' AND transfer IN {_OPEN}"),
        ("abdm_transfer", _ENDS + _MADE, _OF_AHEAD, f" AND number IN {_OPEN}"),
        ("abdm_share", _UNTIL + _MADE, _OF_AHEAD, ""),
        ("abdm_invitation", _MADE, _OF_AHEAD, ""),
    )
)
_BLOCKS = "UPDATE abdm_link_token SET until_us = ?1 + ?2 WHERE state = 'blocked' AND until_us > ?1 + ?2"


def follow(batch: Batch) -> None:
    """Have all that follows the clock do so; nothing where it was not set back."""
    batch.execute(_BLOCKS, (batch.now_us, round(BLOCK_S * 1_000_000)))
    for statement in _FOLLOW:
        batch.execute(statement, (batch.now_us,))


TABLE = "abdm_call"
MOST_WITHOUT_RESULT = 3  # attempts whose callback never came, then a person has to look
NO_RESULT = "NO_CALLBACK"  # as a code
ENDED = "GAVE_UP"
DAMAGED = "DAMAGED"
_SELECT = (
    "SELECT number, facility, name, subject, state, attempt, made_us, ends_us, content, status > 0 OR code <> ''"
    " OR fault <> x'' FROM abdm_call"
)

Ended = Callable[[Batch, Call, GatewayAnswer], None]
"""What follows on the end of a call, in the same transaction."""
Headers = Callable[[Batch, Call], Mapping[str, str] | None]
"""Headers of a call beside the usual; None: it must not go out now, and was put off or ended."""


def queue(
    batch: Batch,
    facility: str,
    name: str,
    subject: int,
    body: Any,
    *,
    about: Mapping[str, Any] | None = None,
    after_s: float = 0.0,
    ends_us: int = 0,
) -> int:
    """Have a call made; return its number.

    Args:
        about: as of `Call`.
        after_s: seconds until it may go out.
        ends_us: no attempt is made after this; 0: no end.
    """
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_call").fetchone()
    content = sealed(batch, TABLE, "content", number, {"body": body, "about": dict(about or {})})
    batch.execute(
        "INSERT INTO abdm_call (number, facility, name, subject, state, attempt, not_before_us, accepted_us, ends_us,"
        " made_us, changed_us, status, code, content, fault)"
        " VALUES (?, ?, ?, ?, 'waiting', 0, ?, 0, ?, ?, ?, 0, '', ?, x'')",
        (number, facility, name, subject, _in(batch, after_s), ends_us, batch.now_us, batch.now_us, content),
    )
    return int(number)


def by_number(rows: Rows, number: int) -> Call | None:
    row = rows.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _call(rows, row)


def by_request(rows: Rows, request_id: str) -> Call | None:
    """The call of which an attempt had this REQUEST-ID."""
    row = rows.execute("SELECT call FROM abdm_request WHERE request_id = ?", (request_id.lower(),)).fetchone()
    return None if row is None else by_number(rows, row[0])


def is_open(rows: Rows, name: str, subject: int) -> bool:
    """Whether such a call has not ended."""
    row = rows.execute(
        "SELECT 1 FROM abdm_call WHERE name = ? AND subject = ? AND state IN ('waiting', 'sending', 'accepted')",
        (name, subject),
    ).fetchone()
    return row is not None


def under_way(rows: Rows, name: str, most: int) -> list[Call]:
    """The newest such calls that have not ended, as far as they can be opened."""
    found = rows.execute(
        f"{_SELECT} WHERE state IN ('waiting', 'sending', 'accepted') AND name = ? ORDER BY number DESC LIMIT ?",
        (name, most),
    ).fetchall()
    opened_ones = []
    for row in found:
        with suppress(IntegrityError):
            opened_ones.append(_call(rows, row))
    return opened_ones


def failed_last(rows: Rows, name: str, subject: int) -> tuple[Call, str] | None:
    """The newest such call and its code, where it has failed; None: it has not, or there is none."""
    row = rows.execute(
        "SELECT number, state, code FROM abdm_call WHERE name = ? AND subject = ? ORDER BY number DESC LIMIT 1",
        (name, subject),
    ).fetchone()
    if row is None or row[1] != CallState.FAILED:
        return None
    call = by_number(rows, row[0])
    assert call is not None
    return call, row[2]


def was_made(rows: Rows, name: str, subject: int) -> bool:
    """Whether such a call is in the journal."""
    row = rows.execute("SELECT 1 FROM abdm_call WHERE name = ? AND subject = ? LIMIT 1", (name, subject)).fetchone()
    return row is not None


def is_done(rows: Rows, name: str, subject: int) -> bool:
    """Whether such a call has ended well."""
    row = rows.execute("SELECT 1 FROM abdm_call WHERE name = ? AND subject = ? AND state = 'done'", (name, subject))
    return row.fetchone() is not None


def is_given_up(rows: Rows, number: int) -> bool:
    """Whether a call has failed since its result did not come; one that comes late is taken all the same."""
    row = rows.execute(
        "SELECT 1 FROM abdm_call WHERE number = ? AND state = 'failed' AND code = ?", (number, NO_RESULT)
    )
    return row.fetchone() is not None


def again(batch: Batch, call: Call, after_s: float) -> None:
    """Have a call made once more."""
    _move(batch, call.number, CallState.WAITING, not_before_us=_in(batch, after_s))


def withdraw(batch: Batch, call: Call, code: str) -> None:
    """End a call that must not be made any more; nothing follows on it."""
    _end(batch, call.number, code)


def _end(batch: Batch, number: int, code: str) -> None:
    change(batch, "abdm_call", number, state="failed", code=code)


@operation(priority=Priority.SETTLE)
def recover(batch: Batch) -> int:
    """Take over the calls of an earlier process; return how many were under way."""
    follow(batch)
    return batch.execute(
        "UPDATE abdm_call SET state = 'waiting', not_before_us = ?, changed_us = ? WHERE state = 'sending'",
        (batch.now_us, batch.now_us),
    ).rowcount


@operation(priority=Priority.SETTLE)
def put_off(batch: Batch, number: int, after_s: float) -> None:
    """Have a call made again whose attempt ended by a fault of ours."""
    batch.execute(
        "UPDATE abdm_call SET state = 'waiting', not_before_us = ?, changed_us = ? WHERE number = ?"
        " AND state = 'sending'",
        (_in(batch, after_s), batch.now_us, number),
    )


@operation(priority=Priority.SETTLE)
def claim(batch: Batch, most: int, headers: Headers, ended: Ended, *, set_back: bool = False) -> list[Attempt]:
    """Begin calls that are due, each with a REQUEST-ID that the journal has before the call goes out.

    A call whose result has not come in time is due again; after `MOST_WITHOUT_RESULT` attempts it has failed. None is
    repeated while a callback that may bring its result is not folded yet.

    Args:
        set_back: the clock was.
    """
    made: list[Attempt] = []
    if set_back:
        follow(batch)
    rows = batch.execute(
        f"{_SELECT} WHERE state IN ('waiting', 'accepted') AND not_before_us <= ? AND (attempt = 0"  # noqa: S608 - constant
        " OR NOT EXISTS (SELECT 1 FROM abdm_callback WHERE state = 'stored')) ORDER BY not_before_us LIMIT ?",
        (batch.now_us, most),
    ).fetchall()
    for row in rows:
        try:
            call = _call(batch, row)
        except IntegrityError:  # `labrelay verify` names the row
            _end(batch, row[0], DAMAGED)
            continue
        overdue = call.state is CallState.ACCEPTED
        if call.ends_us and batch.now_us >= call.ends_us:
            _fail(batch, call, GatewayAnswer(0, Verdict.FINAL, ENDED), ended)
        elif overdue and call.attempt >= MOST_WITHOUT_RESULT:
            _fail(batch, call, GatewayAnswer(0, Verdict.FINAL, NO_RESULT), ended)
        elif (more := headers(batch, call)) is not None:
            request_id = str(uuid4())
            _move(batch, call.number, CallState.SENDING, attempts=call.attempt + 1)
            batch.execute(
                "INSERT INTO abdm_request (request_id, call, at_us) VALUES (?, ?, ?)",
                (request_id, call.number, batch.now_us),
            )
            made.append(Attempt(_call(batch, _row(batch, call.number)), request_id, more))
    return made


def next_due_us(rows: Rows) -> int | None:
    """When the next call is due; None: there is none."""
    row = rows.execute("SELECT min(not_before_us) FROM abdm_call WHERE state IN ('waiting', 'accepted')").fetchone()
    return None if row[0] is None else int(row[0])


@operation(priority=Priority.SETTLE)
def answered(
    batch: Batch, number: int, answer: GatewayAnswer, *, result_within_s: float, again_s: float, ended: Ended
) -> None:
    """The answer to an attempt, or that there was none. Where a callback has brought the result, nothing is done.

    Args:
        result_within_s: how long its callback may take; 0: the answer is the result.
        again_s: seconds until the next attempt, where the answer allows one.
    """
    call = by_number(batch, number)
    if call is None or call.state is not CallState.SENDING:
        return
    if answer.is_taken and result_within_s:
        _note(batch, number, answer)
        await_result(batch, call, result_within_s)
    else:
        finish(batch, call, answer, again_s=again_s, ended=ended)


def finish(batch: Batch, call: Call, answer: GatewayAnswer, *, again_s: float, ended: Ended) -> None:
    """End a call, or put it off where the answer allows another attempt."""
    _note(batch, call.number, answer)
    if answer.verdict in (Verdict.AGAIN, Verdict.SLOW, Verdict.LOG_IN, Verdict.SETTINGS):
        again(batch, call, max(again_s, answer.retry_after_s))
        return
    done = answer.verdict in (Verdict.TAKEN, Verdict.BEFORE)
    _move(batch, call.number, CallState.DONE if done else CallState.FAILED)
    ended(batch, call, answer)


def await_result(batch: Batch, call: Call, within_s: float) -> None:
    """Leave a call open: an attempt was taken, and its callback is still to come."""
    _move(batch, call.number, CallState.ACCEPTED, not_before_us=_in(batch, within_s))
    batch.execute(
        "UPDATE abdm_call SET accepted_us = ? WHERE number = ? AND accepted_us <= ?",
        (batch.now_us, call.number, last_callback_us(batch)),
    )


def has_waited(rows: Rows, number: int) -> bool:
    """Whether a call has waited for its callback before."""
    row = rows.execute("SELECT accepted_us FROM abdm_call WHERE number = ?", (number,)).fetchone()
    return row is not None and row[0] > 0


def last_callback_us(rows: Rows) -> int:
    """When the newest callback of any kind came; 0: there is none."""
    row = rows.execute("SELECT received_us FROM abdm_callback ORDER BY number DESC LIMIT 1").fetchone()
    return 0 if row is None else int(row[0])


def overdue(rows: Rows) -> tuple[int, bool]:
    """Of the calls that the gateway took and that no callback of any kind has followed: when it took the oldest one
    that waits (0: none does), and whether one was given up."""
    last_us = last_callback_us(rows)
    (oldest_us,) = rows.execute(
        "SELECT min(accepted_us) FROM abdm_call WHERE state IN ('waiting', 'sending', 'accepted') AND accepted_us > ?",
        (last_us,),
    ).fetchone()
    given_up = rows.execute(
        "SELECT 1 FROM abdm_call WHERE state = 'failed' AND code = ? AND accepted_us > ? AND changed_us > ? LIMIT 1",
        (NO_RESULT, last_us, last_us),
    ).fetchone()
    return oldest_us or 0, given_up is not None


def _fail(batch: Batch, call: Call, answer: GatewayAnswer, ended: Ended) -> None:
    finish(batch, call, answer, again_s=0.0, ended=ended)


def _note(batch: Batch, number: int, answer: GatewayAnswer) -> None:
    words = sealed(batch, TABLE, "fault", number, answer.words or answer.cause or None)
    batch.execute(
        "UPDATE abdm_call SET status = ?, code = ?, fault = ? WHERE number = ?",
        (answer.status, answer.code, words, number),
    )


def _move(
    batch: Batch, number: int, state: CallState, *, not_before_us: int | None = None, attempts: int | None = None
) -> None:
    batch.execute(
        "UPDATE abdm_call SET state = ?, changed_us = ?, not_before_us = coalesce(?, not_before_us),"
        " attempt = coalesce(?, attempt) WHERE number = ?",
        (state.value, batch.now_us, not_before_us, attempts, number),
    )


def _in(batch: Batch, seconds: float) -> int:
    return batch.now_us + round(seconds * 1_000_000)


def _row(batch: Batch, number: int) -> Any:
    return batch.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()


def _call(rows: Rows, row: Any) -> Call:
    number, facility, name, subject, state, attempt, made_us, ends_us, content, is_heard = row
    said = opened(rows, TABLE, "content", number, content) or {}
    return Call(
        number, facility, name, subject, CallState(state), attempt, made_us, ends_us,
        said.get("body"), said.get("about", {}), bool(is_heard),
    )  # fmt: skip
