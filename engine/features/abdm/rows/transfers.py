"""Requests for records, and the encrypted pages of each. A page is kept before its first byte is sent, and is sent as
it is kept: no key and no nonce is ever used for another plaintext. Its bytes are deleted once it was delivered, or
will not be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.features.abdm.rows import change, sealing
from engine.features.abdm.rules.network import PageState, TransferState
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch

TABLE, PAGES = "abdm_transfer", "abdm_page"
OF_END = ("consent", "contexts", "left", "reader")  # of the content, for report and audit trail; names no patient
_SELECT = "SELECT number, transaction_id, consent, facility, state, reason, pages, ends_us, content FROM abdm_transfer"
_PAGE = (
    "SELECT transfer, n, context, document_id, state, reason, attempt, unsent, not_before_us, status, body"
    " FROM abdm_page"
)


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
    """``body``: the bytes of the whole request. ``reason``: why a part of the report is not in it."""

    context: int
    document_id: int
    body: bytes = field(repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A row; the names are its columns. ``unsent``: attempts of which no byte went out."""

    transfer: int
    n: int
    context: int
    document_id: int
    state: PageState
    reason: str
    attempt: int
    unsent: int
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


def without_content(rows: Rows, number: int) -> KeptTransfer | None:
    """As `by_number`, also where the content is damaged: nothing is opened."""
    row = rows.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    if row is None:
        return None
    _, transaction_id, consent, facility, state, reason, count, ends_us, _ = row
    return KeptTransfer(number, transaction_id, consent, facility, TransferState(state), reason, count, ends_us, None)


def open_numbers(rows: Rows, after: int, most: int) -> list[int]:
    """Those that have not ended, behind ``after``, the oldest first."""
    found = rows.execute(
        "SELECT number FROM abdm_transfer WHERE state NOT IN ('ended', 'refused') AND number > ? ORDER BY number"
        " LIMIT ?",
        (after, most),
    )
    return [number for (number,) in found.fetchall()]


def count_open(rows: Rows) -> int:
    (count,) = rows.execute("SELECT count(*) FROM abdm_transfer WHERE state NOT IN ('ended', 'refused')").fetchone()
    return int(count)


def move(batch: Batch, number: int, state: TransferState, reason: str = "") -> None:
    """A transfer that ends keeps no bytes of its pages."""
    change(batch, "abdm_transfer", number, state=state.value, reason=reason)
    if state in (TransferState.ENDED, TransferState.REFUSED):
        batch.execute("UPDATE abdm_page SET body = x'' WHERE transfer = ? AND body <> x''", (number,))


def end_of_consent(batch: Batch, consent: int, reason: str) -> list[int]:
    """A consent has ended, or is suspended: pages of its open transfers that were not delivered never go, and their
    bytes are deleted now. Return the numbers of these transfers.

    They stay open, with this reason, until their outcome is reported to the gateway: the flow of transfers does so, and
    moves them to their end. A page that is under way now may still be delivered (`set_page`).
    """
    found = batch.execute(
        "SELECT number FROM abdm_transfer WHERE consent = ? AND consent > 0 AND state NOT IN ('ended', 'refused')",
        (consent,),
    ).fetchall()
    for (number,) in found:
        change(batch, "abdm_transfer", number, reason=reason)
        batch.execute(
            "UPDATE abdm_page SET body = x'', changed_us = ?, reason = CASE state WHEN 'sealed' THEN ? ELSE reason END,"
            " state = CASE state WHEN 'sealed' THEN 'failed' ELSE state END WHERE transfer = ?",
            (batch.now_us, reason, number),
        )
    return [number for (number,) in found]


def earlier_us(rows: Rows, consent: int, transaction_id: str) -> list[int]:
    """When earlier requests under a consent were taken, in microseconds; those that were refused do not count."""
    found = rows.execute(
        "SELECT made_us FROM abdm_transfer WHERE consent = ? AND state <> 'refused' AND transaction_id <> ?"
        " AND number < coalesce((SELECT number FROM abdm_transfer WHERE transaction_id = ?), 1 << 62)",
        (consent, transaction_id, transaction_id),
    ).fetchall()
    return [made_us for (made_us,) in found]


def messages_of(rows: Rows, number: int, contexts: Sequence[int]) -> list[int]:
    """Of which messages the documents of these contexts are that a transfer has pages of."""
    found = rows.execute(
        "SELECT p.context, d.message_id FROM abdm_page p JOIN document d ON d.id = p.document_id WHERE p.transfer = ?"
        " ORDER BY p.n",
        (number,),
    ).fetchall()
    return list(dict.fromkeys(message for context, message in found if context in contexts))


