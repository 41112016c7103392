"""Since a person last looked: what is compared with what, over visits, restarts and users."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.features.access.service.accounts import Accounts
from engine.features.todo import rows as todo
from engine.features.todo import service as todo_looks
from engine.features.todo.rows import MOST_KEYS, looked, looks
from engine.features.todo.service import TodoLooks
from engine.model.errors import StoreError
from engine.model.message import Received
from engine.model.process.clock import ManualClock
from engine.model.site.todo import TodoState
from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Todo
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append
from tests.support.access import GOOD, ROOT
from tests.support.journals import WINDOW_S, opened, running

ASHA, BELA = 1, 2
# Minutes after the look before, who looks, the list then -> the minutes of the look that it is compared with (0: none),
# new entries, and gone ones.
VISITS: list[tuple[int, int, str, int, str, str]] = [
    (0, ASHA, "ab", 0, "", ""),  # the first visit
    (5, ASHA, "abc", 0, "", ""),  # still the first
    (60, ASHA, "bd", 60, "d", "ac"),
    (2, ASHA, "bde", 62, "de", "ac"),  # the same visit: the line stays
    (9, ASHA, "be", 71, "e", "ac"),
    (1, BELA, "be", 0, "", ""),  # another person looks for the first time
    (10, BELA, "f", 10, "f", "be"),
    (0, ASHA, "f", 11, "f", "be"),  # as it was when she looked last
]


def listed(keys: str) -> list[Todo]:
    def entry(key: str) -> Entry:
        return Entry(key=key, level=Level.PROBLEM, phrase=Phrase(key), step="labrelay status")

    return [Todo(entry(key), TodoState(key=key), False) for key in keys]


class Person:
    """Looks at a list that a test changes."""

    def __init__(self, journal: Journal, clock: ManualClock) -> None:
        self.journal = journal
        self.clock = clock
        self.keys: Sequence[Todo] = []
        self.looks = TodoLooks(journal, self.latest, clock)

    async def latest(self) -> Sequence[Todo]:
        return self.keys

    async def look(self, user: int, keys: str, *, by_person: bool = True) -> tuple[int, str, str]:
        """Minutes since the look that it is compared with, new and gone entries."""
        self.keys = listed(keys)
        found = await self.looks.look(user, by_person=by_person)
        await self.journal.run(todo.drop, "-", "asha")  # behind the look, which is stored by then
        if found is None:
            return 0, "", ""
        return round((self.clock.now_us() - found.at_us) / 60e6), "".join(found.new), "".join(found.gone)


@pytest.mark.parametrize("restarts", [False, True])
async def test_each_visit_is_compared_with_the_one_before(tmp_path: Path, restarts: bool) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        person = Person(journal, clock)
        for minutes, user, keys, *expected in VISITS:
            clock.advance(60 * minutes)
            if restarts:
                person = Person(journal, clock)
            assert await person.look(user, keys) == tuple(expected), (minutes, user, keys)


async def test_a_page_that_renews_itself_is_no_look(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        person = Person(journal, clock)
        await person.look(ASHA, "a")
        clock.advance(3600)
        for renewed in range(3):
            assert await person.look(ASHA, "b", by_person=False) == (60 + 11 * renewed, "b", "a")
            clock.advance(660)
        assert await person.look(ASHA, "b") == (93, "b", "a")


async def test_what_came_in_is_counted_from_then_on(tmp_path: Path) -> None:
    clock = ManualClock()

    def came(batch: Batch, payload: bytes) -> None:
        received = Received(channel="a", payload=payload, received_us=clock.now_us(), control_id="", message_type="x")
        append.store_message(batch, received, repeat_window_s=WINDOW_S)
        append.store_incomplete(batch, replace(received, payload=payload + b"cut"), ReasonCode.INCOMPLETE)

    journal = opened(tmp_path, clock=clock)
    journal.run_alone(came, b"before")
    clock.advance(1.9)  # addresses of lists have full seconds
    seen_at = clock.now_us()
    for payload in (b"1", b"2", b"3"):
        clock.advance(600)
        journal.run_alone(came, payload)
    journal.run_alone(looked, ASHA, ["a"], seen_at)
    journal.close()
    async with running(tmp_path, clock=clock) as journal:
        found = await Person(journal, clock).looks.look(ASHA, by_person=True)
        assert found is not None
        assert (found.messages, found.letters, found.at_us) == (6, 0, seen_at - 900_000)


async def test_readers_of_one_list_share_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(journal: Journal, user: int) -> object:
        read.append(user)
        return looks(journal, user)

    monkeypatch.setattr(todo_looks, "looks", counted)
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        person = Person(journal, clock)
        for _ in range(20):
            await person.looks.look(ASHA, by_person=True)
        assert read == [ASHA]


async def test_a_journal_that_cannot_be_read_or_written_costs_the_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise StoreError("the disk does not answer")

    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        person = Person(journal, clock)
        await person.look(ASHA, "a")
        clock.advance(3600)
        with monkeypatch.context() as patch:
            patch.setattr(todo_looks, "count_messages", fails)
            person.keys = listed("b")
            found = await person.looks.look(ASHA, by_person=False)
            assert found is not None
            assert (found.new, found.messages, found.letters) == (("b",), None, 0)
        with monkeypatch.context() as patch:
            patch.setattr(todo_looks, "looks", fails)
            patch.setattr(journal, "run", fails)
            person.keys = listed("c")
            assert await person.looks.look(ASHA, by_person=True) is None


async def test_a_look_has_a_limit_and_goes_with_its_user(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("anna", "admin", GOOD, by=ROOT)
        bela = await accounts.users.add("bela", "viewer", GOOD, by=ROOT)
        person = Person(journal, clock)
        await person.look(bela.id, "".join(chr(0x4E00 + number) for number in range(MOST_KEYS + 5)))
        (last, before) = looks(journal, bela.id)
        assert last is not None
        assert (len(last.keys), before) == (MOST_KEYS, None)
        await accounts.users.remove("bela", by=ROOT)
        assert looks(journal, bela.id) == (None, None)
