"""Corrections of code tables in the journal: numbered, limited, and given only to who has seen the last one."""

from pathlib import Path

import pytest

from engine.features.codes import rows as corrections
from engine.features.codes.rows import list_corrections
from engine.model.errors import IntegrityError, RefusedError
from engine.model.site.corrections import RowChange
from engine.store.core.vault import NOTE_KEYS
from engine.store.core.writing.batch import Batch
from engine.store.integrity import verify
from engine.store.operations import audit
from engine.store.queries.acts import acts_page
from tests.support.journals import running

ROW = RowChange(channel="chem", table="analytes", key={"code": "GLU"}, cells={"loinc": "2345-7"}, reason="why")
GIVEN_BACK = RowChange(
    channel="chem", table="analytes", key={"code": "GLU"}, covers={"loinc": "1-8"}, reason="x", undoes=1
)


async def test_each_has_the_next_number_and_its_act(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await journal.run(corrections.add, ROW, "asha", version=0) == 1
        assert await journal.run(corrections.add, GIVEN_BACK, "ravi", version=1) == 2
        made = list_corrections(journal)
        assert [(one.version, one.by, one.cells, one.covers, one.undoes) for one in made] == [
            (1, "asha", {"loinc": "2345-7"}, {}, 0),
            (2, "ravi", {}, {"loinc": "1-8"}, 1),
        ]
        acts = {act.id: (act.verb, act.what["version"]) for act in acts_page(journal)}
        assert [acts[one.act] for one in made] == [("table-set", 1), ("table-undo", 2)]


async def test_who_has_not_seen_the_last_one_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(corrections.add, ROW, "asha", version=0)
        for seen in (0, 2):
            with pytest.raises(RefusedError, match="changed meanwhile"):
                await journal.run(corrections.add, ROW, "ravi", version=seen)
        assert len(list_corrections(journal)) == len(acts_page(journal)) == 1


async def test_there_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "MOST", 1)
    async with running(tmp_path) as journal:
        await journal.run(corrections.add, ROW, "asha", version=0)
        with pytest.raises(RefusedError, match="which is the most"):
            await journal.run(corrections.add, ROW, "asha", version=1)


async def test_a_damaged_one_without_its_trail_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for version in (0, 1):
            await journal.run(corrections.add, ROW, "asha", version=version)
        await journal.writer.submit(
            lambda batch: batch.execute("UPDATE correction SET text = zeroblob(60), act = 0 WHERE version = 1")
        )
        with pytest.raises(IntegrityError):
            list_corrections(journal)
        damaged: list[int] = []
        assert [one.version for one in list_corrections(journal, damaged.append)] == [2]
        assert damaged == [1]


async def test_a_damaged_one_is_read_from_the_trail(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(corrections.add, ROW, "asha", version=0)
        await journal.run(corrections.add, GIVEN_BACK, "ravi", version=1)
        before = list_corrections(journal)
        await journal.writer.submit(lambda batch: batch.execute("UPDATE correction SET text = zeroblob(60)"))
        lost: list[int] = []
        assert list_corrections(journal, lost.append) == before == list_corrections(journal)
        assert lost == []


async def test_the_trail_of_another_one_is_not_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for version in (0, 1):
            await journal.run(corrections.add, ROW, "asha", version=version)
        await journal.writer.submit(
            lambda batch: batch.execute(
                "UPDATE correction SET text = zeroblob(60), act = (SELECT act FROM correction WHERE version = 1)"
                " WHERE version = 2"
            )
        )
        lost: list[int] = []
        assert [one.version for one in list_corrections(journal, lost.append)] == [1]
        assert lost == [2]


async def test_a_missing_one_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for version in (0, 1, 2):
            await journal.run(corrections.add, ROW, "asha", version=version)
        await journal.writer.submit(lambda batch: batch.execute("DELETE FROM correction WHERE version = 2"))
        lost: list[int] = []
        assert [one.version for one in list_corrections(journal, lost.append)] == [1, 3]
        assert lost == [2]


async def test_the_newest_that_is_missing_is_named_from_the_trail(tmp_path: Path) -> None:
    """The numbers that are left have no hole."""
    async with running(tmp_path) as journal:
        for version in (0, 1, 2):
            await journal.run(corrections.add, ROW, "asha", version=version)
    assert verify.run(tmp_path, deep=True) == []
    async with running(tmp_path) as journal:
        await journal.writer.submit(lambda batch: batch.execute("DELETE FROM correction WHERE version > 1"))
    assert [str(one) for one in verify.run(tmp_path, deep=True)] == [
        f"correction {version} of the code tables is missing; row {version} of the audit trail has it"
        for version in (2, 3)
    ]


async def test_one_of_another_form_is_a_fault_that_names_it(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(corrections.add, ROW, "asha", version=0)

        def of_another_form(batch: Batch) -> None:
            act = audit.note(batch, "asha", "table-set", {"version": 1, "channel": "chem"})
            sealed = batch.seal(NOTE_KEYS, b'{"channel":"chem"}', corrections.COLUMN, 1, "")
            batch.execute("UPDATE correction SET text = ?, act = ? WHERE version = 1", (sealed, act))

        await journal.writer.submit(of_another_form)
        with pytest.raises(IntegrityError, match="correction 1 of the code tables cannot be read"):
            list_corrections(journal)
        lost: list[int] = []
        assert list_corrections(journal, lost.append) == []
        assert lost == [1]
