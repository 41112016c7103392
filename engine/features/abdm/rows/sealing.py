"""Sealed columns and keyed hashes of ABDM's rows."""

from typing import Any

import orjson

from engine.model.content.search_keys import folded
from engine.store.core.connecting import Rows
from engine.store.core.vault import NOTE_KEYS, Vault
from engine.store.core.writing.batch import Batch


def sealed(batch: Batch, table: str, column: str, number: int, content: Any) -> bytes:
    """A column of a row, as JSON. ``content`` None: empty."""
    return b"" if content is None else sealed_bytes(batch, table, column, number, orjson.dumps(content))


def sealed_bytes(batch: Batch, table: str, column: str, number: int, content: bytes) -> bytes:
    return batch.seal(NOTE_KEYS, content, f"{table} {column}", number, "")


def opened(rows: Rows, table: str, column: str, number: int, value: bytes) -> Any:
    """The content of a column; None: empty.

    Raises:
        IntegrityError: it is not what was sealed.
    """
    return orjson.loads(opened_bytes(rows, table, column, number, value)) if value else None


def opened_bytes(rows: Rows, table: str, column: str, number: int, value: bytes) -> bytes:
    return rows.vault.open(value, f"{table} {column}", number, "") if value else b""


def address_token(vault: Vault, address: str) -> bytes:
    """Of an ABHA address in lower case."""
    return _token(vault, b"abdm-address", address.lower())


def abha_token(vault: Vault, digits: str) -> bytes:
    """Of an ABHA number, 14 digits."""
    return _token(vault, b"abdm-number", digits)


def mobile_token(vault: Vault, digits: str) -> bytes:
    """Of a mobile number by its last ten digits, as senders write the country in several ways."""
    return _token(vault, b"abdm-mobile", digits[-10:])


def patient_token(vault: Vault, number: str) -> bytes:
    """Of the laboratory's own patient number without case and blanks, as people search for it and erase by it."""
    return _token(vault, b"abdm-patient", folded(number))


def accession_token(vault: Vault, report: str) -> bytes:
    """Of a document by its own identifier, which no other one has (FHIR R4, Bundle.identifier), of any channel."""
    return _token(vault, b"abdm-accession", report)


def tube_token(vault: Vault, channel: str, accession: str) -> bytes:
    """Of a number of the laboratory that several patients may have."""
    return _token(vault, b"abdm-tube", f"{channel}\0{accession}" if accession else "")


def _token(vault: Vault, kind: bytes, text: str) -> bytes:
    return vault.past_key(kind, text.encode("utf-8", "surrogatepass")) if text else b""
