"""`make bench-against`: what costs more than another commit fails; the anchor moves to cheaper commits."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support import repository
from tools import history
from tools.against import anchor, counting
from tools.against.__main__ import main
from tools.against.programs import full_hash
from tools.against.site import KINDS, serial_bench
from tools.against.timing import Turns, order_of
from tools.against.verdict import Comparison, compared, lines, lower
from tools.size import ROOT
from workbench.bench.processes import THIS

COUNTS = {"ORU 20": {"statements": 33.0, "python_calls": 2000.0, "syncs": 3.0}}


def comparison(group: str, mine: list[float], other: list[float]) -> Comparison:
    return next(iter(compared(group, {"a figure": mine}, {"a figure": other})))


@pytest.mark.parametrize(
    ("group", "mine", "other", "is_over"),
    [
        ("counts", [34.0], [33.0], True),  # a statement more
        ("counts", [33.4], [33.0], False),
        ("counts", [1.0], [0.0], True),
        ("counts", [0.0], [0.0], False),
        ("counts", [3.3], [3.0], False),  # a batch that ended elsewhere
        ("counts", [2030.0], [2000.0], False),
        ("counts", [2050.0], [2000.0], True),
        ("in process, CPU", [1.06] * 3 + [0.9] * 2, [1.0] * 5, True),
        ("in process, CPU", [1.06] * 2 + [1.0] * 3, [1.0] * 5, False),
        ("in process, wall", [1.3] * 5, [1.0] * 5, True),  # a pause of the mapping
        ("sockets", [1.16] * 5, [1.0] * 5, True),
        ("start", [1.14] * 5, [1.0] * 5, False),
        ("memory", [121.0] * 5, [115.0] * 5, True),
    ],
)
def test_a_figure_over_its_limit_is_told(group: str, mine: list[float], other: list[float], is_over: bool) -> None:
    figure = comparison(group, mine, other)
    assert figure.is_over is is_over is ("OVER" in list(lines([figure]))[1])


def test_a_machine_that_is_slow_for_some_turns_is_none_of_the_programs() -> None:
    """Turns are paired: both programs are slow in the same turn."""
    assert comparison("sockets", [1.0, 3.0, 1.0, 2.0, 1.0], [1.0, 3.0, 1.0, 2.0, 1.0]).ratio == 1.0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_program_stands_in_each_place_and_is_never_alone_in_coming_twice(count: int) -> None:
    """What comes again at once finds the caches its own."""
    turns = [order_of(count, turn) for turn in range(count + 1)]
    assert all(len(set(places)) == count for places in zip(*turns[:-1], strict=True))
    assert count == 2 or all(before[-1] != after[0] for before, after in pairwise(turns))


def test_of_two_runs_the_lower_ratio_counts() -> None:
    high, low = comparison("sockets", [1.3], [1.0]), comparison("sockets", [1.01], [1.0])
    assert lower([high], [low]) == lower([low], [high]) == [low]


@pytest.mark.parametrize(("mine", "other"), [({"new": [1.0]}, {}), ({}, {"old": [1.0]})])
def test_a_figure_that_one_program_has_not_is_told(mine: Turns, other: Turns) -> None:
    with pytest.raises(ValueError, match=r"counts: measured of one program alone: (new|old)"):
        list(compared("counts", mine, other))


@pytest.mark.parametrize("name", ["ASTM 20, statements", "ASTM 20, syncs"])
@pytest.mark.parametrize(("mine", "is_over"), [(126.6, True), (126.1, False)])
def test_one_more_of_each_message_is_told_whatever_the_ratio(name: str, mine: float, is_over: bool) -> None:
    assert next(iter(compared("counts", {name: [mine]}, {name: [125.6]}))).is_over is is_over


def move(commit: str, factor: float = 1.0, syncs: float = 0.0, **more: Any) -> anchor.Move:
    counts = {kind: {name: count * factor for name, count in own.items()} for kind, own in COUNTS.items()}
    counts["ORU 20"]["syncs"] = COUNTS["ORU 20"]["syncs"] * (syncs or factor)
    return {"commit": commit, "reason": "cheaper", "counts": counts, **more}


@pytest.mark.parametrize(
    ("moves", "told"),
    [
        ([move("a")], []),
        ([move("a"), move("b", 0.9)], []),
        (
            [move("a"), move("b", 1.02)],
            ["b: ORU 20, statements is 1.020", "b: ORU 20, python_calls", "b: ORU 20, syncs", "b: no count"],
        ),
        ([move("a"), move("b", 1.0)], ["b: no count is lower"]),
        ([move("a"), move("b", 1.09, mechanism=True)], []),
        ([move("a"), move("b", 1.11, mechanism=True)], ["b: ", "b: ", "b: "]),
        (
            [move("a"), move("b", 1.01, mechanism=True), move("c", 1.02, mechanism=True)],
            ["the anchor moved to a dearer"],
        ),
        (
            [move("a"), move("b", 0.98, syncs=1.005), move("c", 0.97, syncs=1.0099), move("d", 0.96, syncs=1.02)],
            ["d: ORU 20, syncs is 1.020 of an anchor before"],
        ),
        ([move("a"), move("b", 1.09, mechanism=True), move("c", 1.05)], []),
        (
            [move("a"), move("b", 0.9) | {"counts": {"ORU 20": {"statements": 30.0}}}],
            ["b: ORU 20, python", "b: ORU 20, sy"],
        ),
        ([move("a"), move("b", 0.9, reason=" ")], ["b: a move needs its reason"]),
    ],
)
def test_the_anchor_moves_to_cheaper_commits(moves: list[anchor.Move], told: list[str]) -> None:
    assert all(fault.startswith(start) for fault, start in zip(anchor.faults(moves), told, strict=True))


def test_a_move_that_is_not_allowed_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "anchor.yaml"
    anchor.record(file, move("a"))
    anchor.record(file, move("b", 0.9))
    text = file.read_text()
    with pytest.raises(ValueError, match="stays where it is"):
        anchor.record(file, move("c", 1.2))
    assert file.read_text() == text
    assert [each["commit"] for each in anchor.read(text)] == ["a", "b"]


def test_the_committed_anchor_is_sound_and_keeps_its_history() -> None:
    moves = anchor.read(anchor.FILE.read_text(encoding="utf-8"))
    assert not list(anchor.faults(moves))
    assert {"commit", "date", "machine", "load", "reason", "counts"} <= moves[-1].keys()
    assert set(moves[-1]["counts"]) == {kind.name for kind in KINDS}
    if reason := history.gap(ROOT):
        pytest.skip(reason)
    assert not list(anchor.order_faults(ROOT, moves, anchor.FILE.relative_to(ROOT)))


def test_an_anchor_is_an_ancestor_and_no_move_is_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "anchor.yaml"
    repository.commit(tmp_path)
    repository.git(tmp_path, "checkout", "--quiet", "--orphan", "other")
    file.write_text("")
    repository.commit(tmp_path)
    anchor.record(file, move(full_hash("other", tmp_path)))
    repository.commit(tmp_path)
    moves = anchor.read(file.read_text())
    assert not list(anchor.order_faults(tmp_path, moves, Path(file.name)))
    file.write_text("[]")
    repository.commit(tmp_path)
    stranger = move(full_hash("main", tmp_path))
    no_ancestor, rewritten = anchor.order_faults(tmp_path, [stranger], Path(file.name))
    assert no_ancestor.startswith(f"the anchor {stranger['commit']} is no ancestor of")
    assert rewritten.endswith("are not these any more")


def test_a_reason_without_quotes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--move-anchor", "a", "cheaper", "page"])
    assert "takes its reason in quotes, and no commit: cheaper page" in capsys.readouterr().err


def test_without_strace_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="strace is not installed"):
        counting.counts_of(THIS, tmp_path)


def test_a_commit_that_is_not_here_is_named() -> None:
    with pytest.raises(ValueError, match="none-of-ours: there is no such commit here"):
        full_hash("none-of-ours")


TRACE = """\
7 10.5 pwrite64(5</site/var/journal.db-wal>, ""..., 100, 0) = 100
7 11.0 pwrite64(5</site/var/journal.db-wal>, ""..., 200, 0) = 200
8 11.1 write(6</site/var/anchor>, ""..., 30 <unfinished ...>
7 11.2 fdatasync(5</site/var/journal.db-wal> <unfinished ...>
8 11.3 <... write resumed>) = 30
7 11.4 <... fdatasync resumed>) = 0
9 11.5 write(9<socket:[123]>, ""..., 1000) = 1000
9 11.6 write(9</elsewhere/log>, ""..., 1000) = 1000
7 11.7 pwritev(5</site/var/journal.db-wal>, [], 1, 0) = 40
7 11.8 ftruncate(5</site/var/journal.db-wal>, 0) = 0
7 12.0 pwrite64(5</site/var/journal.db-wal>, ""..., 400, 0) = 400
"""


def test_bytes_and_syncs_are_those_of_the_site_in_the_window() -> None:
    assert counting.written_between(TRACE.splitlines(), "/site", 11.0, 12.0) == {
        "bytes_written": 270,
        "syncs": 1,
        "resizes": 1,
    }


@pytest.mark.parametrize("probe", ["statements", "calls"])
def test_a_probe_counts_what_a_message_costs(tmp_path: Path, probe: str) -> None:
    with serial_bench(tmp_path / probe, THIS, probe) as bench:
        for kind in KINDS:
            before = bench.daemon.ask("begin")
            bench.send(kind, 1)
            after = bench.daemon.ask("end")
            assert all(after[name] - before[name] > 10 for name in after)


def test_time_in_process_is_of_messages_that_are_mapped(tmp_path: Path) -> None:
    kind = KINDS[1]
    file, payload = tmp_path / "batch.json", kind.payload(1, 900, random.Random(1)).decode("latin-1")
    with serial_bench(tmp_path / "site", THIS, "processing") as bench:
        bench.send(kind, 1)
        file.write_text(json.dumps([payload]), encoding="utf-8")
        assert bench.daemon.ask(f"c001 {file}")["CPU us"] > 0
