"""T29: how long it takes to say of a journal of a site's life that it is whole, or exactly what is wrong with it."""

import random
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from engine.model.journal.records import Routed
from engine.model.message import Document, Received
from engine.model.outcome import Outcome
from engine.model.packing import Packer
from engine.model.process.clock import SystemClock
from engine.store.core.writing.batch import Batch
from engine.store.integrity import row_check, verify
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts
from tests.faults.harness.trial import Trial

AT_ONCE = 1_000
MILLION = 1_000_000
WITHIN_S = 60.0  # of a processor, for a million messages
SPOILT = 20
NOW_US = 1_772_353_800_000_000


class Maker:
    """Messages that are mapped and delivered, by the store's own operations; a commit has as many as `AT_ONCE`."""

    def __init__(self) -> None:
        self._body, self._packed = Packer().pack(b'{"resourceType": "Bundle", "type": "transaction"}')

    def store(self, batch: Batch, *, first: int) -> None:
        for number in range(first, first + AT_ONCE):
            self._one(batch, number)

    def _one(self, batch: Batch, number: int) -> None:
        received = Received(
            channel=f"c{number % 4}",
            payload=b"MSH|^~\\&|XN|LAB|||20260301||ORU^R01|%d|P|2.5\rOBX|1|NM|HGB||14.8|g/dL\r" % number,
            received_us=NOW_US + number,
            peer="",
            control_id=f"B{number}",
            message_type="ORU^R01",
        )
        stored = append.store_message(batch, received, repeat_window_s=86_400.0)
        document = Document(body=self._body, packed=self._packed)
        routed = Routed(document=document, destinations=("server",), claimed=(True,))
        recorded = record_outcome.record(batch, stored.id, Outcome("mapped", mapping="results@0123456789ab"), [routed])
        attempts.settle(batch, recorded.deliveries[0].id, NOW_US + number)


def test_a_whole_journal_and_an_exact_list_of_what_is_wrong(tmp_path: Path, trial: Trial) -> None:
    journal = Journal.open(tmp_path, clock=SystemClock())
    recover(journal)
    maker, messages, began = Maker(), 0, time.perf_counter()
    for thousand in trial.rounds(quick=4, long=MILLION // AT_ONCE, unit="thousand messages"):
        journal.run_alone(partial(maker.store, first=thousand * AT_ONCE))
        messages += AT_ONCE
    journal.close()
    filled = time.perf_counter() - began

    whole, whole_cpu, found = _timed(tmp_path)
    assert found == []
    deep, _, found = _timed(tmp_path, deep=True)
    assert found == []

    spoilt = sorted(random.Random(trial.seed).sample(range(2, messages), SPOILT))
    changed, missing = spoilt[::2], spoilt[1::2]
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as connection:
        for number in changed:
            connection.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id = ?", (number,))
        for number in missing:
            connection.execute("DELETE FROM journal WHERE id = ?", (number,))
    damaged, damaged_cpu, found = _timed(tmp_path)
    named = [(one.kind, one.first, one.last) for one in found if one.table == "journal"]
    expected = [("changed", number, number) for number in changed]
    for number in missing:  # neighbours are one hole
        if expected and expected[-1][0] == "missing" and expected[-1][2] == number - 1:
            expected[-1] = ("missing", expected[-1][1], number)
        else:
            expected.append(("missing", number, number))
    assert sorted(named) == sorted(expected)
    if messages >= MILLION // 10:  # of fewer nothing is foretold
        assert max(whole_cpu, damaged_cpu) * MILLION / messages < WITHIN_S
    trial.figures(
        messages=messages, filled_s=round(filled, 1), verify_s=round(whole, 1), verify_cpu_s=round(whole_cpu, 1),
        verify_deep_s=round(deep, 1), verify_damaged_s=round(damaged, 1), messages_a_second=round(messages / whole),
    )  # fmt: skip


def _timed(data: Path, *, deep: bool = False) -> tuple[float, float, list[row_check.Finding]]:
    """Seconds by the clock, seconds of a processor, and what was found. A busy machine says nothing by the first."""
    began, used = time.perf_counter(), time.process_time()
    found = verify.run(data, deep=deep)
    return time.perf_counter() - began, time.process_time() - used, found
