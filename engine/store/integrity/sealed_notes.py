"""Verify what is sealed beside the journal's rows: notes, records of persons, corrections of code tables."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress

import orjson

from engine.features.codes.rows import changes as corrections
from engine.features.results.rows import number_bearers
from engine.model.errors import IntegrityError
from engine.model.records import KIND_ACT
from engine.store.core.vault import Vault
from engine.store.integrity.row_check import Finding

# Sealed columns beside the journal, by table: column, row, channel and content.
_NOTES = {
    "message_state": "SELECT 'message_state', s.id, j.channel, s.detail FROM message_state s"
    " JOIN journal j ON j.id = s.id WHERE s.detail <> x''",
    "delivery": "SELECT 'delivery', d.id, l.channel, d.detail FROM delivery d JOIN lane l ON l.id = d.lane"
    " WHERE d.detail <> x''",
    "attempt": "SELECT 'attempt ' || a.n, a.delivery, l.channel, a.detail FROM attempt a"
    " JOIN delivery d ON d.id = a.delivery JOIN lane l ON l.id = d.lane WHERE a.detail <> x''",
    "line_trace": "SELECT 'line_trace', id, channel, content FROM line_trace",
    "earlier_value": "SELECT 'earlier_value', id, '', value FROM earlier_value",
    "unmapped_code": "SELECT 'unmapped', id, channel, text FROM unmapped_code",
    "correction": "SELECT 'correction', version, '', text FROM correction",
    "order_item": "SELECT 'order_item', number, '', content FROM order_item",
    "order_event": "SELECT 'order_event ' || n, item, '', detail FROM order_event WHERE detail <> x''",
    "abdm_patient": "SELECT 'abdm_patient content', number, '', content FROM abdm_patient WHERE content <> x''",
    "abdm_link_token": "SELECT 'abdm_link_token token', patient, '', token FROM abdm_link_token WHERE token <> x''",
    "abdm_context": "SELECT 'abdm_context content', number, '', content FROM abdm_context WHERE content <> x''",
    "abdm_call": "SELECT 'abdm_call content', number, '', content FROM abdm_call WHERE content <> x''"
    " UNION ALL SELECT 'abdm_call fault', number, '', fault FROM abdm_call WHERE fault <> x''",
    "abdm_callback": "SELECT 'abdm_callback body', number, '', body FROM abdm_callback WHERE body <> x''",
    "abdm_consent": "SELECT 'abdm_consent content', number, '', content FROM abdm_consent WHERE content <> x''",
    "abdm_transfer": "SELECT 'abdm_transfer content', number, '', content FROM abdm_transfer WHERE content <> x''",
    "abdm_page": "SELECT 'abdm_page body ' || n, transfer, '', body FROM abdm_page WHERE body <> x''",
    "abdm_share": "SELECT 'abdm_share content', number, '', content FROM abdm_share WHERE content <> x''",
    "abdm_offer": "SELECT 'abdm_offer content', number, '', content FROM abdm_offer WHERE content <> x''",
    "abdm_code": "SELECT 'abdm_code content', number, '', content FROM abdm_code WHERE content <> x''"
    " UNION ALL SELECT 'abdm_code text', number, '', text FROM abdm_code WHERE text <> x''",
    "bearer": "SELECT 'bearer', number, '', record FROM bearer WHERE record <> x''",
    "bearer_asked": "SELECT 'bearer', number, '', record FROM bearer_asked WHERE record <> x''",
}


def check(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[Finding]:
    """Sealed notes beside the journal; they have no hash of their own, opening them is their check."""
    if vault is None:
        return
    for table, select in _NOTES.items():
        for column, row, channel, sealed in connection.execute(select):
            row_id = row if isinstance(row, int) else number_bearers.sealed_to(row)
            yield from open_one(vault, sealed, column, table, row_id, channel)


def missing_corrections(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[Finding]:
    """Corrections of code tables that the audit trail names and that are missing: also the newest, of which the numbers
    that are left say nothing.
    """
    if vault is None:
        return
    there = {version for (version,) in connection.execute("SELECT version FROM correction")}
    for row_id, sealed in connection.execute("SELECT id, body FROM journal WHERE kind = ? ORDER BY id", (KIND_ACT,)):
        with suppress(IntegrityError):  # the check of the journal's rows names it
            act = orjson.loads(vault.open(sealed, "body", row_id, ""))
            if act.get("verb") in corrections.VERBS and (version := act["what"]["version"]) not in there:
                text = f"correction {version} of the code tables is missing; row {row_id} of the audit trail has it"
                yield Finding("missing", "correction", version, version, text)


def open_one(vault: Vault, sealed: bytes, column: str, table: str, row_id: int, channel: str) -> Iterator[Finding]:
    try:
        vault.open(sealed, column, row_id, channel)
    except IntegrityError as error:
        yield Finding("sealed", table, row_id, row_id, str(error))
