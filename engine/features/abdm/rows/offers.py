"""Links that patients make: searches of their apps with what each was offered, and codes that go out by SMS.

    code    waiting -> sending -> sent -> linked
                               -> waiting          later again, the same code
            any of them        -> over

Of a code a keyed hash stays. Code and mobile are sealed here until the SMS service has them; after a crash the same SMS
goes out again, and never another code for the same choice.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

from engine.features.abdm.rows import change, sealing
from engine.features.abdm.rows.calls import follow
from engine.features.abdm.rules.links import CodeState
from engine.model.errors import IntegrityError
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

OFFERS, CODES = "abdm_offer", "abdm_code"
HOUR_US = 3_600_000_000
KEPT_US = 24 * HOUR_US  # the limits look one hour back; the network repeats within hours
DAMAGED = "damaged"
_OFFER = "SELECT number, transaction_id, facility, ends_us, content FROM abdm_offer"
_CODE = (
    "SELECT number, offer, reference, facility, request_id, state, code, typed, typed_us, wrong, attempt, ends_us,"
    " made_us, content FROM abdm_code"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A row; the names are its columns. ``content``: None where nothing was offered."""

    number: int
    transaction_id: str
    facility: str
    ends_us: int
    content: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Code:
    """A row; the names are its columns."""

    number: int
    offer: int
    reference: str
    facility: str
    request_id: str
    state: CodeState
    code: bytes = field(repr=False)
    typed: bytes = field(repr=False)
    typed_us: int
    wrong: int
    attempt: int
    ends_us: int
    made_us: int
    content: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """An SMS that goes out now."""

    code: int
    facility: str
    attempt: int
    mobile: str = field(repr=False)
    digits: str = field(repr=False)


# -- searches --------------------------------------------------------------------------------------------------------


def offer(
    batch: Batch, transaction_id: str, facility: str, address: str, *, life_us: int, content: Mapping[str, Any] | None
) -> int:
    """Keep a search, and what it was offered; return its number."""
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_offer").fetchone()
    batch.execute(
        "INSERT INTO abdm_offer (number, transaction_id, facility, asker, ends_us, made_us, changed_us, content)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(number, transaction_id, facility, sealing.address_token(batch.vault, address)),
            *(batch.now_us + life_us, batch.now_us, batch.now_us),
            sealing.sealed(batch, OFFERS, "content", number, content),
        ),
    )
    return int(number)


def of_transaction(rows: Rows, transaction_id: str, facility: str) -> Offer | None:
    row = rows.execute(f"{_OFFER} WHERE transaction_id = ? AND facility = ?", (transaction_id, facility)).fetchone()
    return None if row is None else _offer(rows, row)


