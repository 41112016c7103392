"""Where layouts are found: the YAML files that describe an analyzer's own text format (docs/layouts.md).

A layout is called ``NAME`` where one of these files is there, the first of them counting:

    layouts/NAME.yaml               of the site, then as shipped
    analyzers/NAME/layout.yaml      in the pack of an analyzer; of the site, then as shipped

``layout:`` in the file repeats the name, so that a copy under another name is not taken for the first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.config import registry
from engine.config.reading.yaml_nodes import read_file
from engine.config.site import search_path
from engine.model.errors import ConfigError

IN_PACK = "layout.yaml"


def layout_files(site: Path | None) -> dict[str, Path]:
    """Every layout there is, by name."""
    found: dict[str, Path] = {}
    for name, path in _all(site):
        found.setdefault(name, path)
    return dict(sorted(found.items()))


def load_layout(path: Path, name: str) -> Any:
    """Read one (`adapters.codecs.text.layout_language.Layout`).

    Raises:
        ConfigError: all that is wrong with it.
    """
    parts = 3 if path.name == IN_PACK else 2  # as a path below the site
    root = read_file(path, "/".join(path.parts[-parts:]))
    layout = registry.load(registry.FORMATS, "text").read_layout(root)
    if layout.name != name:
        at = root.get("layout") or root
        raise ConfigError(at.problem(f"the file is for layout: {name}; write that, or rename the file"))
    return layout


def _all(site: Path | None) -> Iterator[tuple[str, Path]]:
    for folder in search_path(site, "layouts"):
        for path in folder.glob("*.yaml"):
            yield path.stem, path
    for folder in search_path(site, "analyzers"):
        for path in folder.glob(f"*/{IN_PACK}"):
            yield path.parent.name, path
