"""The folders of the product's code: those that the wheel carries."""

import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: tuple[str, ...] = tuple(_PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
