"""How much of what waits in the journal goes out at once, and that more of it is claimed meanwhile."""

import asyncio
from collections.abc import Iterator
from itertools import count, islice

import pytest

from engine.features.abdm.service.outbox import AHEAD, Outbox
from engine.model.process.clock import SystemClock
from tests.support.waiting import until

PLACES = 3


class Desk:
    """Work without end. An attempt has its answer when the test says so, and is noted when the test says so."""

    def __init__(self) -> None:
        self.numbers: Iterator[int] = count()
        self.claimed: list[int] = []
        self.out: set[int] = set()
        self.most_out = 0
        self.answers = asyncio.Semaphore(0)
        self.notes = asyncio.Semaphore(0)
        self.noted = 0
        self.outbox: Outbox[int] = Outbox(
            SystemClock(), places=PLACES, claim=self.claim, attempt=self.attempt, put_off=self.put_off,
            due_us=lambda: None, fault="a fault",
        )  # fmt: skip

    def claim(self, most: int, _: bool) -> "asyncio.Future[list[int]]":
        found = list(islice(self.numbers, most))
        self.claimed += found
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        done.set_result(found)
        return done

    def put_off(self, _: int) -> "asyncio.Future[None]":
        raise AssertionError("no attempt fails here")

    async def attempt(self, number: int) -> None:
        async with self.outbox.place:
            self.out.add(number)
            self.most_out = max(self.most_out, len(self.out))
            await self.answers.acquire()
            self.out.discard(number)
        await self.notes.acquire()
        self.noted += 1


@pytest.mark.parametrize("answered", [0, 1, PLACES, AHEAD * PLACES])
async def test_a_place_is_free_again_once_its_answer_has_come_and_no_more_is_claimed_than_twice_the_places(
    answered: int,
) -> None:
    desk = Desk()
    work = asyncio.create_task(desk.outbox.carry_out())
    try:
        await until(lambda: len(desk.out) == PLACES)
        for _ in range(answered):
            desk.answers.release()
        still_out = min(PLACES, AHEAD * PLACES - answered)
        await until(lambda: len(desk.out) == still_out and desk.answers._value == 0)
        assert (len(desk.claimed), desk.noted) == (AHEAD * PLACES, 0)

        for _ in range(answered):
            desk.notes.release()
        await until(lambda: desk.noted == answered and len(desk.claimed) == AHEAD * PLACES + answered)
        await until(lambda: len(desk.out) == PLACES)
        assert desk.most_out == PLACES
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
