"""Each point where something can be chosen in the YAML, with everything that is there."""

from collections.abc import Iterable, Iterator

from engine.commands.topics.tables import code, rows
from engine.config import registry
from engine.config.destinations import destination
from engine.config.layouts import layout_files
from engine.config.sources import source
from engine.mapping.functions import FUNCTIONS


def markdown() -> str:
    return "\n".join(("# Kinds", "", "Names as the YAML has them.", "", *kinds()))


def kinds() -> Iterator[str]:
    """One row for each."""
    functions = dict.fromkeys(function.group.replace("_", " ") for function in FUNCTIONS.values())
    listed: dict[str, Iterable[str]] = {
        "kinds of destinations": destination.kinds(),
        "kinds of sources": source.presets(),
        "transports of sources": source.transports(),
        "dialects": registry.dialects(),
        "layouts": layout_files(None),
        "functions of mappings, by group": functions,
    }
    yield from rows("there are | ", ((what, ", ".join(map(code, names))) for what, names in listed.items()))
