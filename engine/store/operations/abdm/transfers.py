"""Requests for records, and the encrypted pages of each. A page is kept before its first byte is sent, and is sent as
it is kept: no key and no nonce is ever used for another plaintext. Its bytes are deleted when the transfer ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.model.abdm import PageState, TransferState
from engine.store.core.batch import Batch
from engine.store.core.rows import Rows
from engine.store.operations.abdm import sealing

TABLE, PAGES = "abdm_transfer", "abdm_page"
_SELECT = "SELECT number, transaction_id, consent, facility, state, reason, pages, ends_us, content FROM abdm_transfer"
_PAGE = "SELECT transfer, n, context, document_id, state, reason, attempt, not_before_us, status, body FROM abdm_page"


@dataclass(frozen=True, slots=True)
class KeptTransfer:
    """A row; the names are its columns. ``content``: the request, with the reader's address and key."""

    number: int
    transaction_id: str
    consent: int
    facility: str
    state: TransferState
    reason: str
    pages: int
    ends_us: int
    content: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewPage:
    """``body``: the bytes of the whole request."""

    context: int
    document_id: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A row; the names are its columns."""

    transfer: int
    n: int
    context: int
    document_id: int
    state: PageState
    reason: str
    attempt: int
    not_before_us: int
    status: int
    body: bytes = field(repr=False)


def take(
    batch: Batch, transaction_id: str, facility: str, *, consent: int, ends_us: int, content: Any
) -> tuple[int, bool]:
    """Keep a request; return its number, and whether it is new: its transaction under another REQUEST-ID is not."""
    row = batch.execute("SELECT number FROM abdm_transfer WHERE transaction_id = ?", (transaction_id,)).fetchone()
    if row is not None:
        return int(row[0]), False
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_transfer").fetchone()
    batch.execute(
        "INSERT INTO abdm_transfer (number, transaction_id, consent, facility, state, reason, pages, ends_us, made_us,"
        " changed_us, content) VALUES (?, ?, ?, ?, 'stored', '', 0, ?, ?, ?, ?)",
        (
            *(number, transaction_id, consent, facility, ends_us, batch.now_us, batch.now_us),
            sealing.sealed(batch, TABLE, "content", number, content),
        ),
    )
    return int(number), True


def by_number(rows: Rows, number: int) -> KeptTransfer | None:
    row = rows.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _transfer(rows, row)


def open_ones(rows: Rows, most: int) -> list[KeptTransfer]:
    """The oldest that have not ended."""
    select = f"{_SELECT} WHERE state NOT IN ('ended', 'refused') ORDER BY number LIMIT ?"
    return [_transfer(rows, row) for row in rows.execute(select, (most,)).fetchall()]


def move(batch: Batch, number: int, state: TransferState, reason: str = "") -> None:
    """A transfer that ends keeps no bytes of its pages."""
    batch.execute(
        "UPDATE abdm_transfer SET state = ?, reason = ?, changed_us = ? WHERE number = ?",
        (state.value, reason, batch.now_us, number),
    )
    if state in (TransferState.ENDED, TransferState.REFUSED):
        batch.execute("UPDATE abdm_page SET body = x'' WHERE transfer = ?", (number,))


def add_pages(batch: Batch, number: int, pages: Sequence[NewPage]) -> None:
    """Keep all pages of a transfer, once: a second call changes nothing."""
    (there,) = batch.execute("SELECT count(*) FROM abdm_page WHERE transfer = ?", (number,)).fetchone()
    if there:
        return
    batch.executemany(
        "INSERT INTO abdm_page (transfer, n, context, document_id, state, reason, attempt, not_before_us, status,"
        " changed_us, body) VALUES (?, ?, ?, ?, 'sealed', '', 0, 0, 0, ?, ?)",
        [
            (number, n, page.context, page.document_id, batch.now_us, _sealed(batch, number, n, page.body))
            for n, page in enumerate(pages, start=1)
        ],
    )
    batch.execute("UPDATE abdm_transfer SET pages = ? WHERE number = ?", (len(pages), number))
    move(batch, number, TransferState.PUSHING)


def pages(rows: Rows, number: int) -> list[KeptPage]:
    found = rows.execute(f"{_PAGE} WHERE transfer = ? ORDER BY n", (number,)).fetchall()
    return [_page(rows, row) for row in found]


def set_page(
    batch: Batch, number: int, n: int, state: PageState, *, reason: str = "", status: int = 0, not_before_us: int = 0
) -> None:
    """What an attempt to send a page has come to."""
    batch.execute(
        "UPDATE abdm_page SET state = ?, reason = ?, status = ?, attempt = attempt + 1, not_before_us = ?,"
        " changed_us = ? WHERE transfer = ? AND n = ?",
        (state.value, reason, status, not_before_us, batch.now_us, number, n),
    )
    batch.execute("UPDATE abdm_transfer SET changed_us = ? WHERE number = ?", (batch.now_us, number))


def _sealed(batch: Batch, number: int, n: int, body: bytes) -> bytes:
    return sealing.sealed_bytes(batch, PAGES, f"body {n}", number, body)


def _transfer(rows: Rows, row: Any) -> KeptTransfer:
    number, transaction_id, consent, facility, state, reason, count, ends_us, content = row
    said = sealing.opened(rows, TABLE, "content", number, content)
    return KeptTransfer(number, transaction_id, consent, facility, TransferState(state), reason, count, ends_us, said)


def _page(rows: Rows, row: Any) -> KeptPage:
    values = list(row)
    values[4] = PageState(values[4])
    values[-1] = sealing.opened_bytes(rows, PAGES, f"body {values[1]}", values[0], values[-1])
    return KeptPage(*values)
