"""Steps of a transfer, each in one transaction: its pages are kept, an attempt begins, an attempt has ended.

Before an attempt all is looked at anew: the window, the consent, the patient and the report, and so it is once the
connection is made. A consent that was revoked in the transaction before stops it.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from dataclasses import replace as replace_field
from datetime import datetime, timedelta

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import consents, pages, requests
from engine.features.abdm.rows import callbacks, transfers
from engine.features.abdm.rows import consents as kept_consents
from engine.features.abdm.rows.calls import follow
from engine.features.abdm.rows.transfers import KeptPage, KeptTransfer, NewPage
from engine.features.abdm.rules.consents import Artefact, DataRequest, Refusal
from engine.features.abdm.rules.network import PageState, TransferState
from engine.model.errors import IntegrityError
from engine.model.process.clock import from_us
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

WAIT_S = 1.0  # where nothing can be sent now
FOLDING_US = 50_000  # for a notice of a consent that is to be read


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done about a transfer: nothing any more (``is_over``), to wait, to seal a page anew, or to send.

    Attributes:
        until_us: when to look again.
    """

    is_over: bool = False
    until_us: int = 0
    stale: int = 0
    page: KeptPage | None = None
    address: str = field(default="", repr=False)


@operation(priority=Priority.SETTLE, size=lambda ours, number, found, left: sum(len(page.body) for page in found))
def keep(batch: Batch, ours: AbdmDestination, number: int, found: list[NewPage], left: dict[str, str]) -> bool:
    """Keep the pages of a transfer; where there are none it ends. False: it has ended."""
    transfer = transfers.by_number(batch, number)
    if transfer is None or transfer.state is not TransferState.ACKNOWLEDGED:
        return transfer is not None and transfer.state is TransferState.PUSHING
    granted = _granted(batch, ours, transfer, batch.now_us)
    if isinstance(granted, str):
        requests.end(batch, transfer, granted)
        return False
    if left:
        transfers.keep_content(batch, number, {**transfer.content, "left": left})
    if not found:
        kept = transfers.by_number(batch, number)
        assert kept is not None
        requests.end(batch, kept)
        return False
    transfers.add_pages(batch, number, found)
    return True


@operation(priority=Priority.SETTLE)
def look(
    batch: Batch, ours: AbdmDestination, number: int, *, can_send: bool, ahead_s: float, set_back: bool = False
) -> Turn:
    """Whether the next page may go now; if so, an attempt of it has begun.

    Args:
        ahead_s: of the gateway's clock, before ours. A consent has ended where either clock says so.
        set_back: our clock was.
    """
    if set_back:
        follow(batch)
    transfer = transfers.by_number(batch, number)
    if transfer is None or transfer.state is not TransferState.PUSHING:
        return Turn(is_over=True)
    granted = _granted(batch, ours, transfer, batch.now_us)
    if isinstance(granted, str):
        requests.end(batch, transfer, granted)
        return Turn(is_over=True)
    if (wait_us := _waits_us(batch, transfer)) > 0:
        return Turn(until_us=batch.now_us + wait_us)
    request, grant = granted
    if _is_over(grant, batch.now_us, ahead_s):
        requests.end(batch, transfer, Refusal.EXPIRED.value)
        return Turn(is_over=True)
    while (page := transfers.next_page(batch, number)) is not None:
        found, reason = pages.choice(batch, page.context, grant, request)
        if found is None:  # the patient has left, the report was withdrawn
            transfers.set_page(batch, number, page.n, PageState.FAILED, reason=reason)
            continue
        if found.context.document_id != page.document_id and page.attempt == page.unsent:
            return Turn(stale=page.n)
        if not can_send or page.not_before_us > batch.now_us:
            until_us = max(page.not_before_us, batch.now_us + round(WAIT_S * 1_000_000) if not can_send else 0)
            return Turn(until_us=min(until_us, transfer.ends_us))
        transfers.begin_page(batch, number, page.n)
        return Turn(page=replace_field(page, attempt=page.attempt + 1), address=request.push_url)
    requests.end(batch, transfer)
    return Turn(is_over=True)


def look_again(rows: Rows, ours: AbdmDestination, page: KeptPage, now_us: int, ahead_s: float) -> bool | None:
    """Whether a page of which an attempt has begun may still go; None: it waits (`_waits_us`). One of which
    no byte was sent before does not, where its report was amended meanwhile.

    Args:
        ahead_s: as of `look`.
    """
    transfer = transfers.by_number(rows, page.transfer)
    if transfer is None or transfer.state is not TransferState.PUSHING:
        return False
    if _waits_us(rows, transfer) > 0:
        return None
    granted = _granted(rows, ours, transfer, now_us)
    if isinstance(granted, str):
        return False
    request, grant = granted
    if _is_over(grant, now_us, ahead_s):
        return False
    _, state, _ = transfers.states(rows, page.transfer)[page.n - 1]
    found, _ = pages.choice(rows, page.context, grant, request)
    if state is not PageState.SEALED or found is None:
        return False
    return found.context.document_id == page.document_id or page.attempt - 1 > page.unsent


