"""`tools.budget`: rooms, and names that say nothing, hold no more than they may; what they may hold only falls."""

from pathlib import Path

import pytest

from tests.support.repository import write
from tools import budget
from tools.budget import Row
from tools.size import ROOT

LISTS = {"vague": Row("vague", 2, "found one"), "single": Row("single", 2, "item")}
FILES = {
    "engine/model/values.py": '"""A docstring."""\n\nFIRST = 1\nSECOND = 2\n',
    "engine/features/orders/rules/judge.py": "def found(item, x):\n    one = item\n    return one + x\n",
    "engine/features/orders/__init__.py": "FEATURE = 1\n",
    "engine/feature.py": "FLAT = 1\n",
    "tests/site/test_it.py": "def test_one():\n    assert True\n",
    "docs/page.md": "five words of a page\n",
}
ROOMS = {
    "engine/model": 2,
    "engine/features/orders": 4,
    "engine/*": 1,
    "tests/site": 2,
    "docs": 5,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    write(tmp_path, FILES)
    return tmp_path


def test_each_room_is_counted(checkout: Path) -> None:
    assert budget.rooms(checkout) == ROOMS
    assert budget.vague_names(checkout, LISTS) == {"vague": 2, "single": 2}


def test_a_new_module_with_a_row_of_its_own_is_counted_there(checkout: Path) -> None:
    judge = "engine/features/orders/rules/judge.py"
    assert budget.rooms(checkout, ["engine/features/orders", judge]) == ROOMS | {"engine/features/orders": 1, judge: 3}


def test_a_room_one_line_over_its_row_is_told(checkout: Path) -> None:
    allowed = {room: Row(room, count) for room, count in ROOMS.items()}
    assert not list(budget.excess(budget.rooms(checkout), allowed))
    with (checkout / "engine/model/values.py").open("a", encoding="utf-8") as module:
        module.write("THIRD = 3\n")
    assert list(budget.excess(budget.rooms(checkout), allowed)) == ["engine/model holds 3, and may hold 2"]
    assert list(budget.excess({"engine/new": 1}, {})) == ["engine/new has no row, and holds 1"]


def test_one_more_name_that_says_nothing_is_told(checkout: Path) -> None:
    (checkout / "engine/model/values.py").write_text("found = 1\n", encoding="utf-8")
    told = list(budget.excess(budget.vague_names(checkout, LISTS), LISTS))
    assert told == ["vague holds 3, and may hold 2"]


BEFORE = {name: Row(name, most) for name, most in {"engine/a": 10, "engine/b": 10, "tests/a": 10, "docs": 10}.items()}


def test_rows_are_lowered_and_never_raised() -> None:
    lowered = list(budget.lowered({"engine/a": 8, "engine/b": 12}, BEFORE))
    assert [(row.name, row.most) for row in lowered] == [("engine/a", 8), ("engine/b", 10)]


def test_what_is_written_is_read() -> None:
    text = budget.written(budget.ROOMS, [Row("engine/a", 3), Row("engine/b", 4, "why")])
    assert budget.read(text) == {"engine/a": Row("engine/a", 3), "engine/b": Row("engine/b", 4, "why")}


@pytest.mark.parametrize("line", ["engine/a", "engine/a\tmany", "engine/a\t-3"])
def test_a_line_of_another_form_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2: expected a room once"):
        budget.read(f"# head\n{line}\n")


@pytest.mark.parametrize("path", [budget.ROOMS, budget.NAMES], ids=str)
def test_the_house_holds_no_more_than_it_may(path: Path) -> None:
    rows, counts = budget.held(ROOT, path)
    assert not list(budget.excess(counts, rows))
