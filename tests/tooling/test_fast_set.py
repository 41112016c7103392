"""The fast set leaves out what takes long and nothing else, and each promise keeps a test in it."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import examples, fast_set
from tests.support.inner_pytest import inner_pytest

CHECKOUT = Path(__file__).parents[2]
TESTS = """
import pytest

def test_quick():
    pass

def test_long():
    pass

@pytest.mark.promise("P1")
def test_long_and_promised():
    pass

@pytest.mark.parametrize("size", ["small", "large"])
def test_of(size):
    pass
"""


def run(folder: Path, *arguments: str, timings: str = "") -> subprocess.CompletedProcess[str]:
    """Runs ``TESTS`` where ``timings`` is the file of times."""
    (folder / "timings.tsv").write_text(timings, encoding="utf-8")
    (folder / "test_some.py").write_text(TESTS, encoding="utf-8")
    (folder / "conftest.py").write_text(
        "from pathlib import Path\nfrom tests.support import fast_set\n"
        "fast_set.TESTS = Path(__file__).parent\nfast_set.TIMINGS = fast_set.TESTS / 'timings.tsv'\n"
        "from tests.conftest import pytest_addoption, pytest_collection_modifyitems\n"
        "from tests.conftest import pytest_configure_node, pytest_testnodedown\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', 'promise: x')\n"
        "    fast_set.configure(config)\n",
        encoding="utf-8",
    )
    return inner_pytest(folder, "-rA", *arguments)


def burning(folder: Path) -> None:
    """One more test, which takes a second of processor time."""
    lines = (
        "import time",
        "def test_burns():",
        "    end = time.process_time() + 1",
        "    while time.process_time() < end: pass",
    )
    (folder / "test_other.py").write_text("\n".join(lines), encoding="utf-8")


def passed(ran: subprocess.CompletedProcess[str]) -> set[str]:
    return set(re.findall(r"^PASSED \S*test_some.py::(\S+)", ran.stdout, re.MULTILINE))


TIMED = "".join(
    f"{seconds}\ttest_some::{name}\n"
    for name, seconds in {
        "test_long": 9,
        "test_long_and_promised": 9,
        "test_quick": fast_set.SLOW_S,
        "test_of[large]": 9,
    }.items()
)
EVERY = {"test_quick", "test_long", "test_long_and_promised", "test_of[small]", "test_of[large]"}


@pytest.mark.parametrize("processes", [(), ("-n2", "--dist=each")], ids=["alone", "in parts"])
def test_the_fast_set_leaves_the_slow_tests_out(tmp_path: Path, processes: tuple[str, ...]) -> None:
    (tmp_path / "test_next.py").write_text("def test_it(): pass\n", encoding="utf-8")  # a part for each process
    ran = run(tmp_path, "--fast", *processes, timings=TIMED)
    assert ran.returncode == pytest.ExitCode.OK, ran.stdout
    assert passed(ran) == {"test_quick", "test_long_and_promised", "test_of[small]"}


def test_tests_that_have_passed_are_left_out_of_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that fails or is skipped runs again, and one that draws more examples there, or has them at hand."""
    (tmp_path / "test_drawn.py").write_text(
        "from hypothesis import given, strategies\n@given(strategies.integers())\ndef test_drawn(x): pass\n"
    )
    (tmp_path / "test_repeated.py").write_text(
        "from tests.support.examples import examples\ndef test_repeated(): examples(9)\n"
    )
    (tmp_path / "test_not_passed.py").write_text(
        "import pytest\ndef test_fails(): assert False\ndef test_skipped(): pytest.skip()\n"
        "@pytest.fixture\ndef broken():\n    yield\n    raise ValueError\ndef test_broken(broken): pass\n"
    )
    kept = tmp_path / "passed"
    monkeypatch.setenv("LABRELAY_PASSED", str(kept))
    run(tmp_path, "--fast", "-n2", "--dist=each", timings=TIMED)
    monkeypatch.delenv("LABRELAY_PASSED")
    ran = run(tmp_path, "--passed", str(kept), timings=TIMED)
    assert passed(ran) == {"test_long", "test_of[large]"}
    others = set(
        re.findall(r"^(?:PASSED|FAILED|SKIPPED) .*(test_drawn|test_repeated|test_not_passed)", ran.stdout, re.M)
    )
    assert others == {"test_drawn", "test_repeated", "test_not_passed"}, ran.stdout
    assert "1 skipped" in ran.stdout


