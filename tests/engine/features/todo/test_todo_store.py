"""What people have said about the to-do list is kept over restarts and backups, with the acts that it comes from."""

from pathlib import Path

import pytest

from engine.features.todo import rows as todo
from engine.features.todo.rows import todo_states
from engine.model.site.actor import Actor
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.journals import running

ASHA = Actor("asha", role="operator")
KEY = "silent/haematology"
HOUR_US = 3_600_000_000


async def test_each_word_is_kept_with_its_person_over_a_restart_and_is_an_act(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(todo.take, KEY, ASHA)
        await journal.run(todo.annotate, KEY, "bela", "the cable is loose")
        await journal.run(todo.snooze, KEY, ASHA, "part is ordered", until_us=HOUR_US, rank=1, count=3)
    async with running(tmp_path) as journal:
        (state,) = todo_states(journal).values()
        assert state.taken is not None
        assert state.note is not None
        assert state.snooze is not None
        assert (state.key, state.taken.by, state.note.by, state.note.text) == (
            KEY,
            "asha",
            "bela",
            "the cable is loose",
        )
        snooze = state.snooze
        assert (snooze.by, snooze.text, snooze.until_us, snooze.rank, snooze.count) == (
            "asha", "part is ordered", HOUR_US, 1, 3,
        )  # fmt: skip
        assert 0 < state.taken.at_us <= state.note.at_us <= snooze.at_us
        assert [(act.verb, act.actor, act.what["entry"]) for act in acts_page(journal)] == [
            ("todo-snooze", "asha", KEY), ("todo-note", "bela", KEY), ("todo-take", "asha", KEY),
        ]  # fmt: skip
        assert acts_page(journal, limit=1)[0].by == {"role": "operator"}


async def test_the_last_word_counts_and_dropped_is_as_if_nothing_was_said(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await journal.run(todo.drop, KEY, ASHA) is None
        await journal.run(todo.take, KEY, ASHA)
        await journal.run(todo.take, KEY, "bela")
        taken = todo_states(journal)[KEY].taken
        assert taken is not None
        assert taken.by == "bela"
        assert await journal.run(todo.drop, KEY, ASHA) is not None
        assert todo_states(journal) == {}
        assert await journal.run(todo.drop, KEY, ASHA) is None
        assert len(acts_page(journal)) == 3, "an act that changed nothing is none"


@pytest.mark.parametrize("part", ["taken", "note", "snooze"])
async def test_one_part_is_forgotten_and_the_others_stay(tmp_path: Path, part: str) -> None:
    async with running(tmp_path) as journal:
        await journal.run(todo.take, KEY, ASHA)
        await journal.run(todo.annotate, KEY, ASHA, "the cable is loose")
        await journal.run(todo.snooze, KEY, ASHA, "part is ordered", until_us=HOUR_US, rank=1, count=3)
        assert await journal.run(todo.drop, KEY, "bela", part) is not None
        assert await journal.run(todo.drop, KEY, "bela", part) is None
        state = todo_states(journal)[KEY]
        assert [name for name in ("taken", "note", "snooze") if getattr(state, name) is None] == [part]
        (act, *_) = acts_page(journal)
        assert (act.actor, act.verb, act.what) == ("bela", "todo-drop", {"entry": KEY, "only": part})
        for other in {"taken", "note", "snooze"} - {part}:
            await journal.run(todo.drop, KEY, "bela", other)
        assert todo_states(journal) == {}, "nothing is left to be kept"


async def test_an_entry_that_goes_comes_back_or_is_forgotten_without_an_act(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for key in ("a", "b", "c"):
            await journal.run(todo.take, key, ASHA)
        acts = len(acts_page(journal))

        async def observed(gone: list[str], back: list[str], forgotten: list[str], now_us: int) -> dict[str, int]:
            await journal.run(todo.observed, gone=gone, back=back, forgotten=forgotten, now_us=now_us)
            return {key: state.gone_us for key, state in todo_states(journal).items()}

        assert await observed(["a", "b"], [], [], 7) == {"a": 7, "b": 7, "c": 0}
        assert await observed([], ["a"], ["b"], 9) == {"a": 0, "c": 0}
        await observed(["a"], [], [], 11)
        await journal.run(todo.annotate, "a", ASHA, "it is there again")
        assert todo_states(journal)["a"].gone_us == 0
        assert len(acts_page(journal)) == acts + 1


async def test_words_are_sealed_and_without_the_key_the_entry_is_known(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(todo.annotate, KEY, ASHA, "Mrs Sharma asked")
    (tmp_path / KEY_NAME).rename(tmp_path / "elsewhere")
    reader = Reader.beside(tmp_path)
    (state,) = todo_states(reader).values()
    reader.close()
    assert state.note is not None
    assert (state.note.by, state.note.text) == ("", "")
    assert b"Sharma" not in (tmp_path / JOURNAL_NAME).read_bytes()


async def test_what_is_kept_is_bounded_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(todo, "MAX_KEPT", 3)
    async with running(tmp_path) as journal:
        for key in ("a", "b", "c"):
            await journal.run(todo.take, key, ASHA)
        await journal.run(todo.annotate, "a", ASHA, "still")
        await journal.run(todo.take, "d", ASHA)
        assert set(todo_states(journal)) == {"a", "c", "d"}
