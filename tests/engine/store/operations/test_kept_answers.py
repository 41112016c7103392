"""Answers to acts are kept, by the key that the caller gave."""

from pathlib import Path

import pytest

from engine.model.errors import RefusedError
from engine.model.process.clock import ManualClock
from engine.store.operations import kept_answers
from engine.store.operations.kept_answers import KEPT_US, Kept
from tests.support import journals

MOST = 2


async def test_a_key_is_begun_once_and_answered_again_also_after_a_restart(tmp_path: Path) -> None:
    for answered in (Kept(b"asked", 0, b""), Kept(b"asked", 200, b"{}"), Kept(b"asked", 200, b"{}")):
        async with journals.running(tmp_path) as journal:
            first = await journal.run(kept_answers.begin, b"key", b"asked", most=MOST)
            assert first in (None, answered)
            assert await journal.run(kept_answers.begin, b"key", b"other", most=MOST) == (first or answered)
            assert await journal.run(kept_answers.begin, b"other key", b"asked", most=MOST) in (
                None,
                Kept(b"asked", 0, b""),
            )
            await journal.run(kept_answers.end, b"key", 200, b"{}")


async def test_a_key_is_kept_for_two_days(tmp_path: Path) -> None:
    clock = ManualClock()
    async with journals.running(tmp_path, clock=clock) as journal:
        await journal.run(kept_answers.begin, b"key", b"asked", most=MOST)
        await journal.run(kept_answers.end, b"key", 200, b"{}")
        clock.advance(KEPT_US / 1e6 - 1)
        assert await journal.run(kept_answers.begin, b"key", b"asked", most=MOST) is not None
        clock.advance(2)
        assert await journal.run(kept_answers.begin, b"key", b"asked", most=MOST) is None


async def test_so_many_are_kept_and_no_more(tmp_path: Path) -> None:
    async with journals.running(tmp_path) as journal:
        for key in (b"1", b"2"):
            assert await journal.run(kept_answers.begin, key, b"asked", most=MOST) is None
        with pytest.raises(RefusedError):
            await journal.run(kept_answers.begin, b"3", b"asked", most=MOST)
        assert await journal.run(kept_answers.begin, b"1", b"asked", most=MOST) is not None
