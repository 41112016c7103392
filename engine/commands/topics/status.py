"""The fields of ``/status.json``."""

from collections.abc import Iterator, Mapping

from engine.commands.topics.tables import code, rows
from engine.model.tables import table_lines
from engine.monitoring.snapshot import site

INTRODUCTION = """\
# Fields of /status.json

Everything on the status page as data; `labrelay status -o json` prints the same. Instants are ISO 8601 with zone, ages
and gaps are seconds, sizes are bytes, "today" is the site's local day.
"""


def markdown() -> str:
    return "\n".join((INTRODUCTION, *_tables()))


def fields() -> Mapping[str, str]:
    """The meaning of each field, by its path; ``[]`` of a list."""
    return dict(line.split(": ", 1) for line in table_lines(site.__file__, "status_fields.txt"))


def _tables() -> Iterator[str]:
    """One for the whole, and one for each object or list, with the fields of small ones in it."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, meaning in fields().items():
        place = "[]".join(path.split("[]")[:-1])
        place, name = (f"{place}[]", path[len(place) + 3 :]) if "[]" in path else ("", path)
        groups.setdefault(place, []).append((code(name), meaning))
    for place, found in groups.items():
        yield from (f"## {code(place) if place else 'The document'}", "", *rows("field | ", found), "")
