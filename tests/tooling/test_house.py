"""The picture of the house: rooms, floors, arrows and those upward, of a small one."""

from pathlib import Path

import pytest

from tests.support.repository import write
from tools import house

HOUSE = {
    "model/values.py": "A = 1\nB = 2\n",
    "store/rows.py": "from engine.model import values\n\ndef late():\n    from engine.features.alerts.rows import C\n",
    "web/page.py": '"""Words."""\nimport engine.store.rows\nfrom engine.web import other\n',
    "web/other.py": "X = 1\n",
    "features/alerts/rows.py": "from engine.store.rows import late\n\nC = 1\n",
    "elsewhere/one.py": "Y = 1\n",
}


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    write(tmp_path / "engine", HOUSE)
    return tmp_path


def test_each_room_stands_above_all_that_it_imports(drawn: Path) -> None:
    assert list(house.told(drawn)) == [
        "4 rooms, 3 floors, 4 arrows, 1 upward",
        "   3  web 3, features 2",
        "   2  store 3",
        "   1  model 2",
        "upward  store -> features: 1",
        f"{'features/alerts':<30}{2:>8,}",
    ]


def test_the_modules_behind_an_arrow_upward_are_named(drawn: Path) -> None:
    assert "          engine.store.rows -> engine.features.alerts.rows" in house.told(drawn, pairs=True)


def test_each_folder_of_the_engine_is_a_room() -> None:
    folders = {path.parent.name for path in (house.ROOT / "engine").glob("*/__init__.py")}
    assert folders - set(house.ORDER) == set()
