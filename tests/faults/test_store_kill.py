"""A process that writes a journal is killed at any moment, many times over: every promise it made is kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.integrity import verify
from tests.faults.harness.trial import Trial
from tests.support.failing_disk import file_control
from tests.support.store_lives import Promises, Worker


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path)
    yield worker
    worker.close()


def test_every_promise_survives_being_killed_at_any_moment(tmp_path: Path, worker: Worker, trial: Trial) -> None:
    promises = Promises()
    kills = 0
    for _ in trial.rounds(quick=30, long=300, unit="kills of the store alone"):
        promises.note(worker.live_and_die(after_lines=trial.chance.choice((1, 7, 60, 400))))
        assert verify.run(tmp_path) == []
        kills += 1
    promises.are_kept(tmp_path)
    assert len(promises.messages) > kills


def test_every_promise_survives_being_killed_before_each_write_and_sync(
    tmp_path: Path, worker: Worker, trial: Trial
) -> None:
    file_control()
    promises = Promises()
    stride = 13 if trial.scale == "quick" else 1
    survived = False
    steps = 0
    for n in trial.rounds(quick=200, long=1000, unit="writes and syncs"):
        steps = 1 + n * stride
        said = worker.live_and_die(at_step=steps)
        survived = said[-1][0] == "survived"
        promises.note(said)
        promises.are_kept(tmp_path)
        if survived:
            trial.no_more()
            break
    assert survived or trial.time_is_up
    assert steps > 40 or trial.time_is_up
    assert promises.delivered
