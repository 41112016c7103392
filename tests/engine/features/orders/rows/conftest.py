"""A worklist on a real journal."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.model.process.clock import ManualClock
from tests.engine.features.orders.rows.test_orders_in_and_out import Desk
from tests.support.journals import started


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock()
    journal = await started(tmp_path / "data", clock=clock)
    try:
        yield Desk(journal, clock)
    finally:
        await journal.stop()
