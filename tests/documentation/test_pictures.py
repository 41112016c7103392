"""The README's pictures: those that `make pictures` draws, small, and in no installation."""

import re
import tomllib
from pathlib import Path

from tools.pictures import PICTURES, ROOT, SHOTS

README = (ROOT / "README.md").read_text(encoding="utf-8")
LARGEST = 200_000


def test_the_readme_shows_each_picture_that_make_pictures_draws_and_no_other() -> None:
    drawn = {f"pictures/{name}.png" for name, *_ in SHOTS}
    assert set(re.findall(r"!\[[^\]]{20,}\]\((\S+)\)", README)) == drawn
    assert {path.relative_to(ROOT).as_posix() for path in PICTURES.iterdir()} == drawn
    assert "pictures: " in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "python -m tools.pictures" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_pictures_are_of_their_size_and_small() -> None:
    for name, (width, height), scale, _ in SHOTS:
        content = (PICTURES / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        measured = [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)]
        assert measured == [width * scale, height * scale]
        assert len(content) < LARGEST


def test_pictures_are_in_no_wheel() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    inside = {*targets["wheel"]["packages"], *targets["wheel"]["force-include"]}
    assert Path("pictures").as_posix() not in inside
    assert not any(PICTURES.is_relative_to(ROOT / one) for one in inside)
