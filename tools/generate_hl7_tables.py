"""The tables of HL7 v2 segments, their fields and data types, from hl7apy's version tables; `make docs` renews them.

hl7apy (MIT licence) carries the segment and data type definitions of HL7 v2.1 to v2.8.2. A field's type is that of
v2.5, or of the first later version that has the field: senders state v2.5 and use fields of v2.8, so a path is wrong
only if no version knows it.
"""

import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hl7apy import SUPPORTED_LIBRARIES, load_library

PREFERRED = "2.5"
VERSIONS = (PREFERRED, "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2", "2.4", "2.3.1", "2.3")
# v2.9 (chapter 7), which hl7apy does not have.
LATER_FIELDS = {"OBX": {31: "ID", 32: "CWE", 33: "EIP"}}
VARIES = "*"
ROOT = Path(__file__).parents[1]
_ID = re.compile(r"\b[Ii]d\b")

SEGMENTS = """\
# HL7 v2 segments and the data types of their fields. Made by tools/generate_hl7_tables.py; do not edit.
# Source: hl7apy {version} (MIT licence): HL7 v2.5, completed by the others of v2.3 to v2.8.2, and OBX by v2.9.
# `paths.py` reads it. A line is a segment and the types of its fields, in order; `*` varies, `-` was withdrawn.
"""
DATA_TYPES = """\
# HL7 v2 data types and those of their components. Made by tools/generate_hl7_tables.py; do not edit.
# Source: hl7apy {version} (MIT licence): HL7 v2.5, completed by the others of v2.3 to v2.8.2.
# `paths.py` reads it. A line is a data type and the types of its components, in order; `*` varies, `-` was withdrawn.
"""
COUNTS = """\
# HL7 v2 segments and how many fields they have. Made by tools/generate_hl7_tables.py; do not edit.
# Source: hl7apy {version} (MIT licence): HL7 v2.1 to v2.8.2, the highest number of any version.
# `engine/mapping/language/structures.py` reads it, where mappings are checked.
"""

NAMES = """\
# Names of the fields of HL7 v2 segments, and of the components of data types. Made by tools/generate_hl7_tables.py; do
# not edit. Source: hl7apy {version} (MIT licence): HL7 v2.5, completed by the others of v2.3 to v2.8.2.
# `engine/views/message_tree.py` reads it. A line is a segment and its fields, in order, each with its type (`*` varies)
# and name, or `=` and a data type with its components; `-` was withdrawn.
"""

Table = dict[str, dict[int, str]]


def tables() -> tuple[Table, Table]:
    """(segment -> field number -> type, data type -> component number -> type)."""
    segments, types = _parts(_type)
    for segment, fields in LATER_FIELDS.items():
        for number, kind in fields.items():
            segments[segment].setdefault(number, kind)
    return segments, types


def _parts(text: Callable[[Any], str]) -> tuple[Table, Table]:
    """As `tables`, with the text of each definition of a field or component."""
    segments: Table = {}
    types: Table = {}
    for name in VERSIONS:
        library = load_library(name)
        for segment, definition in library.SEGMENTS.items():
            if len(segment) == 3 and len(definition) > 1:
                _add(definition[1], segments.setdefault(segment, {}), text)
        for kind, components in library.DATATYPES_STRUCTS.items():
            _add(components, types.setdefault(kind, {}), text)
    return segments, types


def _add(items: Any, into: dict[int, str], text: Callable[[Any], str]) -> None:
    """Take over the fields or components that ``into`` has not."""
    for item, definition, *_ in items:
        into.setdefault(int(item.rsplit("_", 1)[1]), text(definition))


def _type(definition: Any) -> str:
    return VARIES if definition[2] in (None, "varies", "-") else str(definition[2])


def _named(definition: Any) -> str:
    words = " ".join((definition[3] or "").split("_")).capitalize()
    return f"{_type(definition)} {_ID.sub('ID', ' '.join(words.split()))}".strip()


def names() -> Iterator[str]:
    segments, types = _parts(_named)
    for mark, table in (("", segments), ("=", types)):
        for name, parts in sorted(table.items()):
            if parts:
                known = (parts.get(number, "-") for number in range(1, max(parts) + 1))
                yield "|".join([f"{mark}{name}", *(one.removesuffix(f" {name.lower()}") for one in known)])


def lines(table: Table) -> Iterator[str]:
    for name, parts in sorted(table.items()):
        if parts:
            text = " ".join(parts.get(number, "-") for number in range(1, max(parts) + 1))
            yield f"{name}: {text}"


def counts() -> Iterator[str]:
    """Of every segment, the highest number of fields in any version: senders use fields of later versions."""
    most: dict[str, int] = {}
    for library in sorted(SUPPORTED_LIBRARIES):
        for name, definition in load_library(library).SEGMENTS.items():
            fields = definition[1] if len(definition) > 1 and isinstance(definition[1], tuple) else ()
            names = [field[0] for field in fields if isinstance(field, tuple) and isinstance(field[0], str)]
            numbers = [int(field.rsplit("_", 1)[1]) for field in names if field.startswith(f"{name}_")]
            if len(name) == 3 and numbers:
                most[name] = max(most.get(name, 0), *numbers)
    return (f"{name}: {count}" for name, count in sorted(most.items()))


def files() -> dict[Path, str]:
    """What each file is to hold."""
    segments, types = tables()
    parts = {
        "adapters/codecs/hl7v2/segments.txt": (SEGMENTS, lines(segments)),
        "adapters/codecs/hl7v2/data_types.txt": (DATA_TYPES, lines(types)),
        "engine/mapping/data/hl7_fields.txt": (COUNTS, counts()),
        "engine/views/data/hl7_names.txt": (NAMES, names()),
    }
    return {
        ROOT / path: head.format(version=version("hl7apy")) + "\n".join(rows) + "\n"
        for path, (head, rows) in parts.items()
    }
