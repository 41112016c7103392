"""`make size`: which lines count as code, and the figures of the program's shape."""

from pathlib import Path

import pytest

from tests.support.repository import commit, write
from tools.size import Figure, main, measure

FILES = {
    "engine/__main__.py": "print()\n",
    "engine/flat.py": '"""Lies flat."""\n',
    "engine/model/base.py": '''"""A docstring

of three lines."""

# a comment
TABLE = """
SELECT, but not of SQL
"""
"""What the table is."""


class Base:  # with a comment
    """A docstring."""

    def one(self): "another"


class _Middle[T](Base):
    pass
'''.replace("[T]", ""),
    "engine/web/page.py": '''"""SELECT is a word of prose here."""
from engine.model.base import _Middle as Known


class Page(Known):
    def rows(self, table):
        return f"""
            SELECT * FROM {table}"""
''',
    "engine/store/rows.py": 'SQL = "DELETE FROM journal"\n',
    "workbench/sandbox/rows.py": 'SQL = "PRAGMA user_version"\n',
    "engine/model/errors.py": "from engine.web.page import Page\nclass A(Page): ...\nclass B(A): ...\n",
    "engine/mapping/data/table.txt": "# a comment\na: 1\n",
    "adapters/codecs/long.py": "x = 1\n" * 40,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    write(tmp_path, FILES)
    return tmp_path


def test_lines_that_hold_code_count(checkout: Path) -> None:
    figures = measure(checkout)

    assert figures["engine/model"] == Figure(10)  # the table has three, the classes have two each; the errors three
    assert figures["engine/web"] == Figure(5)
    assert figures["engine/*"] == Figure(1)
    assert figures["engine"] == Figure(17)
    assert figures["workbench"] == Figure(1)
    assert figures["adapters"] == Figure(40)
    assert figures["lines of .txt files"] == Figure(2)


def test_the_figures_of_the_shape(checkout: Path) -> None:
    figures = measure(checkout)

    assert figures["modules flat in engine"] == Figure(1)
    assert figures["modules with SQL outside of engine/store"] == Figure(1)
    assert figures["levels of inheritance"] == Figure(2, "engine.web.page.Page")
    assert figures["longest file"] == Figure(40, "adapters/codecs/long.py")


def test_a_commit_is_shown_beside_the_checkout(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(checkout)
    (checkout / "adapters/codecs/long.py").write_text("x = 1\n" * 30, encoding="utf-8")
    (checkout / "engine/flat.py").unlink()

    assert main(["--against", "HEAD"], checkout) == 0
    shown = {line[:42].strip(): line[42:].split() for line in capsys.readouterr().out.splitlines()}

    assert shown["adapters"] == ["30", "40", "-10"]
    assert shown["modules flat in engine"] == ["0", "1", "-1"]
    assert shown["longest file"] == ["30", "40", "-10", "adapters/codecs/long.py"]
    assert shown["engine/store"] == ["1", "1", "+0"]
    with pytest.raises(SystemExit):
        main(["--against", "nothing"], checkout)
    assert "--against nothing: " in capsys.readouterr().err