def by_number(rows: Rows, number: int) -> Offer | None:
    row = rows.execute(f"{_OFFER} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _offer(rows, row)


def searches(batch: Batch, facility: str, address: str) -> int:
    """How often a person has searched in the last hour."""
    row = batch.execute(
        "SELECT count(*) FROM abdm_offer WHERE asker = ? AND facility = ? AND made_us > ?",
        (sealing.address_token(batch.vault, address), facility, batch.now_us - HOUR_US),
    ).fetchone()
    return int(row[0])


# -- codes -----------------------------------------------------------------------------------------------------------


def new_code(
    batch: Batch,
    of: Offer,
    reference: str,
    request_id: str,
    *,
    digits: str,
    mobile: str,
    ends_us: int,
    content: Mapping[str, Any],
) -> int:
    """Keep a code that is to be sent; return its number.

    Args:
        request_id: of the callback that is answered once it was sent.
        content: what the patient has chosen.
    """
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_code").fetchone()
    batch.execute(
        "INSERT INTO abdm_code (number, offer, reference, facility, request_id, mobile, state, reason, code, typed,"
        " typed_us, wrong, attempt, not_before_us, ends_us, made_us, changed_us, content, text)"
        " VALUES (?, ?, ?, ?, ?, ?, 'waiting', '', ?, x'', 0, 0, 0, ?, ?, ?, ?, ?, ?)",
        (
            *(number, of.number, reference, of.facility, request_id, sealing.mobile_token(batch.vault, mobile)),
            *(_token(batch, reference, digits), batch.now_us, ends_us, batch.now_us, batch.now_us),
            sealing.sealed(batch, CODES, "content", number, content),
            sealing.sealed(batch, CODES, "text", number, {"mobile": mobile, "digits": digits}),
        ),
    )
    return int(number)


def code(rows: Rows, number: int) -> Code | None:
    row = rows.execute(f"{_CODE} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _code(rows, row)


def code_by_reference(rows: Rows, reference: str, facility: str) -> Code | None:
    row = rows.execute(f"{_CODE} WHERE reference = ? AND facility = ?", (reference, facility)).fetchone()
    return None if row is None else _code(rows, row)


def codes_of(rows: Rows, offer: int) -> list[Code]:
    return [_code(rows, row) for row in rows.execute(f"{_CODE} WHERE offer = ? ORDER BY number", (offer,)).fetchall()]


def of_mobile(batch: Batch, mobile: str) -> tuple[int, int]:
    """Of a mobile, in the last hour: codes that were made for it, and wrong ones that were typed."""
    row = batch.execute(
        "SELECT coalesce(sum(made_us > ?), 0), coalesce(sum(CASE WHEN typed_us > ? THEN wrong ELSE 0 END), 0)"
        " FROM abdm_code WHERE mobile = ? AND made_us > ?",
        (
            *(batch.now_us - HOUR_US, batch.now_us - HOUR_US),
            *(sealing.mobile_token(batch.vault, mobile), batch.now_us - 2 * HOUR_US),
        ),
    ).fetchone()
    return int(row[0]), int(row[1])


def wrong_of_mobile(batch: Batch, number: int) -> int:
    """Wrong codes that were typed in the last hour for the mobile of this one."""
    row = batch.execute(
        "SELECT coalesce(sum(c.wrong), 0) FROM abdm_code o JOIN abdm_code c ON c.mobile = o.mobile"
        " WHERE o.number = ? AND c.typed_us > ?",
        (number, batch.now_us - HOUR_US),
    ).fetchone()
    return int(row[0])


def is_right(batch: Batch, one: Code, digits: str) -> bool:
    """Whether this is the code; the time that it takes does not say how near it is."""
    return compare_digest(one.code, _token(batch, one.reference, digits))


def is_as_before(batch: Batch, one: Code, digits: str) -> bool:
    """Whether this is the last wrong one again."""
    return compare_digest(one.typed, _token(batch, one.reference, digits))


def typed_wrong(batch: Batch, one: Code, digits: str) -> None:
    batch.execute(
        "UPDATE abdm_code SET wrong = wrong + 1, typed = ?, typed_us = ?, changed_us = ? WHERE number = ?",
        (_token(batch, one.reference, digits), batch.now_us, batch.now_us, one.number),
    )


def end(batch: Batch, number: int, state: CodeState, reason: str = "") -> None:
    """A code that has ended is of no use: nothing of its SMS stays."""
    change(batch, "abdm_code", number, state=state.value, reason=reason, text=b"")


# -- sending ---------------------------------------------------------------------------------------------------------


@operation(priority=Priority.SETTLE)
def recover(batch: Batch) -> int:
    """Take over the SMS of an earlier process; return how many were under way: the same go out again."""
    return batch.execute(
        "UPDATE abdm_code SET state = 'waiting', not_before_us = ?, changed_us = ? WHERE state = 'sending'",
        (batch.now_us, batch.now_us),
    ).rowcount


@operation(priority=Priority.SETTLE)
def put_off(batch: Batch, number: int, after_s: float) -> None:
    """Have an SMS sent again whose attempt ended by a fault of ours."""
    batch.execute(
        "UPDATE abdm_code SET state = 'waiting', not_before_us = ?, changed_us = ? WHERE number = ?"
        " AND state = 'sending'",
        (batch.now_us + round(after_s * 1_000_000), batch.now_us, number),
    )


@operation(priority=Priority.SETTLE)
def claim(
    batch: Batch, most: int, late_us: int, failed: Callable[[Batch, Code, str], None], *, set_back: bool = False
) -> list[Text]:
    """Begin SMS that are due; the journal has it before one goes out.

    Args:
        late_us: an SMS that has waited longer is not sent: the patient has given up.
        failed: called for each such one, and for one that cannot be read.
        set_back: the clock was.
    """
    if set_back:
        follow(batch)
    made: list[Text] = []
    rows = batch.execute(
        f"{_CODE} WHERE state = 'waiting' AND not_before_us <= ? ORDER BY not_before_us LIMIT ?", (batch.now_us, most)
    ).fetchall()
    for row in rows:
        number = row[0]
        try:
            one = _code(batch, row)
            (sealed,) = batch.execute("SELECT text FROM abdm_code WHERE number = ?", (number,)).fetchone()
            said = sealing.opened(batch, CODES, "text", number, sealed)
        except IntegrityError:  # `labrelay verify` names the row
            end(batch, number, CodeState.OVER, DAMAGED)
            continue
        if said is None or batch.now_us >= one.made_us + late_us:
            failed(batch, one, "late")
            continue
        batch.execute(
            "UPDATE abdm_code SET state = 'sending', attempt = attempt + 1, changed_us = ? WHERE number = ?",
            (batch.now_us, number),
        )
        made.append(Text(number, one.facility, one.attempt + 1, said["mobile"], said["digits"]))
    return made


@operation(priority=Priority.SETTLE)
def sent(batch: Batch, number: int, then: Callable[[Batch, Code], None]) -> None:
    """The service has taken an SMS: code and mobile go from here."""
    one = code(batch, number)
    if one is not None and one.state is CodeState.SENDING:
        end(batch, number, CodeState.SENT)
        then(batch, one)


@operation(priority=Priority.SETTLE)
def not_sent(
    batch: Batch, number: int, reason: str, again_s: float, failed: Callable[[Batch, Code, str], None]
) -> None:
    """The service has not taken an SMS.

    Args:
        again_s: seconds until the same goes out again; 0: never.
    """
    one = code(batch, number)
    if one is None or one.state is not CodeState.SENDING:
        return
    if not again_s:
        failed(batch, one, reason)
        return
    change(
        batch,
        "abdm_code",
        number,
        state="waiting",
        reason=reason,
        not_before_us=batch.now_us + round(again_s * 1_000_000),
    )


def next_due_us(rows: Rows) -> int | None:
    """When the next SMS is due; None: there is none."""
    row = rows.execute("SELECT min(not_before_us) FROM abdm_code WHERE state = 'waiting'").fetchone()
    return None if row[0] is None else int(row[0])


# -- the end ---------------------------------------------------------------------------------------------------------


def sweep(batch: Batch, most: int) -> bool:
    """Delete some rows that are older than a day, and what names a patient in offers that have ended; return whether
    more may be left."""
    batch.execute(
        "UPDATE abdm_code SET state = 'over', reason = 'late', text = x'', changed_us = ?"
        " WHERE state IN ('waiting', 'sending') AND ends_us < ?",
        (batch.now_us, batch.now_us),
    )
    batch.execute(
        "UPDATE abdm_offer SET content = x'' WHERE content <> x'' AND ends_us < ?", (batch.now_us - HOUR_US,)
    )  # a code of its last minute has ended by then
    full = False
    for table in (CODES, OFFERS):
        rows = batch.execute(
            f"SELECT number FROM {table} WHERE changed_us < ?"  # noqa: S608 - constants
            f" AND number < (SELECT max(number) FROM {table}) ORDER BY changed_us LIMIT ?",
            (batch.steady_us - KEPT_US, most),
        ).fetchall()
        full = full or len(rows) == most
        batch.executemany(f"DELETE FROM {table} WHERE number = ?", rows)  # noqa: S608 - constants
    return full


def leave(batch: Batch, address: str, reason: str) -> None:
    """The person with this address has left the network, or may have: what he was offered is offered no more, and no
    code goes to him."""
    token = sealing.address_token(batch.vault, address)
    for (number,) in batch.execute("SELECT number FROM abdm_offer WHERE asker = ?", (token,)).fetchall():
        for one in codes_of(batch, number):
            if one.state not in (CodeState.LINKED, CodeState.OVER):
                end(batch, one.number, CodeState.OVER, reason)
        batch.execute(
            "UPDATE abdm_call SET state = 'failed', code = ?, changed_us = ?, content = x'', fault = x''"
            " WHERE name = 'on-discover' AND subject = ? AND state IN ('waiting', 'sending', 'accepted')",
            (reason, batch.now_us, number),
        )
        change(batch, "abdm_offer", number, content=b"", asker=b"")


def erase(batch: Batch, contexts: Collection[int]) -> None:
    """End what was offered of these contexts, or cannot be read: nothing of its patient stays."""
    if not contexts:
        return
    for number, transaction_id, facility, ends_us, sealed in batch.execute(f"{_OFFER} WHERE content <> x''").fetchall():
        try:
            found = _offer(batch, (number, transaction_id, facility, ends_us, sealed)).content or {}
        except IntegrityError:
            found = {}
        if found and not {int(one) for one in found.get("contexts", {})}.intersection(contexts):
            continue
        change(batch, "abdm_offer", number, content=b"", asker=b"")
        batch.execute(
            "UPDATE abdm_code SET state = CASE state WHEN 'linked' THEN state ELSE 'over' END, reason = 'erased',"
            " mobile = x'', text = x'', changed_us = ? WHERE offer = ?",
            (batch.now_us, number),
        )


def _token(batch: Batch, reference: str, digits: str) -> bytes:
    return batch.vault.past_key(b"abdm-code", reference.encode(), digits.encode())


def _offer(rows: Rows, row: Any) -> Offer:
    number, transaction_id, facility, ends_us, content = row
    return Offer(number, transaction_id, facility, ends_us, sealing.opened(rows, OFFERS, "content", number, content))


def _code(rows: Rows, row: Any) -> Code:
    values = list(row)
    values[5] = CodeState(values[5])
    values[-1] = sealing.opened(rows, CODES, "content", values[0], values[-1])
    return Code(*values)