@operation(priority=Priority.SETTLE)
def settle(
    batch: Batch, number: int, n: int, state: PageState, *, status: int, again_s: float, sent: bool = True
) -> bool:
    """What an attempt came to; with the last page the transfer ends, and True is returned.

    Args:
        sent: whether a byte of the page may have gone out.
    """
    if not sent:
        transfers.not_sent(batch, number, n)
    not_before_us = batch.now_us + round(again_s * 1_000_000) if state is PageState.SEALED else 0
    reason = requests.READER_REFUSED if state is PageState.FAILED else ""
    transfers.set_page(batch, number, n, state, reason=reason, status=status, not_before_us=not_before_us)
    transfer = transfers.by_number(batch, number)
    if transfer is None or transfer.state is not TransferState.PUSHING:
        return True
    if any(one is PageState.SEALED for _, one, _ in transfers.states(batch, number)):
        return False
    requests.end(batch, transfer)
    return True


@operation(priority=Priority.SETTLE)
def replace(batch: Batch, number: int, n: int, page: NewPage | None, reason: str) -> None:
    """Another version of a report in a page that was never sent; None: it does not go any more."""
    if page is None:
        transfers.set_page(batch, number, n, PageState.FAILED, reason=reason)
    else:
        transfers.replace_page(batch, number, n, page)


@operation(priority=Priority.SETTLE)
def give_up(batch: Batch, number: int, reason: str) -> None:
    if (transfer := transfers.by_number(batch, number)) is not None:
        requests.end(batch, transfer, transfer.reason or reason)


@operation(priority=Priority.SETTLE)
def give_up_damaged(batch: Batch, number: int) -> None:
    """End a transfer of which a row cannot be opened; its report has what can be said without."""
    if (transfer := transfers.without_content(batch, number)) is not None:
        requests.end(batch, transfer, requests.DAMAGED)


@operation(priority=Priority.SETTLE)
def give_up_late(batch: Batch, number: int) -> bool:
    """End a transfer whose window is over; False: it is not."""
    transfer = transfers.without_content(batch, number)
    if transfer is None or batch.now_us < transfer.ends_us:
        return transfer is None
    with suppress(IntegrityError):
        transfer = transfers.by_number(batch, number) or transfer
    requests.end(batch, transfer, requests.WINDOW_OVER)
    return True


def _waits_us(rows: Rows, transfer: KeptTransfer) -> int:
    """For how long a page waits: a notice of a consent is to be folded first, which may be a revocation; or the gateway
    is to take our answer to the grant. 0: for neither."""
    if callbacks.is_waiting(rows, consents.NOTICE):
        return FOLDING_US
    awaited = consents.is_awaited(rows, kept_consents.by_number(rows, transfer.consent))
    return round(WAIT_S * 1_000_000) if awaited else 0


def _is_over(grant: Artefact, now_us: int, ahead_s: float) -> bool:
    """Whether a consent has ended by the gateway's clock."""
    return from_us(now_us) + timedelta(seconds=ahead_s) >= grant.erase_at


def _granted(
    rows: Rows, ours: AbdmDestination, transfer: KeptTransfer, now_us: int
) -> tuple[DataRequest, Artefact] | str:
    """The request and the grant under which pages of it may go now; or why none may."""
    if transfer.reason:  # of the consent's end
        return transfer.reason
    if now_us >= transfer.ends_us:
        return requests.WINDOW_OVER
    request, kept = requests.read(transfer), kept_consents.by_number(rows, transfer.consent)
    found = consents.may_go(rows, ours, kept, request, transfer.facility, from_us(now_us))
    return found.value if isinstance(found, Refusal) else (request, found)


def plan(
    rows: Rows, ours: AbdmDestination, transfer: KeptTransfer, request: DataRequest, now: datetime
) -> tuple[list[pages.Choice], dict[str, str]] | None:
    """What goes and what does not; None: nothing may."""
    if transfer.reason:
        return None
    kept = kept_consents.by_number(rows, transfer.consent)
    found = consents.may_go(rows, ours, kept, request, transfer.facility, now)
    return None if isinstance(found, Refusal) else pages.chosen(rows, found, request)


def choice(rows: Rows, transfer: KeptTransfer, request: DataRequest, n: int) -> pages.Choice | None:
    page = transfers.next_page(rows, transfer.number)
    if page is None or page.n != n:
        return None
    kept = kept_consents.by_number(rows, transfer.consent)
    grant = consents.artefact(kept) if kept is not None else None
    return pages.choice(rows, page.context, grant, request)[0] if grant is not None else None
