"""A layout as values: how a text is cut into pieces, and which rule puts which part of a piece into which record.

    text --cut--> pieces (lines, tagged fields, rows) --rules--> records H P O R C M L, fields numbered as in E1394

`layout_reader` makes these values of YAML and checks them; `text_pieces` and `text_layout` act on them. Pure.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from adapters.codecs.text.framing import Framing

LETTERS = "HPORCM"  # of the records that rules can fill; L is made by itself
OPENED_BY_RULES = "PORCM"


@dataclass(frozen=True, slots=True)
class Place:
    """A field of a record, and one component of it; ``component`` 0 is the whole field."""

    letter: str
    field: int
    component: int = 0

    def __str__(self) -> str:
        return f"{self.letter}-{self.field}" + (f".{self.component}" if self.component else "")


@dataclass(frozen=True, slots=True)
class Template:
    """Text with ``{names}`` in it. ``parts`` alternate between literal text and a name, beginning with text."""

    parts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts[1::2]

    def fill(self, values: dict[str, str]) -> str:
        """The text with every name replaced, without blanks around it; a name without a value is empty."""
        filled = [values.get(part, "") if at % 2 else part for at, part in enumerate(self.parts)]
        return "".join(filled).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The value of a field.

    Attributes:
        times: formats of `datetime.strptime`, of which the first that fits reads the text as a time.
        words: texts to replace as a whole; a text that is not in it stays as it is, with a warning.
    """

    take: Template
    times: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        at: ``file:line`` of it.
        line: takes a line that it matches as a whole.
        find: takes each match in what no other rule took of a line.
        begins, columns: takes a line that begins so; names of columns with the first and last character, from 1.
        tag: takes a tagged field. ``value``: only where its value matches as a whole.
        each: once for each column of a row whose header matches as a whole, or is listed.
        at_end_of: runs when a record of this type ends.
        sections: only within these; empty: anywhere.
        section: begins a section.
        where: names and what must match them as a whole.
        new: the type of record that the rule begins.
        sets, remembers: the fields that it sets, and the names under which it keeps values for later rules.
        amends: the field of an earlier R record that must have this value; the rule sets fields of that record.
        skip: the piece is known and not needed. no_result: a text with it reports no result, so nothing is required.
        refuse: why a text with it cannot be used.
    """

    at: str
    line: re.Pattern[str] | None = None
    find: re.Pattern[str] | None = None
    begins: str = ""
    columns: dict[str, tuple[int, int]] = field(default_factory=dict)
    tag: str = ""
    value: re.Pattern[str] | None = None
    each: re.Pattern[str] | tuple[str, ...] | None = None
    at_end_of: str = ""
    sections: tuple[str, ...] = ()
    section: str = ""
    where: dict[str, re.Pattern[str]] = field(default_factory=dict)
    new: str = ""
    sets: tuple[tuple[Place, Value], ...] = ()
    remembers: tuple[tuple[str, Value], ...] = ()
    amends: tuple[Place, Template] | None = None
    skip: bool = False
    no_result: bool = False
    refuse: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A text of lines. ``ends``: the end of a line; empty for CR, LF or CR LF."""

    ends: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A text of tagged fields.

    Attributes:
        separator: the text between two fields.
        tag: the number of characters of a field's tag; 0 where ``until`` ends it.
        end: the end of a field besides the separator; removed from its value.
    """

    separator: str
    tag: int = 0
    until: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A text of rows of cells, as CSV.

    Attributes:
        skip: the number of unneeded lines before the first row.
        skip_lines: patterns of unneeded lines, matched against the whole line.
        header: the first row names the columns; else they are called 1, 2, 3 ...
        key: the columns that say which rows are of one message; empty: all rows are.
        optional: columns that may be missing. ignore: columns that are not needed.
    """

    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    skip: int = 0
    skip_lines: re.Pattern[str] | None = None
    key: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One analyzer's text.

    Attributes:
        decimal: the decimal sign of numbers in R-4 and R-6.
        required: fields without which a text is UNREADABLE, with the rule that says so. Those of R are required of
            each R record, and of at least one.
        unread: a piece that no rule takes is kept in an M record with a warning (``keep``), or makes the text
            UNREADABLE (``refuse``).
        columns: of rows, those that must be there.
        at: ``file:line:column`` of it.
    """

    name: str
    text: Lines | Fields | Rows
    rules: tuple[Rule, ...]
    framing: Framing | None = None
    decimal: Literal[".", ","] = "."
    required: tuple[tuple[Place, str], ...] = ()
    unread: Literal["keep", "refuse"] = "keep"
    columns: tuple[str, ...] = ()
    at: str = ""
