"""The functions and named tables of the mapping language, as they declare themselves."""

import sys
from collections.abc import Iterator

from engine.mapping.functions import FUNCTIONS
from engine.mapping.functions.code_maps import CODE_MAPS

INTRODUCTION = """\
# Functions of the mapping language

A signature reads `name(parameter: kind) -> kind`. Kinds are `field` (one repetition as it was sent), `segment`, `text`,
`whole` (a text, or a field with all its delimiters), `literal` (a text in quotes), `decimal`, `measured` (a number with
its comparator, see `decimal`), `row` (of a table), `flag` (true or false), or a FHIR type. `x[]` is a list, `x?` may be
absent or left out, `x...` is any number of arguments, `x!` is never absent.

A function of an absent value is absent, unless the parameter says `?`. A list in the place of one value calls the
function for each element.
"""


def markdown() -> str:
    return "\n".join((INTRODUCTION, *lines()))


def lines() -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for name, function in FUNCTIONS.items():
        groups.setdefault(function.group, []).append(name)
    for group, names in groups.items():
        module = sys.modules[FUNCTIONS[names[0]].call.__module__]
        yield f"## {group.capitalize().replace('_', ' ')}"
        yield ""
        yield paragraph(module.__doc__ or "")
        yield ""
        for name in names:
            function = FUNCTIONS[name]
            yield f"### {name}"
            yield ""
            yield f"`{function.signature}`"
            yield ""
            yield paragraph(f"{function.doc} {function.details}")
            if function.settings:
                yield ""
                yield f"Reads the channel's settings {', '.join(f'`{setting}`' for setting in function.settings)}."
            yield ""
    yield "## Tables that lookup() knows by name"
    yield ""
    yield "Tables of HL7 v2 and of ASTM E1394 are never shared: their letters mean different things."
    yield ""
    yield "| table | gives | what it is | codes |"
    yield "|---|---|---|---|"
    for name, table in CODE_MAPS.items():
        known = [*table.values, *(pattern.replace("[0-9]+", "n") for pattern in table.patterns)]
        codes = ", ".join(f"`{code}`" for code in known) or "any"
        yield f"| `{name}` | {table.kind} | {table.doc} | {codes.replace('|', chr(92) + '|')} |"


def paragraph(text: str) -> str:
    """A docstring as paragraphs, each on one line; indented blocks stay as they are."""
    parts = []
    for block in text.strip().split("\n\n"):
        if all(line.startswith("    ") for line in block.splitlines()):
            parts.append("```text\n" + "\n".join(line[4:] for line in block.splitlines()) + "\n```")
        else:
            parts.append(" ".join(line.strip() for line in block.splitlines()).strip())
    return "\n\n".join(part for part in parts if part)
