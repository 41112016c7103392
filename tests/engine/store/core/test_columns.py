"""The columns of the journal's rows: declared once, and read there by all that hash, seal, copy or empty them."""

import asyncio
import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from engine.model.errors import IntegrityError
from engine.store.core import chain, connecting
from engine.store.core.chain import (
    COLUMN_TYPES,
    COLUMNS,
    GENESIS,
    ROW_COLUMNS,
    SEALED_COLUMNS,
    JournalRow,
    chain_hash,
    document_hash,
    erased_digest,
    pruned_digest,
)
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import row_check, verify
from engine.store.integrity.row_check import open_sealed
from engine.store.lifecycle import erasure
from engine.store.operations import append
from engine.store.recovery.backups import increments
from tests.support.journals import opened, running, store

ROW = JournalRow(
    7, 1, "chem", 3, 1_772_353_800_000_000, 5, "ORU^R01", 11, b"t" * 16, b"h" * 32, b"c" * 32, b"meta", b"body"
)
SCHEMA = connecting.ENGINE / "store" / "schema" / "0001_journal.sql"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with running(tmp_path) as journal:
            await store(journal, b"one", b"two")

    asyncio.run(fill())
    return tmp_path


def declared_in_the_schema() -> Iterator[str]:
    text = SCHEMA.read_text()
    yield from text.partition("CREATE TABLE journal (\n")[2].partition("\n);")[0].splitlines()


def test_the_columns_are_those_of_the_table_in_its_order_and_of_its_types() -> None:
    types = {"INTEGER": int, "TEXT": str, "BLOB": bytes}
    lines = [line.split() for line in declared_in_the_schema() if not line.strip().startswith("--")]
    assert {name: types[kind.strip(",")] for name, kind, *_ in lines} == COLUMN_TYPES
    assert [line[0] for line in lines] == list(COLUMNS)


def test_a_column_is_declared_as_sealed_where_the_schema_says_so() -> None:
    assert tuple(line.split()[0] for line in declared_in_the_schema() if "-- sealed:" in line) == SEALED_COLUMNS


def test_the_hash_has_an_argument_for_each_of_its_columns() -> None:
    hashed = [name for name, column in COLUMNS.items() if column.hashed]
    assert [name.removeprefix("row_") for name in inspect.signature(chain.row_hash).parameters] == hashed


@pytest.mark.parametrize("name", COLUMNS)
def test_the_hash_covers_each_column_but_itself_and_the_chain(name: str) -> None:
    value = getattr(ROW, name)
    changed = ROW._replace(**{name: value + 1 if isinstance(value, int) else value.swapcase()})
    assert (changed.computed != ROW.computed) is (name not in ("hash", "chain"))


def test_hashes_of_rows_never_change() -> None:
    """Made once, by this program: another value would make damaged rows of all that was ever stored.

    A new column changes them. Before the first release: put in the new values.
    """
    row = ROW.computed
    assert row.hex() == "8f577a7d13b8d7f9c18b3df96b3e9f9409dd77e45174b0f526079b87af95fe0e"
    assert chain_hash(GENESIS, row).hex() == "4dde3e08825b6b524c0fa04ae757e0f581aca19192a8b27b5e5c11a3a08fdc40"
    document = document_hash(9, 7, 1, 2, "application/fhir+json", b"c", b"r", b"body")
    assert document.hex() == "273e985c17c312e7b659dcffe4b2d45ad95ffb905630073b45f8c363c5400879"
    assert pruned_digest("journal", 1, 5, GENESIS).hex() == "84e7fe008845097a77cd057bee445e9c"
    assert erased_digest("journal", 7, row, GENESIS).hex() == "b80be093902d2e6e14ff765ba8d11e3f"


def test_a_row_in_a_piece_never_changes_its_form() -> None:
    """Made once, by this program: another form could not read the pieces that were written before.

    A new column changes it. Before the first release: put in the new values, and another `MAGIC`.
    """
    assert increments.MAGIC == b"LRROWS1\n"
    packed = increments._packed(ROW)
    assert packed.hex() == (
        "000000000000000701000000000000000300064bf246aa52000000000000000005000000000000000b000400070000001000"
        "20002000000004000000046368656d4f52555e52303174747474747474747474747474747474686868686868686868686868"
        "6868686868686868686868686868686868686868636363636363636363636363636363636363636363636363636363636363"
        "63636d657461626f6479"
    )
    assert list(increments._unpacked(packed + packed, 0)) == [ROW, ROW]


def test_a_piece_of_another_form_is_not_reported_as_damage(tmp_path: Path) -> None:
    piece = tmp_path / "000000000001-000000000002.rows"
    body = b"LRROWS0\n" + bytes(40)
    piece.write_bytes(body + sha256(body).digest())
    with pytest.raises(IntegrityError, match="was written by another build of LabRelay"):
        increments.read(piece)
    piece.write_bytes(body + bytes(32))
    with pytest.raises(IntegrityError, match="not what was written"):
        increments.read(piece)


@pytest.mark.parametrize("name", SEALED_COLUMNS)
def test_the_deep_check_opens_each_sealed_column(data: Path, name: str) -> None:
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection, connection:
        connection.execute(f"UPDATE journal SET {name} = (SELECT {name} FROM journal WHERE id = 1) WHERE id = 2")
    assert [(one.kind, one.first) for one in verify.run(data, deep=True)] == [("changed", 2), ("sealed", 2)]


@pytest.mark.parametrize("name", SEALED_COLUMNS)
def test_only_an_optional_column_may_be_empty(data: Path, name: str) -> None:
    journal = opened(data)
    try:
        journal.run_alone(lambda batch: append.store_frame(batch, "chem", 5, b"1H|", 1))
        frame = next(row for row in row_check.journal_rows(journal._connection, 3, 3) if isinstance(row, JournalRow))
        assert (frame.meta, open_sealed(journal.vault, frame)) == (b"", {"meta": b"", "body": b"1H|"})
        emptied = frame._replace(**{name: b""})
        with nullcontext() if COLUMNS[name].optional else pytest.raises(IntegrityError, match=f"{name} of row 3"):
            open_sealed(journal.vault, emptied)
    finally:
        journal.close()


@pytest.mark.parametrize("name", SEALED_COLUMNS)
def test_no_sealed_column_of_a_message_may_be_empty(data: Path, name: str) -> None:
    """Also where hashes, chain and an earlier anchor were made to fit."""
    journal = opened(data)
    try:
        row = next(row for row in row_check.journal_rows(journal._connection, 1, 1) if isinstance(row, JournalRow))
        with pytest.raises(IntegrityError, match=f"{name} of row 1"):
            open_sealed(journal.vault, row._replace(**{name: b""}))
    finally:
        journal.close()


def test_an_erasure_empties_each_sealed_column_but_the_notes(data: Path) -> None:
    journal = opened(data)
    try:
        journal.run_alone(partial(erasure.erase, messages=[1], numbers=["4711"], actor="a", reason="asked", more={}))
        row = journal.run_alone(
            lambda batch: JournalRow._make(batch.execute(f"SELECT {ROW_COLUMNS} FROM journal WHERE id = 1").fetchone())
        )
        left = open_sealed(journal.vault, row)
    finally:
        journal.close()
    assert left.pop("meta").startswith(b'{"peer":"","id":"","erased":')
    assert set(left.values()) == {b""}