def add_pages(batch: Batch, number: int, pages: Sequence[NewPage]) -> None:
    """Keep all pages of a transfer, once: a second call changes nothing."""
    (there,) = batch.execute("SELECT count(*) FROM abdm_page WHERE transfer = ?", (number,)).fetchone()
    if there:
        return
    batch.executemany(
        "INSERT INTO abdm_page (transfer, n, context, document_id, state, reason, attempt, unsent, not_before_us,"
        " status, changed_us, body) VALUES (?, ?, ?, ?, 'sealed', ?, 0, 0, 0, 0, ?, ?)",
        [
            (number, n, page.context, page.document_id, page.reason, batch.now_us, _sealed(batch, number, n, page.body))
            for n, page in enumerate(pages, start=1)
        ],
    )
    batch.execute("UPDATE abdm_transfer SET pages = ? WHERE number = ?", (len(pages), number))
    move(batch, number, TransferState.PUSHING)


def keep_content(batch: Batch, number: int, content: Any) -> None:
    batch.execute(
        "UPDATE abdm_transfer SET content = ? WHERE number = ?",
        (sealing.sealed(batch, TABLE, "content", number, content), number),
    )


def pages(rows: Rows, number: int) -> list[KeptPage]:
    found = rows.execute(f"{_PAGE} WHERE transfer = ? ORDER BY n", (number,)).fetchall()
    return [_page(rows, row) for row in found]


def next_page(rows: Rows, number: int) -> KeptPage | None:
    """The first that is still to be sent."""
    row = rows.execute(f"{_PAGE} WHERE transfer = ? AND state = 'sealed' ORDER BY n LIMIT 1", (number,)).fetchone()
    return None if row is None else _page(rows, row)


def states(rows: Rows, number: int) -> list[tuple[int, PageState, str]]:
    """Context, state and reason of each page, in their order; no bytes are opened."""
    found = rows.execute("SELECT context, state, reason FROM abdm_page WHERE transfer = ? ORDER BY n", (number,))
    return [(context, PageState(state), reason) for context, state, reason in found.fetchall()]


def unsure(rows: Rows, number: int) -> list[int]:
    """Contexts of the pages that may have arrived, and of which no reader has said so."""
    found = rows.execute(
        "SELECT context FROM abdm_page WHERE transfer = ? AND state <> 'delivered' AND attempt > unsent ORDER BY n",
        (number,),
    )
    return [context for (context,) in found.fetchall()]


def replace_page(batch: Batch, number: int, n: int, page: NewPage) -> None:
    """Put another document into a page of which no byte was sent; one that was sent stays as it is."""
    batch.execute(
        "UPDATE abdm_page SET context = ?, document_id = ?, reason = ?, body = ?, changed_us = ?"
        " WHERE transfer = ? AND n = ? AND attempt = unsent AND state = 'sealed'",
        (page.context, page.document_id, page.reason, _sealed(batch, number, n, page.body), batch.now_us, number, n),
    )


def begin_page(batch: Batch, number: int, n: int) -> None:
    """An attempt to send a page begins: kept before its first byte."""
    batch.execute(
        "UPDATE abdm_page SET attempt = attempt + 1, changed_us = ? WHERE transfer = ? AND n = ?",
        (batch.now_us, number, n),
    )


def not_sent(batch: Batch, number: int, n: int) -> None:
    """No byte of a page went out in the attempt that has ended."""
    batch.execute("UPDATE abdm_page SET unsent = unsent + 1 WHERE transfer = ? AND n = ?", (number, n))


def set_page(
    batch: Batch, number: int, n: int, state: PageState, *, reason: str = "", status: int = 0, not_before_us: int = 0
) -> int:
    """What an attempt to send a page has come to; return the number of its care context, or 0: nothing has changed.

    One that has ended has no bytes. It stays so, but for one that arrived: its consent has ended while it was under
    way, or its patient has left.
    """
    over = PageState.FAILED if state is PageState.DELIVERED else PageState.SEALED
    row = batch.execute(
        "UPDATE abdm_page SET state = ?,"
        " reason = CASE WHEN state = 'failed' THEN '' WHEN ? = '' THEN reason ELSE ? END, status = ?,"
        " not_before_us = ?, changed_us = ?, body = CASE ? WHEN 'sealed' THEN body ELSE x'' END"
        " WHERE transfer = ? AND n = ? AND state IN ('sealed', ?) RETURNING context",
        (state.value, reason, reason, status, not_before_us, batch.now_us, state.value, number, n, over.value),
    ).fetchone()
    batch.execute("UPDATE abdm_transfer SET changed_us = ? WHERE number = ?", (batch.now_us, number))
    return 0 if row is None else int(row[0])


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
