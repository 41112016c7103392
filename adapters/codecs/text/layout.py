"""Texts of analyzers with a format of their own, read as a layout describes them. A format; pure.

    text -> pieces -> rules -> records H P O R C M L of E1394 -> the tree that mappings of E1394 see
            `text_pieces` `text_reading`  `text_tree`                  `astm_records`

The records are written as E1394 text, with every value escaped, and read by `astm_records`: a mapping, a code table,
`gaps` or a rule about controls sees the same as if an analyzer that speaks E1394 would have sent.

Apply the rules of a layout to the pieces of one text, and make records of them. Pure.

A piece without a matching rule is kept in an M record (``M|1|unread|line 14|...``) with a warning, or makes the text
unreadable, as the layout says. A text without a field that the layout requires is UNREADABLE: a part of a report is no
report. So is one in which a result could become that of another specimen, or be lost under another result.
"""

import re
from codecs import BOM_UTF8
from datetime import datetime
from typing import Protocol

from adapters.codecs.astm import records as astm_records
from adapters.codecs.astm.text import CONTROL_CHARACTER, decode
from adapters.codecs.text.framing import shown
from adapters.codecs.text.layout_language import Layout, Place, Rows, Rule, Value
from adapters.codecs.text.layout_reader import read_layout
from adapters.codecs.text.link import TextLink
from adapters.codecs.text.pieces import Piece, pieces, split_rows
from adapters.codecs.text.tree import Record, Tree
from engine.model.errors import ContentError
from engine.model.link_events import Block, Frame, LinkFault, SessionEnd
from engine.model.message import FormatOptions, Header, Issue, Parsed
from engine.model.texts.reasons import ReasonCode

_COMMA_NUMBER = re.compile(r"[<>=~+-]{0,2} ?[+-]?[0-9]+,[0-9]+")
_POINT_NUMBER = re.compile(r"[<>=~+-]{0,2} ?[0-9]{1,3}\.[0-9]{3}")  # 1.025 or one thousand and twenty-five
_COMMA_RANGE = re.compile(r"[<>=~ ]*[0-9]*,?[0-9]+ ?(-|\.\.|to) ?[0-9]*,?[0-9]+|" + _COMMA_NUMBER.pattern)
_NUMBERS = (3, 4, 5)  # fields of P and O with the numbers of patient and specimen
_BLANKS = re.compile(r"\s+")