def test_in_parts_the_tests_behind_one_that_ends_its_process_run(tmp_path: Path) -> None:
    (tmp_path / "test_next.py").write_text(
        "import os\ndef test_before(): pass\ndef test_it(): os._exit(3)\ndef test_behind(): pass\n", encoding="utf-8"
    )
    ran = run(tmp_path, "--fast", "-n2", "--dist=each")
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout
    assert "crashed while running 'test_next.py::test_it'" in ran.stdout
    assert passed(ran) == EVERY
    assert "PASSED test_next.py::test_before" in ran.stdout
    assert "PASSED test_next.py::test_behind" in ran.stdout


def test_no_two_tests_of_one_name_are_told_apart_by_their_folder_alone() -> None:
    """A slow one would take a quick one out of the fast set."""
    found = Counter(
        f"{path.stem}::{name}"
        for path in sorted(fast_set.TESTS.rglob("test_*.py"))
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert [name for name, count in found.items() if count > 1] == []


def test_without_the_option_or_without_the_file_every_test_runs(tmp_path: Path) -> None:
    assert passed(run(tmp_path, timings=TIMED)) == EVERY
    assert passed(run(tmp_path, "--fast")) == EVERY


def test_the_file_of_times_is_written_and_read(tmp_path: Path) -> None:
    written = tmp_path / "written.tsv"
    burning(tmp_path)
    ran = run(tmp_path, "--timings", str(written))
    assert ran.returncode == pytest.ExitCode.OK, ran.stdout
    times = fast_set.read_timings(written)
    assert set(times) == {"test_other::test_burns"}
    assert times["test_other::test_burns"] >= 1


def test_a_test_that_outgrew_the_fast_set_is_named_and_fails_nothing(tmp_path: Path) -> None:
    burning(tmp_path)
    ran = run(tmp_path, "--fast")
    assert ran.returncode == pytest.ExitCode.OK
    assert re.search(r"\d\.\d\d s  test_other::test_burns", ran.stdout), ran.stdout
    assert (
        "test_other::test_burns"
        not in run(tmp_path, timings="1\ttest_other::test_burns\n").stdout.partition("took over")[2]
    )


# -- the repository's own --------------------------------------------------------------------------------------------


def promised() -> Iterator[str]:
    """What each mark of the tests names."""
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.promise(" in text:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "promise":
                    yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))


def test_each_promise_has_a_test_in_the_fast_set() -> None:
    page = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    promises = re.findall(r"^\| (P\d+) \|", page, re.MULTILINE)
    assert len(promises) == 10
    kinds = {"kill", "session", "daemon", "page"}
    assert set(promised()) == {*promises, *kinds}


def test_each_file_of_tests_is_in_one_part() -> None:
    parts = fast_set.parts(4)
    files = [name for part in parts for name in part]
    assert sorted(files) == sorted(str(path) for path in fast_set.TESTS.rglob("test_*.py"))
    assert len(set(files)) == len(files)
    assert all(parts)


def test_parts_weigh_about_the_same() -> None:
    assert fast_set._split(dict.fromkeys("abcd", 1.0), 2) == [["a", "c"], ["b", "d"]]
    assert fast_set._split({"a": 1.0, "b": 4.0, "c": 1.0, "d": 2.0}, 2) == [["b"], ["d", "a", "c"]]


def test_fewer_examples_are_drawn_in_the_fast_set_alone() -> None:
    code = "from tests.support import examples; {} print(examples.examples(400), examples.examples(3))"
    for told, drawn in (("", "400 3"), ("examples.fewer();", f"{400 // examples.PART} 3")):
        ran = subprocess.run(
            [sys.executable, "-c", code.format(told)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert ran.stdout.strip() == drawn
