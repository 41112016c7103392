"""The warning codes."""

from engine.commands.topics.tables import code, rows
from engine.model.tables import table_lines
from engine.model.texts import reasons

INTRODUCTION = """\
# Warning codes

A message that goes on may have warnings: something in it could not be read, or was left out. `labrelay messages show`,
`map`, `explain` and `tap` show each with its code, its place in the message (`R[2]-13` is field 13 of the second R
record) and the rule of the mapping that noticed it. The codes of a message that ends otherwise:
`labrelay help reasons`.

The parsers of HL7 v2 and of ASTM and other texts give the first codes, mappings those from `AMBIGUOUS_TIME` on. A
mapping of yours may give others (`warn:`).
"""


def markdown() -> str:
    found = (entry.partition(": ") for entry in table_lines(reasons.__file__, "warning_codes.txt"))
    named = ((code(name), text) for name, _, text in found)
    return "\n".join((INTRODUCTION, *rows("code | what was seen, and what became of it", named)))
