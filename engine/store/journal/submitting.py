"""Handing operations to the writer, whose thread carries them out and makes them durable
(`engine.store.core.writer`)."""

import asyncio
import itertools
import sqlite3
from pathlib import Path
from typing import TypeVar

from engine.model.errors import StoreError
from engine.store.core.batch import Batch, Tail
from engine.store.core.vault import Vault
from engine.store.core.writer import Job, Operation, Writer
from engine.store.journal.upkeep import StoreUpkeep
from engine.store.operations.line_trace import LineLog
from engine.store.queries import Reader

T = TypeVar("T")


class Submitting(Reader):
    """A journal that is open for writing, or only for reading."""

    def __init__(self, path: Path, vault: Vault | None, *, immutable: bool = False) -> None:
        super().__init__(path, vault, immutable=immutable)
        self.boot = 0
        self.journal_id = b""
        self.others: dict[bytes, int] = {}
        self._damaged: list[str] = []
        self._recovered = False
        self._rotating = False
        self._connection: sqlite3.Connection | None = None
        self._upkeep: StoreUpkeep | None = None
        self._tail: Tail | None = None
        self._writer: Writer | None = None
        self._lines = LineLog(lambda operation, size: self._submit(operation, size=size, patient=True))
        self._sessions = itertools.count(1)

    def _submit(
        self, operation: Operation[T], *, size: int = 0, verdict: bool = False, patient: bool = False
    ) -> "asyncio.Future[T]":
        if self._writer is None:
            raise StoreError("the journal is not open for writing")
        return self._writer.submit(operation, size=size, verdict=verdict, patient=patient)

    def run_alone(self, operation: Operation[T]) -> T:
        """Run an operation in this thread; for tools that open a journal, change it once and close it."""
        return self._now(operation)

    def _now(self, operation: Operation[T]) -> T:
        """Run an operation in this thread, before the writer thread exists."""
        assert self._writer is not None
        return self._writer.run_alone(operation)

    def lend(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run long work on the writer's connection, between commits (`Writer.lend`)."""
        if self._writer is None:
            raise StoreError("the journal is not open for writing")
        return self._writer.lend(job)

    def lend_alone(self, job: Job[T]) -> T:
        """The same in this thread, before `start`."""
        assert self._writer is not None, "opened read-only"
        return self._writer.lend_alone(job)

    def head(self) -> "asyncio.Future[tuple[int, str]]":
        """The newest row and its chain value, hexadecimal: what proves elsewhere that the journal had come so far."""
        return self._submit(_head)


def _head(batch: Batch) -> tuple[int, str]:
    return batch.last_id, batch.chain.hex()
