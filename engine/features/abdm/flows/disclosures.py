"""The audit trail of what has left: which reader got which reports, under which consent, for what purpose; and, apart,
what may have left: pages that went out, and of which no reader has said that it took them.

A row names the reader, the consent, and the reports by numbers. It names no patient: where a patient asks for his own
records the reader's name may be his, and is left out.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from engine.features.abdm.flows import consents
from engine.features.abdm.rows import consents as kept_consents
from engine.features.abdm.rows import transfers
from engine.features.abdm.rows.transfers import KeptTransfer
from engine.features.abdm.rules.consents import Artefact
from engine.model.errors import IntegrityError
from engine.store.core.batch import Batch
from engine.store.operations import audit

ACTOR, VERB, UNSURE = "labrelay", "abdm-disclosed", "abdm-maybe-disclosed"


def reader(artefact: Artefact) -> dict[str, str]:
    """Who reads under a consent, and for what purpose. A transfer keeps it, for the consent may be erased before its
    end."""
    name = {"reader_name": artefact.shown_reader} if artefact.shown_reader else {}
    return {"reader": artefact.reader, "purpose": artefact.purpose} | name


def disclosed(batch: Batch, transfer: KeptTransfer, contexts: Sequence[int], *, certain: bool = True) -> int:
    """Note that a reader has these reports, in the transaction that ends their transfer; return the number of the row.

    Args:
        transfer: the request.
        contexts: numbers of the care contexts that went out.
        certain: the reader has taken them; else it may have.
    """
    what: dict[str, Any] = {"transfer": transfer.number, "contexts": list(contexts)}
    if messages := transfers.messages_of(batch, transfer.number, contexts):
        what["messages"] = messages
    with suppress(IntegrityError):  # of a row that names who it was; the number of the transfer stays
        kept = kept_consents.by_number(batch, transfer.consent)
        if kept is not None:
            what |= {"consent": kept.consent_id, "transaction": transfer.transaction_id, "facility": transfer.facility}
            artefact = consents.artefact(kept)
            what |= reader(artefact) if artefact is not None else _said(transfer)
    return audit.note(batch, ACTOR, VERB if certain else UNSURE, what)


def _said(transfer: KeptTransfer) -> dict[str, str]:
    said = transfer.content if isinstance(transfer.content, dict) else {}
    return dict(said.get("reader") or {})
