"""A fault in the transaction that records an outcome: a dead letter, and the messages behind it do not notice."""

import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.features.results.rows import applying
from engine.model.errors import IntegrityError
from tests.results.test_results_in_succession import CHANNELS, Lab
from tests.support.running import running_site


def _breaks_a_constraint(batch: Any, *_: Any, **__: Any) -> None:
    batch.execute("INSERT INTO lane (id, channel, destination) SELECT id, channel, destination FROM lane LIMIT 1")


def _raises(error: Exception) -> Callable[..., None]:
    def raising(*_: Any, **__: Any) -> None:
        raise error

    return raising


FAULTS: dict[str, Callable[..., None]] = {
    "an entry without an address": _raises(KeyError("fullUrl")),
    "a resource of another shape": _raises(AttributeError("get")),
    "too deep": _raises(RecursionError()),
    "a row that is damaged": _raises(IntegrityError("document 1: the seal does not fit")),
    "a statement that the database refuses": _breaks_a_constraint,
    "a value that the database cannot keep": _raises(sqlite3.DataError("string or blob too big")),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_while_an_outcome_is_recorded_is_a_dead_letter(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(tmp_path, CHANNELS) as site:
        lab = Lab(site, "hl7", count(1))
        assert await lab.says("F GLU 5.5 09:30") == "delivered"
        with monkeypatch.context() as broken:
            broken.setattr(applying, "applied", FAULTS[fault])
            assert await lab.says("C GLU 6.0 09:40") == "MAPPING_FAULT"
        assert await lab.says("F NA 140 09:45", order="S2") == "delivered"
        await site.retry(2)
        assert lab.results() == {"GLU": "corrected 6", "NA": "final 140"}
