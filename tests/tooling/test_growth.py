"""What a budget allows only falls, over all commits: none hides a rise behind the next one, a merge or a new row."""

import ast
from pathlib import Path

import pytest

from tests.support import repository
from tests.support.repository import git
from tools import budget, growth, history
from tools.budget import NAMES, ROOMS
from tools.size import ROOT

Files = dict[str, str]
"""Path -> text; the empty text deletes."""

ROWS = "engine/a\t4\nengine/b\t4\ntests/a\t4\ndocs\t9\n"
LISTS = "vague\t2\tfound one\nsingle\t1\titem\n"
CODE = "A = 1\nB = 2\nC = 3\nD = 4\n"
NAMED_CODE = "found = 1\none = 2\nx = 3\n"
START = {"engine/a/m.py": CODE, "engine/b/m.py": CODE, str(ROOMS): ROWS, str(NAMES): LISTS, "engine/n.py": NAMED_CODE}
NOTHING = {"README.md": "more\n"}


def write(folder: Path, files: Files) -> None:
    repository.write(folder, files)
    for name in (name for name, text in files.items() if not text):
        (folder / name).unlink()


def commit(folder: Path, *steps: Files) -> None:
    for files in steps:
        write(folder, files)
        repository.commit(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    commit(tmp_path, START)
    return tmp_path


def rows(**changed: str) -> Files:
    """The file of rooms; `a` and `b` are rows of the engine, `new` is put behind all."""
    text = "".join(changed.get(line[7:8], line) + "\n" for line in ROWS.splitlines())
    return {str(ROOMS): text + changed.get("new", "")}


RAISED = rows(b="engine/b\t5")
MORE = "rows of the program allow"
OWN, OLD = "engine/c/new.py\t4\ta reason\n", "engine/a/m.py\t4\ta reason\n"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        pytest.param([RAISED], MORE, id="one commit"),
        pytest.param([RAISED, NOTHING], MORE, id="a commit behind it"),
        pytest.param([RAISED, rows(b="engine/b\t5", new=OWN), NOTHING], MORE, id="two rise"),
        pytest.param([RAISED, rows()], "", id="put back"),
        pytest.param([{str(ROOMS): ""}, RAISED], MORE, id="the file is deleted, and comes back"),
        pytest.param([rows(a="engine/a\t5", b="engine/b\t3")], "", id="taken from another room"),
        pytest.param([rows(b="engine/b\t3"), rows()], MORE, id="what fell rises"),
        pytest.param([rows(new=OWN) | {"engine/c/new.py": CODE}], "", id="a new module"),
        pytest.param([{"engine/c/new.py": CODE}, NOTHING, rows(new=OWN)], "", id="its row comes later"),
        pytest.param([rows(new=OWN) | {"engine/c/new.py": CODE[:12]}], MORE, id="a row larger than the module"),
        pytest.param(
            [rows(new="engine/c/new.py\t4\n") | {"engine/c/new.py": CODE}], "does not say why", id="no reason"
        ),
        pytest.param([rows(new=OLD)], MORE, id="a module that was there"),
        pytest.param([{"engine/a/m.py": "", "engine/c/new.py": CODE} | rows(new=OWN)], MORE, id="a moved module"),
        pytest.param([{"engine/a/m.py": ""}, {"engine/a/m.py": CODE} | rows(new=OLD)], MORE, id="a module comes back"),
        pytest.param([{str(ROOMS): ROWS.replace("docs\t9", "docs\t10")}], "rows of docs allow 10", id="words"),
        pytest.param([{str(ROOMS): ROWS.replace("tests/a\t4", "tests/a\t5")}], "rows of tests allow 5", id="tests"),
    ],
)
def test_a_room_takes_no_lines_but_from_another_one(checkout: Path, steps: list[Files], told: str) -> None:
    commit(checkout, *steps[:-1])
    write(checkout, steps[-1])
    git(checkout, "add", "--all")
    staged = list(growth.growth_of(checkout, ROOMS))
    commit(checkout, {})
    for sentences in (staged, list(growth.growth_of(checkout, ROOMS))):
        assert told in " ".join(sentences)
        assert bool(sentences) is bool(told)


