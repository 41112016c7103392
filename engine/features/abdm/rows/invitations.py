"""Invitations by SMS: the one of each report, and the patients who have left the network and get none.

    asked         the call is queued, or its result is to come
    invited       the gateway has sent it
    not_invited   it has not, with its code
    left          no invitation of a report: the mobile and the laboratory's number of one who has left

A mobile is here as a keyed hash.
"""

from collections.abc import Iterable

from engine.features.abdm.rows import sealing
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch

ASKED, INVITED, NOT_INVITED, LEFT = "asked", "invited", "not_invited", "left"
DAY_US = 86_400_000_000


def begin(batch: Batch, context: int, mobile: str, own: str) -> bool:
    """Note that the patient of a report is invited; False: he is not to be, or this mobile was within 24 hours.

    Args:
        own: the laboratory's number of him; empty: unknown.
    """
    if of(batch, context) is not None or is_barred(batch, mobile, own):
        return False
    token = sealing.mobile_token(batch.vault, mobile)
    if batch.execute(
        "SELECT 1 FROM abdm_invitation WHERE mobile = ? AND mobile <> x'' AND context > 0 AND made_us > ? LIMIT 1",
        (token, batch.now_us - DAY_US),
    ).fetchone():
        return False
    _insert(batch, context, 0, ASKED, mobile, own)
    return True


def of(rows: Rows, context: int) -> tuple[str, str] | None:
    """State and code of the invitation of a report; None: there is none."""
    row = rows.execute("SELECT state, code FROM abdm_invitation WHERE context = ? AND context > 0", (context,))
    found: tuple[str, str] | None = row.fetchone()
    return found


def end(batch: Batch, context: int, state: str, code: str = "") -> None:
    batch.execute(
        "UPDATE abdm_invitation SET state = ?, code = ?, changed_us = ? WHERE context = ? AND context > 0",
        (state, code, batch.now_us, context),
    )


def show(batch: Batch, context: int, state: str) -> None:
    """The report that waits shows what came of its invitation."""
    if state in (INVITED, NOT_INVITED):
        batch.execute(
            "UPDATE abdm_context SET reason = ?, changed_us = ? WHERE number = ? AND state = 'waiting'",
            (state, batch.now_us, context),
        )


def bar(batch: Batch, leaver: int, mobile: str, own: str) -> None:
    """A patient has left the network: nothing invites him.

    Args:
        leaver: his number.
    """
    if mobile or own:
        _insert(batch, 0, leaver, LEFT, mobile, own)


def is_barred(rows: Rows, mobile: str, own: str) -> bool:
    """Whether one with this mobile, or this number of the laboratory, has left the network, or may have."""
    row = rows.execute(
        "SELECT 1 FROM abdm_invitation WHERE leaver > 0 AND mobile <> x'' AND mobile = ?1 UNION ALL"
        " SELECT 1 FROM abdm_invitation WHERE leaver > 0 AND patient <> x'' AND patient = ?2 UNION ALL"
        " SELECT 1 FROM abdm_patient WHERE state = 'leaving' AND mobile <> x'' AND mobile = ?1 UNION ALL"
        " SELECT 1 FROM abdm_patient WHERE state = 'leaving' AND patient <> x'' AND patient = ?2 LIMIT 1",
        (sealing.mobile_token(rows.vault, mobile), sealing.patient_token(rows.vault, own)),
    ).fetchone()
    return row is not None


def returned(batch: Batch, patient: int) -> None:
    """One who had left is back."""
    _empty(batch, "leaver = ?", patient)


def let_go(rows: Rows, contexts: Iterable[int]) -> None:
    """These reports are deleted or erased: no one is invited for them, and no hash and no call with a mobile stays."""
    for context in contexts:
        _empty(rows, "context = ? AND context > 0", context)
        rows.execute(
            "UPDATE abdm_call SET content = x'', fault = x'', code = CASE WHEN state IN ('done', 'failed') THEN code"
            " ELSE 'GONE' END, state = CASE state WHEN 'done' THEN 'done' ELSE 'failed' END"
            " WHERE name = 'sms-notify' AND subject = ?",
            (context,),
        )


def erase(batch: Batch, own: str) -> list[int]:
    """Erase the one with this number of the laboratory; return his numbers in the network, where he had left it."""
    token = sealing.patient_token(batch.vault, own)
    found = batch.execute("SELECT leaver FROM abdm_invitation WHERE patient = ? AND leaver > 0", (token,)).fetchall()
    if token:
        _empty(batch, "patient = ?", token)
    return [leaver for (leaver,) in found]


def _empty(rows: Rows, where: str, value: object) -> None:
    rows.execute(
        f"UPDATE abdm_invitation SET mobile = x'', patient = x'', leaver = 0 WHERE {where}",  # noqa: S608 - constants
        (value,),
    )


def _insert(batch: Batch, context: int, leaver: int, state: str, mobile: str, own: str) -> None:
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_invitation").fetchone()
    batch.execute(
        "INSERT INTO abdm_invitation (number, context, leaver, mobile, patient, state, code, made_us, changed_us)"
        " VALUES (?, ?, ?, ?, ?, ?, '', ?, ?)",
        (
            *(number, context, leaver, sealing.mobile_token(batch.vault, mobile)),
            *(sealing.patient_token(batch.vault, own), state, batch.now_us, batch.now_us),
        ),
    )
