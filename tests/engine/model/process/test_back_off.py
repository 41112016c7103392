"""Tries go on, with waits that grow to their bound and never fall into step."""

import asyncio

import pytest

from engine.model.process import back_off


async def waits(failures: list[int], first_s: float, max_s: float) -> list[float]:
    """The wait after each try, with so many failures in a row then."""
    found: list[float] = []

    async def noted(seconds: float) -> None:
        found.append(seconds)

    tries = iter(failures)
    async for attempt in back_off.trying(back_off.ALWAYS, first_s=first_s, max_s=max_s, sleep=noted):
        with attempt:
            pass
        if (count := next(tries, None)) is None:
            break
        back_off.begin_anew(attempt, count)
    return found


async def test_back_off_grows_to_its_bound_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_off, "SPREAD", 0.0)
    assert await waits([*range(7), 0], 0.5, 5.0) == [0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 0.5]
    assert await waits([10**9], 0.5, 30.0) == [30.0]


async def test_up_to_a_fifth_of_the_wait_is_taken_off() -> None:
    found = await waits([10**9] * 200, 0.5, 30.0)
    assert 24.0 <= min(found) < max(found) <= 30.0


async def test_it_is_tried_until_it_is_done_and_each_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_off, "SPREAD", 0.0)
    outcomes, slept, said = iter([False, False, True]), list[float](), list[object]()

    async def noted(seconds: float) -> None:
        slept.append(seconds)

    async def once() -> bool:
        return next(outcomes)

    tries = back_off.trying(
        back_off.NOT_YET, before_sleep=lambda state: said.append(back_off.error_of(state)), sleep=noted
    )
    assert await tries(once)
    assert (slept, said) == ([1.0, 2.0], [None, None])


@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError()], ids=repr)
async def test_another_error_and_a_cancellation_end_it(error: BaseException) -> None:
    async def broken() -> None:
        raise error

    with pytest.raises(type(error)):
        await back_off.trying(back_off.UNREACHABLE)(broken)


async def test_a_cancellation_ends_what_is_always_tried_again() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await back_off.trying(back_off.ALWAYS)(cancelled)