class TextReader:
    """One text on its way into records."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._section = ""
        self._no_result = False
        self._numbers: dict[tuple[str, Place], Record] = {}  # where a rule has put the number of the results' patient
        self.tree = Tree(self._end_of)
        self.warnings: list[Issue] = []
        self._end_rules = [rule for rule in layout.rules if rule.at_end_of]
        self._piece_rules = [rule for rule in layout.rules if not rule.at_end_of]
        self._ignored: set[str] | None = None
        self._key: list[str] | None = None

    # -- pieces ------------------------------------------------------------------------------------------------

    def take(self, piece: Piece) -> None:
        """Let the rules take a piece."""
        if isinstance(self._layout.text, Rows):
            self._take_row(piece, self._layout.text)
        elif not self._take_whole(piece) and not self._take_parts(piece):
            self._unread(piece.place, piece.tag + piece.text)

    def _take_whole(self, piece: Piece) -> bool:
        """The first rule that takes the whole piece."""
        for rule in self._piece_rules:
            if rule.find is not None or (rule.sections and self._section not in rule.sections):
                continue
            values = _match(rule, piece)
            if values is not None and self._holds(rule, values) and self._apply(rule, values, piece.place):
                return True
        return False

    def _take_parts(self, piece: Piece) -> bool:
        """Rules with ``find``, in the order of their matches; the rest is not taken."""
        if piece.tag:
            return False
        found: list[tuple[int, int, Rule, dict[str, str]]] = []
        for rule in self._piece_rules:
            if rule.find is None or (rule.sections and self._section not in rule.sections):
                continue
            for match in rule.find.finditer(piece.text):
                start, end = match.span()
                values = {name: (value or "").strip() for name, value in match.groupdict().items()}
                free = all(end <= other[0] or other[1] <= start for other in found)
                if start < end and free and self._holds(rule, values):
                    found.append((start, end, rule, values))
        if not found:
            return False
        at = 0
        for start, end, rule, values in sorted(found, key=lambda one: one[0]):
            self._leftover(piece, at, start)
            if not self._apply(rule, values, _part(piece, start)):
                self._unread(_part(piece, start), piece.text[start:end])
            at = end
        self._leftover(piece, at, len(piece.text))
        return True

    def _leftover(self, piece: Piece, start: int, end: int) -> None:
        text = piece.text[start:end]
        if text.strip():
            self._unread(_part(piece, start + len(text) - len(text.lstrip())), text.strip())

    def _take_row(self, piece: Piece, how: Rows) -> None:
        """Every rule looks at every row; a cell that none names is not read.

        A row for which rules only set fields counts as not taken, since its result would be lost.
        """
        key = [piece.cells.get(column, "") for column in how.key]
        if self._key not in (None, key):
            self.tree.open("P", piece.place)  # another specimen: nothing of the one before is its
        self._key = key
        used = self._used(piece, how)
        taken = False
        for rule in self._piece_rules:
            if rule.each is None:
                if self._holds(rule, piece.cells):
                    self._apply_to_row(rule, piece.cells, piece.place)
                    taken |= _takes(rule)
                continue
            for column, value in piece.cells.items():
                groups = _column(rule.each, column, used)
                taken |= groups is not None and not value
                if groups is not None and value:
                    values = piece.cells | groups | {"column": column, "value": value}
                    if self._holds(rule, values):
                        self._apply_to_row(rule, values, piece.place)
                        taken = True
        if not taken:
            self._unread(piece.place, how.delimiter.join(piece.cells.values()))
        if self._ignored is None:
            self._ignored = set()
            each = [rule.each for rule in self._piece_rules if rule.each is not None]
            for number, column in enumerate(piece.cells, 1):
                known = column in used or column in how.ignore or not column
                if not known and all(_column(one, column, used) is None for one in each):
                    self._ignored.add(column)
                    text = "a column that no rule of the layout reads; read it, or list it in ignore"
                    self.warn("unread-column", text, f"column {number}")

    def _apply_to_row(self, rule: Rule, values: dict[str, str], place: str) -> None:
        if not self._apply(rule, values, place):
            raise _unreadable(rule, place, "no R record to amend")

    def _used(self, piece: Piece, how: Rows) -> frozenset[str]:
        return frozenset({*self._layout.columns, *how.optional, *how.ignore})

    # -- rules -------------------------------------------------------------------------------------------------

    def _holds(self, rule: Rule, values: dict[str, str]) -> bool:
        known = self.tree.remembered() | values
        return all(pattern.fullmatch(known.get(name, "")) is not None for name, pattern in rule.where.items())

    def _apply(self, rule: Rule, values: dict[str, str], place: str) -> bool:
        """Do what a rule says. False: there is no record that it could amend."""
        if rule.refuse:
            raise _unreadable(rule, place, rule.refuse)
        known = self.tree.remembered() | values
        target: Record | None = None
        if rule.amends is not None:
            field, wanted = rule.amends
            target = self.tree.result_with(field, wanted.fill(known))
            if target is None:
                return False
        if rule.section:
            self._section = rule.section
        self._no_result |= rule.no_result
        opened = self.tree.open(rule.new, place) if rule.new else None
        for name, value in rule.remembers:
            if not self.tree.remember(name, self._value(value, known, place, rule)):
                what = f"another {name} is remembered for a record around this one"
                raise _unreadable(rule, place, what, "begin what it belongs to in this rule or before, as with new: P")
        known = self.tree.remembered() | values
        for field, value in rule.sets:
            text = self._value(value, known, place, rule)
            if field.letter == "R" and self._layout.decimal == ",":
                text = self._with_point(text, field, place, rule)
            record = target or (opened if field.letter == rule.new else self.tree.current(field.letter, place))
            if record is None:
                raise _unreadable(rule, place, f"{field} without an R record before it")
            if target is None:
                self._refuse_another(record, field, text, place, rule)
            if text:
                record.set(field, text, place)
        return True

    def _refuse_another(self, record: Record, field: Place, text: str, place: str, rule: Rule) -> None:
        """Nothing of one specimen or result goes into the record of another.

        Raises:
            ContentError: UNREADABLE, the field has another value, or this rule has found one and now finds none.
        """
        if text and _stays(field) and record.get(field) not in ("", text):
            remedy = "several specimens in one text need key:, or a rule with new: P (new: O: of the same patient)"
            if field.letter == "R":
                remedy = "several results in one text need new: R"
            raise _unreadable(rule, place, f"{field} has another value already", remedy)
        whose = (rule.at, field)
        if not text and self._numbers.get(whose) is record:
            raise _unreadable(
                rule, place, f"{field} is empty, and was not before", "it is not known to whom this belongs"
            )
        if text and field.letter in "PO" and field.field in _NUMBERS:
            self._numbers[whose] = record

    def _with_point(self, text: str, field: Place, place: str, rule: Rule) -> str:
        """A number or range with decimal commas, written with points; any other text as it is."""
        if field.field == 4 and _POINT_NUMBER.fullmatch(text):
            what = "a point before three digits, and decimal is a comma; kept as a decimal point"
            self.warn("unclear-point", f"{what} (rule {rule.at})", place)
        pattern = {4: _COMMA_NUMBER, 6: _COMMA_RANGE}.get(field.field)
        return text.replace(",", ".") if pattern is not None and pattern.fullmatch(text) else text

    def _value(self, value: Value, known: dict[str, str], place: str, rule: Rule) -> str:
        text = CONTROL_CHARACTER.sub("\ufffd", value.take.fill(known))
        if value.words and text:
            if text in value.words:
                text = value.words[text]
            else:
                self.warn("unknown-word", f"a word that the layout does not know was kept (rule {rule.at})", place)
        if value.times and text:
            read = _time(text, value.times)
            if read:
                return read
            self.warn("unreadable-time", f"a time that the layout does not describe was kept (rule {rule.at})", place)
        return text

    def _end_of(self, record: Record) -> None:
        """A record ends: rules that waited for all of it."""
        for rule in self._end_rules:
            if rule.at_end_of == record.letter and self._holds(rule, {}):
                self._apply(rule, {}, record.place)

    # -- the end -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The text is over.

        Raises:
            ContentError: UNREADABLE, something that the layout requires is missing.
        """
        self.tree.end()
        if self._no_result and not self.tree.all_of("R"):
            return
        for field, rule in self._layout.required:
            records = self.tree.all_of(field.letter)
            if not records:
                raise ContentError(ReasonCode.UNREADABLE, f"there is no {field.letter} record (required in {rule})")
            for number, record in enumerate(records, 1):
                if not record.get(field):
                    where = f"{field.letter}[{number}]-{field.field}" + (
                        f".{field.component}" if field.component else ""
                    )
                    detail = f"{where} is missing (required in {rule})"
                    raise ContentError(ReasonCode.UNREADABLE, detail, place=record.place)

    def _unread(self, place: str, text: str) -> None:
        if self._layout.unread == "refuse":
            raise ContentError(
                ReasonCode.UNREADABLE, "no rule of the layout takes this, and it says unread: refuse", place=place
            )
        self.tree.keep_unread(place, CONTROL_CHARACTER.sub("\ufffd", text.strip()))
        self.warn("unread", "no rule of the layout takes this; it was kept in an M record", place)

    def warn(self, code: str, text: str, place: str) -> None:
        self.warnings.append(Issue(code=code, text=text, place=place))