def test_a_new_module_that_git_does_not_know_yet_is_new(checkout: Path) -> None:
    write(checkout, rows(new=OWN) | {"engine/c/new.py": CODE})
    assert not list(growth.growth_of(checkout, ROOMS))


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        pytest.param(
            [{str(NAMES): LISTS.replace("\t2", "\t3")}, NOTHING], "vague allows 3, and allowed 2", id="figure"
        ),
        pytest.param([{str(NAMES): LISTS.replace(" one", "")}, NOTHING], "vague lost one", id="a word"),
        pytest.param([{str(NAMES): "vague\t2\tone\nsingle\t1\titem found\n"}], "vague lost found", id="a word moves"),
        pytest.param([{str(NAMES): LISTS.partition("single")[0]}], "the list single is gone", id="a list"),
        pytest.param([{str(NAMES): ""}, {str(NAMES): LISTS.partition("single")[0]}], "list single", id="the file"),
        pytest.param([{str(NAMES): LISTS.replace(" one", "")}, {str(NAMES): LISTS}], "", id="put back"),
        pytest.param([{str(NAMES): LISTS.replace("\t2", "\t3").replace(" one", " one x")}], "", id="a word more"),
        pytest.param(
            [{"engine/n.py": NAMED_CODE + "found = 3\n"}, {str(NAMES): LISTS.replace("\t2", "\t3")}],
            "vague allows 3",
            id="names first",
        ),
    ],
)
def test_a_list_of_names_loses_no_word_and_counts_no_more(checkout: Path, steps: list[Files], told: str) -> None:
    commit(checkout, *steps)
    sentences = list(growth.growth_of(checkout, NAMES))
    assert told in " ".join(sentences)
    assert bool(sentences) is bool(told)


def test_a_figure_may_rise_to_what_a_rule_that_sees_more_counts_in_the_earlier_files(checkout: Path) -> None:
    commit(checkout, {str(NAMES): LISTS.replace("\t2", "\t1")}, NOTHING, {str(NAMES): LISTS})
    assert not list(growth.growth_of(checkout, NAMES))


def test_a_merge_hides_no_rise(checkout: Path) -> None:
    """One side lowers a row; the merge takes the other side's file as it is."""
    git(checkout, "checkout", "--quiet", "-b", "side")
    commit(checkout, rows(b="engine/b\t3"))
    git(checkout, "checkout", "--quiet", "main")
    commit(checkout, NOTHING)
    git(checkout, "merge", "--quiet", "--no-commit", "side")
    commit(checkout, rows(), NOTHING)
    assert MORE in " ".join(growth.growth_of(checkout, ROOMS))


def test_where_history_is_missing_the_reason_is_said(
    checkout: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not history.gap(checkout)
    assert history.gap(checkout / "tests") == "the files are no repository of their own"
    clone, empty = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("empty")
    commit(checkout, NOTHING)
    git(clone, "clone", "--quiet", "--depth=1", checkout.as_uri(), ".")
    assert "the clone is shallow" in history.gap(clone)
    assert "not a git repository" in history.gap(empty)
    monkeypatch.setenv("PATH", str(empty))
    assert history.gap(checkout) == "git is not installed, or is not in PATH"
    assert budget.main([], checkout) == 1  # `engine/*` has no row
    assert "growth in earlier commits is not looked at: git is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("path", [ROOMS, NAMES], ids=str)
def test_no_commit_let_the_house_grow(path: Path) -> None:
    if reason := history.gap(ROOT):
        pytest.skip(reason)
    assert not list(growth.growth_of(ROOT, path))


@pytest.mark.parametrize(
    "text",
    [
        "import json as found",
        "from json import loads as found",
        "try: ...\nexcept OSError as found: ...",
        "match 1:\n    case found: ...",
        "match 1:\n    case [*found]: ...",
        "match 1:\n    case {**found}: ...",
        "class Row:\n    found: int",
        "class Row:\n    def set(self): self._found = 1",
        "for _found in (): ...",
        "lambda found: 1",
    ],
)
def test_whatever_binds_a_name_counts(text: str) -> None:
    assert list(budget.bound_names(ast.parse(text))).count("found") == 1


def test_a_name_that_is_read_does_not_count() -> None:
    assert not list(budget.bound_names(ast.parse("import found\nfound.one(found.kept)\ndel found.left")))
