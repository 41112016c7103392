"""What is played: which samples of a pack, in which order, and the same for the same seed."""

from collections import Counter
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from engine.model.errors import LabRelayError
from workbench.simulator.packs import Model, Sample, find_model, names, read_model
from workbench.simulator.shift import CONTROLS_EVERY, Kind, shift

START = datetime(2026, 3, 2, 8, 0)
RESULT = "H|\\^&\rP|1||X1\rO|1|S1||^^^A\rR|1|^^^A|5.0|g/L\rL|1|N\r"
CONTROL = "H|\\^&||||||||||Q\rP|1\rO|1|LOT7||^^^A\rR|1|^^^A|5.0|g/L\rL|1|N\r"
MODEL = Model("made-up", "e1381", (Sample("a", RESULT, "utf-8"),), (Sample("q", CONTROL, "utf-8"),))


@pytest.mark.parametrize("name", names())
def test_every_shipped_analyzer_can_be_played(name: str) -> None:
    model = find_model(name)
    sendings = list(shift(model, seed=1, start=START, specimens=3, controls=True, again=False))
    assert [sending.kind for sending in sendings if sending.kind is not Kind.CONTROL] == [Kind.RESULT] * 3
    assert len({sending.payload for sending in sendings}) == len(sendings)


def test_a_control_run_is_known_by_the_message_or_by_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "01-result.astm").write_text(RESULT)
    (tmp_path / "02-other.astm").write_text(CONTROL)
    (tmp_path / "03-background.astm").write_text(RESULT)
    (tmp_path / "04-query.astm").write_text(RESULT)
    (tmp_path / "01-result.expected.json").write_text("{}")
    model = read_model("x", sorted(tmp_path.iterdir()))
    assert (model.link, len(model.results), len(model.controls)) == ("e1381", 1, 2)


def test_an_unknown_analyzer_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(LabRelayError, match=r"no samples of an analyzer 'sismex'; there are: .*erba-em200"):
        find_model("sismex")


def test_samples_without_a_result_are_nothing_to_play(tmp_path: Path) -> None:
    (tmp_path / "01.astm").write_text("H|\\^&\rQ|1|^S1||ALL\rL|1|N\r")
    with pytest.raises(LabRelayError, match="nothing to play"):
        read_model("x", list(tmp_path.iterdir()))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, again, other = (list(shift(MODEL, seed=seed, start=START, specimens=50)) for seed in (5, 5, 6))
    assert first == again
    assert not {sending.payload for sending in first} & {sending.payload for sending in other}


def test_a_shift_has_controls_reruns_and_corrections_and_every_specimen_its_own_number() -> None:
    sendings = list(shift(MODEL, seed=3, start=START, specimens=400, controls=True))
    kinds = Counter(sending.kind for sending in sendings)
    assert kinds[Kind.RESULT] == 400
    assert kinds[Kind.CONTROL] == 400 // CONTROLS_EVERY
    assert kinds[Kind.RERUN] > 5
    assert kinds[Kind.CORRECTION] > 5
    numbers = [sending.numbers for sending in sendings if sending.kind is Kind.RESULT]
    assert len(set(numbers)) == 400
    seen: set[tuple[str, ...]] = set()
    for sending in sendings:
        if sending.kind in (Kind.RERUN, Kind.CORRECTION):
            assert sending.numbers in seen
        seen.add(sending.numbers)
    assert all(b"LOT7" in sending.payload for sending in sendings if sending.kind is Kind.CONTROL)


def test_a_shift_without_end_goes_on() -> None:
    assert len(list(islice(shift(MODEL, seed=1, start=START, specimens=0), 1000))) == 1000