# -- matching ----------------------------------------------------------------------------------------------------


def _match(rule: Rule, piece: Piece) -> dict[str, str] | None:
    """The values that a rule takes from a whole piece; None if it does not take it."""
    if rule.tag:
        if rule.tag != piece.tag:
            return None
        values = {"tag": piece.tag, "value": piece.text.strip()}
        if rule.value is not None:
            found = rule.value.fullmatch(piece.text.strip())
            return None if found is None else values | _groups(found)
        return values
    if rule.line is not None:
        found = rule.line.fullmatch(piece.text)
        return None if found is None else _groups(found)
    if (rule.begins or rule.columns) and piece.text.startswith(rule.begins):
        return {name: piece.text[first - 1 : last].strip() for name, (first, last) in rule.columns.items()}
    return None


def _groups(match: re.Match[str]) -> dict[str, str]:
    return {name: (value or "").strip() for name, value in match.groupdict().items()}


def _column(each: "re.Pattern[str] | tuple[str, ...]", column: str, used: frozenset[str]) -> dict[str, str] | None:
    """The values that a rule's ``each`` takes from a column's name; None if the rule is not about this column."""
    if isinstance(each, tuple):
        return {} if column in each else None
    found = each.fullmatch(column) if column not in used else None
    return None if found is None else _groups(found)


def _stays(field: Place) -> bool:
    """Whether a field never changes once it is set: which patient and specimen, which test and value."""
    return field.letter in "PO" or (field.letter == "R" and field.field in (3, 4))


def _takes(rule: Rule) -> bool:
    """Whether a row is known to a rule that fits it: not where it sets the same fields for every row."""
    return bool(rule.new or rule.amends or rule.where or rule.section or rule.remembers or rule.skip or rule.no_result)


def _part(piece: Piece, start: int) -> str:
    return f"{piece.place}, character {start + 1}"


