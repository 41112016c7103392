"""Paging by the API: while messages arrive, each that was there at the first page comes exactly once, in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.errors import ProblemError
from engine.model.message import Stored
from engine.store.journal import Journal
from engine.store.operations import audit
from engine.web.api.parameters import cursor_of, numbers_in
from tests.support import journals
from tests.support.api import Client, served
from tests.support.examples import examples

CHANNELS = ("chem", "haem")
ALICE, BOB = "meena", "ravi"


@given(
    there=st.lists(st.sampled_from(CHANNELS), max_size=12),
    arriving=st.lists(st.lists(st.sampled_from(CHANNELS), max_size=3), max_size=12),
    limit=st.integers(1, 5),
    channel=st.sampled_from((None, *CHANNELS)),
)
@settings(max_examples=examples(25), deadline=None)
def test_each_message_comes_exactly_once_while_others_arrive(
    there: list[str], arriving: list[list[str]], limit: int, channel: str | None
) -> None:
    async def run(data: Path) -> None:
        journal = await journals.started(data)
        try:
            stored = await _store(journal, there)
            expected = [one.id for one in reversed(stored) if channel in (None, one.channel)]
            more = iter(arriving)
            async with served(journal) as api:
                query = {"limit": limit} | ({"channel": channel} if channel else {})
                found = []
                async for page in _pages(api, f"/messages?{urlencode(query)}"):
                    assert len(page["messages"]) <= limit
                    assert (page["next"] is None) is (page["cursor"] is None)
                    found += [row["id"] for row in page["messages"]]
                    await _store(journal, next(more, []))
                assert found == expected
        finally:
            await journal.stop()

    _run(run)


@given(
    steps=st.lists(st.sampled_from(("note", "begin", "end", "cut")), max_size=25),
    limit=st.integers(1, 4),
    at_once=st.integers(1, 5),
)
@settings(max_examples=examples(25), deadline=None)
def test_each_act_comes_exactly_once_with_its_end(steps: list[str], limit: int, at_once: int) -> None:
    """Also where an act's end is on an earlier page than its beginning."""

    async def run(data: Path) -> None:
        journal = await journals.started(data)
        try:
            expected = await _acts(journal, steps)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("engine.views.trail.ROWS_AT_ONCE", at_once)
                async with served(journal) as api:
                    found = [row async for page in _pages(api, f"/acts?limit={limit}") for row in page["acts"]]
            assert [(row["id"], row["state"], row["outcome"]) for row in found] == expected
        finally:
            await journal.stop()

    _run(run)


async def test_acts_are_found_by_person_kind_and_message(tmp_path: Path) -> None:
    journal = await journals.started(tmp_path)
    try:
        (message,) = await journals.store(journal, b"MSH|1")
        await journal.run(audit.note, ALICE, "unmask", {"message": message.id})
        await journal.run(audit.note, BOB, "reload", {})
        async with served(journal) as api:
            for query, actors in {
                f"actor={ALICE}": [ALICE],
                "act=reload": [BOB],
                f"message={message.id}": [ALICE],
                "actor=x": [],
                "since=1970-01-02": [BOB, ALICE],
                "until=1970-01-02": [],
            }.items():
                found = (await api.ask(f"/acts?{query}", "admin")).body["acts"]
                assert [row["actor"] for row in found] == actors, query
    finally:
        await journal.stop()


@given(st.lists(st.integers(0, 2**63 - 2), min_size=1, max_size=10), st.sampled_from(("messages", "acts")))
def test_a_cursor_is_read_back_and_belongs_to_its_list(numbers: list[int], name: str) -> None:
    cursor = cursor_of(name, *numbers)
    assert numbers_in(cursor, name) == numbers
    with pytest.raises(ProblemError):
        numbers_in(cursor, "held")


async def test_a_cursor_of_the_largest_number_is_no_error_of_ours(tmp_path: Path) -> None:
    journal = await journals.started(tmp_path)
    try:
        async with served(journal) as api:
            for number, status in ((2**63 - 2, 200), (2**63 - 1, 422)):
                answer = await api.ask(f"/acts?cursor={cursor_of('acts', 5, number)}", "admin")
                assert answer.status == status
    finally:
        await journal.stop()


@given(st.text(max_size=100))
def test_any_other_text_is_no_cursor(text: str) -> None:
    with suppress(ProblemError):
        assert all(isinstance(one, int) for one in numbers_in(text, "messages"))


def _run(test: Any) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(test(Path(folder)))


async def _pages(api: Client, path: str | None) -> AsyncIterator[dict[str, Any]]:
    while path is not None:
        page = (await api.ask(path.removeprefix("/api/v1"), "admin")).body
        yield page
        path = page["next"]


async def _store(journal: Journal, channels: list[str]) -> list[Stored]:
    return [(await journals.store(journal, b"MSH|1", channel=name))[0] for name in channels]


async def _acts(journal: Journal, steps: list[str]) -> list[tuple[int, str, dict[str, Any]]]:
    """Acts noted, begun and ended; each with its state, newest first."""
    acts: dict[int, tuple[str, dict[str, Any]]] = {}
    under_way: list[int] = []
    for number, step in enumerate(steps):
        if step == "note":
            acts[await journal.run(audit.note, ALICE, "reload", {})] = ("done", {})
        elif step == "begin":
            under_way.append(await journal.run(audit.begin, BOB, "retry", {}))
            acts[under_way[-1]] = ("open", {})
        elif under_way:
            act, outcome = under_way.pop(number % len(under_way)), {"n": number, "interrupted": step == "cut"}
            await journal.run(audit.end, act, outcome)
            acts[act] = ("cut short" if step == "cut" else "done", outcome)
    return [(act, state, outcome) for act, (state, outcome) in sorted(acts.items(), reverse=True)]
