"""Topics that are lists of names and codes: the function of each name gives its text."""

from collections.abc import Iterable, Iterator, Mapping

from engine.commands.topics.tables import code, rows
from engine.config import registry
from engine.config.destinations import destination
from engine.config.layouts import layout_files
from engine.config.sources import source
from engine.mapping.functions import FUNCTIONS
from engine.mapping.hold_rules import names
from engine.model.tables import table_lines
from engine.model.texts import reasons as all_reasons
from engine.monitoring import logs
from engine.monitoring.snapshot import site

REASONS = """\
# Reason codes

Why a message or a delivery is where it is. The code is stored with it, shown on the status page and by
`labrelay dlq show`, counted in the metrics, and matched by `labrelay dlq list --code CODE`. Codes are never renamed or
reused: rows of past years carry them. Messages that go on have other codes: `labrelay help warnings`.
"""
WARNINGS = """\
# Warning codes

A message that goes on may have warnings: something in it could not be read, or was left out. `labrelay messages show`,
`map`, `explain` and `tap` show each with its code, its place in the message (`R[2]-13` is field 13 of the second R
record) and the rule of the mapping that noticed it. The codes of a message that ends otherwise:
`labrelay help reasons`.

The parsers of HL7 v2 and of ASTM and other texts give the first codes, mappings those from `AMBIGUOUS_TIME` on. A
mapping of yours may give others (`warn:`).
"""
STATUS = """\
# Fields of /status.json

Everything on the status page as data; `labrelay status -o json` prints the same. Instants are ISO 8601 with zone, ages
and gaps are seconds, sizes are bytes, "today" is the site's local day.
"""


def reasons() -> Iterator[str]:
    found = ((code(reason.value), reason.help) for reason in all_reasons.ReasonCode)
    yield from (REASONS, *rows("code | what happened, and what to do", found))


def warnings() -> Iterator[str]:
    found = (entry.partition(": ") for entry in table_lines(all_reasons.__file__, "warning_codes.txt"))
    named = ((code(name), text) for name, _, text in found)
    yield from (WARNINGS, *rows("code | what was seen, and what became of it", named))


def loggers() -> Iterator[str]:
    named = ((code(f"{logs.OURS}.{name}"), text) for name, text in logs.LOGGERS.items())
    yield from ("# Loggers", "", "The names of `logger` in lines of the log.", "", *rows("logger | ", named))


def holds() -> Iterator[str]:
    named = ((code(name), text) for name, (_, text) in names.NAMES.items())
    functions = ((code(name), text) for name, text in names.FUNCTIONS.items())
    yield from ("# Rules that hold results back", "", "Rules are the entries of `hold:` of a route.", "")
    yield from ("## Names", "", *rows("name | of the result", named), "")
    yield from ("## Functions", "", *rows("function | ", functions))


def kinds() -> Iterator[str]:
    """One row for each point where something can be chosen in the YAML, with everything that is there."""
    functions = dict.fromkeys(function.group.replace("_", " ") for function in FUNCTIONS.values())
    listed: dict[str, Iterable[str]] = {
        "kinds of destinations": destination.kinds(),
        "kinds of sources": source.presets(),
        "transports of sources": source.transports(),
        "dialects": registry.dialects(),
        "layouts": layout_files(None),
        "functions of mappings, by group": functions,
    }
    yield from ("# Kinds", "", "Names as the YAML has them.", "")
    yield from rows("there are | ", ((what, ", ".join(map(code, names))) for what, names in listed.items()))


def status_fields() -> Mapping[str, str]:
    """The meaning of each field of ``/status.json``, by its path; ``[]`` of a list."""
    return dict(line.split(": ", 1) for line in table_lines(site.__file__, "status_fields.txt"))


def status() -> Iterator[str]:
    """A table for the whole document, and one for each object or list, with the fields of small ones in it."""
    yield STATUS
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, meaning in status_fields().items():
        place = "[]".join(path.split("[]")[:-1])
        place, name = (f"{place}[]", path[len(place) + 3 :]) if "[]" in path else ("", path)
        groups.setdefault(place, []).append((code(name), meaning))
    for place, found in groups.items():
        yield from (f"## {code(place) if place else 'The document'}", "", *rows("field | ", found), "")


TOPICS = {one.__name__: one for one in (reasons, warnings, loggers, holds, kinds, status)}
