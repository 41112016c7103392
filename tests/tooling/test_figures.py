"""The writer of measured tables (`tools/figures.py`): what a run has not measured stays as it is."""

from pathlib import Path

import pytest

from tools import figures

COLUMNS = ("fault", "result")


def wrote(folder: Path, *rows: tuple[str, ...], section: str = "Faults", order: tuple[str, ...] = ()) -> str:
    return figures.write("page", section, COLUMNS, rows, order=order, folder=folder).read_text(encoding="utf-8")


def test_a_new_page_has_its_heading_and_the_table(tmp_path: Path) -> None:
    assert wrote(tmp_path, ("T1", "passed", "today")) == (
        "# Figures: page\n\n## Faults\n\n| fault | result | measured |\n|---|---|---|\n| T1 | passed | today |\n"
    )


def test_a_row_is_renewed_and_the_others_keep_their_dates(tmp_path: Path) -> None:
    wrote(tmp_path, ("T1", "passed", "on Monday"), ("T2", "passed", "on Monday"))
    text = wrote(tmp_path, ("T2", "failed", "on Tuesday"))
    assert text.splitlines()[-2:] == ["| T1 | passed | on Monday |", "| T2 | failed | on Tuesday |"]


def test_rows_come_in_the_order_asked_for_and_unknown_ones_last(tmp_path: Path) -> None:
    wrote(tmp_path, ("other", "passed", "x"), ("T9", "passed", "x"))
    text = wrote(tmp_path, ("T2", "passed", "x"), order=("T2", "T9"))
    assert [line.split()[1] for line in text.splitlines()[-3:]] == ["T2", "T9", "other"]


def test_other_sections_and_the_words_of_a_page_stay(tmp_path: Path) -> None:
    page = tmp_path / "figures-page.md"
    page.write_text(
        "# Title\n\nAbout.\n\n## Faults\n\nWords of it.\n\n## Else\n\n| a | measured |\n|---|---|\n| 1 | x |\n"
    )
    text = wrote(tmp_path, ("T1", "passed", "today"))
    assert text == (
        "# Title\n\nAbout.\n\n## Faults\n\nWords of it.\n\n| fault | result | measured |\n|---|---|---|\n"
        "| T1 | passed | today |\n\n## Else\n\n| a | measured |\n|---|---|\n| 1 | x |\n"
    )
    page.write_text(text.replace("\n\n## Else", "\n\nMore words.\n\n## Else"))
    assert wrote(tmp_path) == page.read_text()
    page.write_text(text)
    assert wrote(tmp_path) == text  # nothing measured, nothing changed
    assert wrote(tmp_path, ("T1", "passed", "today"), section="New").startswith(text)


def test_a_pipe_and_a_line_break_leave_the_table_whole(tmp_path: Path) -> None:
    wrote(tmp_path, ("a|b", "two\nlines", "today"))
    assert "| a\\|b | two lines | today |" in wrote(tmp_path, ("T1", "passed", "today"))


def test_a_table_of_other_columns_is_not_written_over(tmp_path: Path) -> None:
    wrote(tmp_path, ("T1", "passed", "today"))
    with pytest.raises(ValueError, match=r"page\.md, Faults: the table has the columns"):
        figures.write("page", "Faults", ("fault",), [("T1", "today")], folder=tmp_path)
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        wrote(tmp_path, ("T1", "today"))
    with pytest.raises(ValueError, match="two rows have the key T2"):
        wrote(tmp_path, ("T2", "passed", "today"), ("T2", "failed", "today"))


def test_the_machine_is_described_and_not_named(tmp_path: Path) -> None:
    assert " UTC, " in figures.measured(tmp_path)
    assert " CPUs at load " in figures.measured(tmp_path)


@pytest.mark.parametrize("path", sorted(figures.FIGURES.glob("figures-*.md")), ids=lambda path: path.stem)
def test_every_kept_table_can_be_renewed(path: Path, tmp_path: Path) -> None:
    """Each section is a table whose rows are as long as its headings, the last of which is the date."""
    text = path.read_text(encoding="utf-8")
    copy = tmp_path / path.name
    copy.write_text(text, encoding="utf-8")
    for part in text.split("\n## ")[1:]:
        section, _, body = part.partition("\n")
        (headings, *rows), *_ = figures.parsed(body)
        assert headings[-1] == figures.MEASURED
        assert {len(row) for row in rows} <= {len(headings)}
        figures.write(path.stem, section, headings[:-1], rows, folder=tmp_path)
    assert copy.read_text(encoding="utf-8") == text


def test_the_file_system_is_that_of_the_folder_where_it_is_mounted_itself() -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    kind = {at: kind for _, at, kind, *_ in mounts}["/proc"]
    assert figures.measured(Path("/proc")).endswith(kind)
