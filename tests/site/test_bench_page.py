"""`labrelay bench --scenario page`: readers of the page and of the API beside messages, of which none is lost."""

from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import SystemClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.queries.lanes import list_channels
from tests.support.command_line import labrelay
from workbench.bench import history


def test_readers_are_measured_beside_messages(tmp_path: Path) -> None:
    ran = labrelay("bench", "--scenario", "page", "--history", "300", "--seconds", "2", "--rounds", "1",
                   "--data", str(tmp_path), "-o", "json")  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    cases = ran.json["cases"]
    assert [one["load"] for one in cases] == ["8 readers without pause", "32 requests/s", "232 requests/s"]
    assert [one["messages"] for one in cases] == [2 * 2 * 16, 2 * 2 * 16, 2 * 2 * 500]
    for case in cases:
        assert (case["channels"], case["history"], case["lost"], case["reordered"]) == (500, 300, 0, 0)
        assert all(read["requests"] > 0 for read in case["reads"])
        statuses = set().union(*(read["statuses"] for read in case["reads"]))
        assert statuses <= {"0", "200", "304", "429", "503"}  # on a busy machine some wait too long
        assert all("200" in read["statuses"] for read in case["reads"])
    without_pause, *paced = [[read["name"] for read in case["reads"]] for case in cases]
    assert without_pause == ["overview", "messages", "search", "API status"]
    assert paced == [["overview", "messages", "search", "dead letters", "API status", "API messages"]] * 2
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_a_history_does_not_grow_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "AT_ONCE", 20)
    monkeypatch.setattr(history, "OPEN_FOR", 40)
    log, sizes = tmp_path / "var" / f"{JOURNAL_NAME}-wal", list[int]()
    for messages in (100, 110):
        history.fill(tmp_path, messages, lambda said: sizes.append(log.stat().st_size if log.exists() else 0))
    assert sizes == [0, 0, 0, 0]
    journal = Journal.open(tmp_path / "var", clock=SystemClock())
    assert sum(view.last_seq for view in list_channels(journal)) == 110
    journal.close()
