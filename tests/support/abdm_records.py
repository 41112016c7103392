"""Reports with documents, as a site at ABDM has them, and requests for them by the simulated reader."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from engine.model.outcome import Outcome
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from tests.documents.test_abdm_documents import verdict
from tests.support.abdm_reports import SETTINGS, oru
from tests.support.abdm_site import FACILITY, AbdmSite, person, report
from tests.support.journals import WINDOW_S, received, routed
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

ISSUED_US = round(datetime(2026, 3, 1, 4, 45, tzinfo=UTC).timestamp() * 1_000_000)  # of `oru`
BEGIN = "2026-01-01T00:00:00.000Z"


@cache
def document(number: str, who: int = 0, *, value: str = "148.50", minute: int = 0) -> bytes:
    """The document of a report, as the mapping makes it."""
    made = verdict(oru(number, who, value=value, minute=minute), **SETTINGS).documents
    return bytes(made[0][0].body)


async def kept(journal: Journal, body: bytes, payload: bytes) -> tuple[int, int]:
    """Numbers of a message and its document in the journal."""
    message = (await journal.run(append.store_message, received(payload), repeat_window_s=WINDOW_S)).id
    await journal.run(record_outcome.record, message, Outcome("mapped"), [routed(body, "abdm")])
    ((document_id,),) = journal.rows("SELECT id FROM document WHERE message_id = ?", (message,))
    return message, document_id


async def published(site: AbdmSite, *numbers: str, who: int = 0, told: bool = True, **other: Any) -> list[int]:
    """Reports with documents, linked and told; the numbers of their contexts."""
    body = other.pop("body", None)
    value, minute = other.pop("value", "148.50"), other.pop("minute", 0)
    made = []
    for number in numbers:
        content = document(number, who, value=value, minute=minute) if body is None else body
        message, document_id = await kept(site.ours.journal, content, f"{number} {value} {minute}".encode())
        new = report(number, message_id=message, **({"document_id": document_id, "issued_us": ISSUED_US} | other))
        made.append(await site.ours.offer(new, person(who)))
    if told:
        await site.ours.is_told(*made)
    return made


async def granted(site: AbdmSite, who: int = 0, **other: Any) -> str:
    """A consent that we have acknowledged."""
    said = {"patient": PEOPLE[who].address, "facility": FACILITY, "begin": BEGIN} | other
    consent = str((await act(site, "grant", said))["consentId"])
    await until(lambda: bool(site.sandbox.state.consents[consent].acknowledged))
    return consent


async def act(site: AbdmSite, name: str, said: dict[str, Any]) -> Any:
    """What a person does in the simulator; its answer."""
    async with site.http.post(f"{site.sandbox.url}/app/{name}", json=said) as answer:
        assert answer.status in (200, 202), await answer.text()
        return await answer.json()


async def asked(site: AbdmSite, consent: str, **other: Any) -> str:
    """A request for the records of a consent; its transaction."""
    return str((await act(site, "pull", {"consentId": consent} | other))["transactionId"])


async def pulled(site: AbdmSite, consent: str, **other: Any) -> Any:
    """A request, once we are done with it, as the simulator has it."""
    transaction = await asked(site, consent, **other)
    return await done(site, transaction)


async def done(site: AbdmSite, transaction: str) -> Any:
    state = site.sandbox.state.transfers[transaction]
    await until(lambda: state.state in ("done", "refused"))
    return await site.ask(f"/transfers/{transaction}")


async def documents(site: AbdmSite, transaction: str = "", who: int = 0) -> list[dict[str, Any]]:
    """What the patient's app shows, decrypted: of one transfer, or of all."""
    shown = await site.ask(f"/app/{PEOPLE[who].address}")
    return [
        json.loads(one["document"])
        for one in shown["documents"]
        if not transaction or one["transactionId"] == transaction
    ]


def line(site: AbdmSite, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether no page is on its way to a reader; of those that begin from now on.

    An attempt that has begun is not stopped by what comes after: a reader that is up again may get its page.
    """
    push, under_way = site.ours.pushes.push, [0]

    async def counted(*given: Any) -> Any:
        under_way[0] += 1
        try:
            return await push(*given)
        finally:
            under_way[0] -= 1

    monkeypatch.setattr(site.ours.pushes, "push", counted)
    return lambda: not under_way[0]