def _time(text: str, formats: tuple[str, ...]) -> str:
    """An E1394 time, as exact as the first format that fits; empty if none does."""
    text = _BLANKS.sub(" ", text)
    for form in formats:
        try:
            at = datetime.strptime(text, form)
        except ValueError:
            continue
        if "%S" in form:
            return at.strftime("%Y%m%d%H%M%S")
        return at.strftime("%Y%m%d%H%M" if "%H" in form or "%I" in form else "%Y%m%d")
    return ""


def _unreadable(rule: Rule, place: str, what: str, remedy: str = "") -> ContentError:
    return ContentError(
        ReasonCode.UNREADABLE, f"{what} (rule {rule.at})" + (f": {remedy}" if remedy else ""), place=place
    )


__all__ = ["TextFormat", "build", "read_layout"]

FED_AT_ONCE = 64 * 1024  # bytes of a file
_BOM = "\ufeff"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# NULs that printers are given at the ends of lines. A serial driver puts one within a line for a byte with a wrong
# parity or stop bit: without it, 1.2 would become 12.
_FILL = re.compile("(?<![^\r\n])\0+|(?<!\0)\0++(?![^\r\n])")


class Settings(Protocol):
    """The settings of a channel's ``source:`` for its texts."""

    text_layout: Layout


def build(source: Settings) -> "TextFormat":
    """The format of a channel."""
    return TextFormat(source.text_layout)


class TextFormat:
    """Reads the texts of one layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    # -- engine.model.ports.Format -----------------------------------------------------------------------------------

    def header(self, payload: bytes) -> Header:
        """A text names no id and no version of itself; that it is one of results is known once it is read."""
        return Header(message_type="R")

    def split(self, payload: bytes) -> list[bytes]:
        """The texts of a file: cut at their framing where it has one, rows by their key.

        A file whose framing is damaged anywhere is one message, which `parse` refuses.
        """
        texts = self._unframe(payload)
        how = self._layout.text
        if isinstance(how, Rows):
            return [part for text in texts for part in split_rows(text, how)]
        return texts

    def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
        """Read a whole text.

        Raises:
            ContentError: UNREADABLE (a field that is required is missing, a rule refuses the text, rows that are no
                rows), INCOMPLETE (a file whose framing is damaged), TOO_LARGE, UNKNOWN_CHARSET.
        """
        self._refuse_framing(payload)
        marked = ("utf-16",) if payload.startswith(_UTF16_MARKS) else ("utf-8",) if payload.startswith(BOM_UTF8) else ()
        wide = (*marked, *options.charsets)
        text, charset = decode(payload.removeprefix(BOM_UTF8), wide)
        reading = TextReader(self._layout)
        text = _FILL.sub("", text.removeprefix(_BOM)).replace("\0", "\ufffd")
        found = pieces(text, self._layout.text, self._layout.columns)
        for piece in found:
            reading.take(piece)
        if isinstance(self._layout.text, Rows) and found and not text.endswith(("\n", "\r")):
            reading.warn("no-line-end", "the last row has no line end; it may have been cut off", "last row")
        reading.end()
        parsed = astm_records.parse(reading.tree.text().encode(), FormatOptions())
        parsed.charset = charset
        parsed.places = reading.tree.places()
        known = {warning.code for warning in parsed.warnings}
        parsed.warnings = [*reading.warnings, *parsed.warnings]
        if charset not in wide and "charset" not in known:
            text_ = f"not in a character set of the channel; read as {charset}"
            parsed.warnings.insert(0, Issue(code="charset", text=text_))
        return parsed

    # -- texts in files ----------------------------------------------------------------------------------------

    def _unframe(self, payload: bytes) -> list[bytes]:
        framing = self._layout.framing
        if framing is None or not any(mark in payload for mark in (framing.start, framing.end) if mark):
            return [payload]
        link = TextLink(framing, max_message=len(payload) + 1)
        texts: list[bytes] = []
        for at in range(0, len(payload), FED_AT_ONCE):
            events = link.receive(payload[at : at + FED_AT_ONCE], 0.0)
            while events:
                for event in events:
                    if isinstance(event, LinkFault) or (isinstance(event, SessionEnd) and event.incomplete):
                        return [payload]
                    if isinstance(event, Frame | SessionEnd):
                        texts += event.completes
                    assert not isinstance(event, Block)
                link.committed(0.0)
                events = link.receive(b"", 0.0)
        return texts if texts and not link.closed() else [payload]

    def _refuse_framing(self, payload: bytes) -> None:
        framing = self._layout.framing
        for mark in (framing.start, framing.end) if framing is not None else ():
            if mark and mark in payload:
                detail = (
                    f"{shown(mark)} without its counterpart, or with a wrong checksum: nothing of this file is used"
                )
                raise ContentError(ReasonCode.INCOMPLETE, detail)
