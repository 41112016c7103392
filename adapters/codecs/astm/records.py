"""ASTM E1394 (LIS2) messages: records to a tree of groups. A format in the sense of `engine.model.ports.Format`; pure.

    H header                        root
      P patient                       PATIENT
        O order                         ORDER
          R result                        RESULT
      Q request for information       root
    L terminator                    root

C (comment), M (manufacturer) and S (scientific) records belong to the group of the record before them, at any level.
P and O may be missing: the record below then opens the group on its own. Several H may come before one L: they stay one
message, and each closes the groups that are open. Records end with CR; LF, CR LF and empty records are seen as well.

Analyzers number, pad, cut and extend records as they like. A fault that can be tolerated without guessing becomes a
warning. A fault that would make a wrong tree (no header, unreadable delimiters, a damaged record) makes the message
UNREADABLE as a whole. A message that its sender marked as aborted is refused: a part of a report is never a report.

The fields of each E1394 record by number, for lint, `explain` and the pages: `fields.txt`.

``FIELDS["R"][4]`` names R-4, ``FIELDS["R"][0]`` the record.
"""

import re
from collections.abc import Iterator

from adapters.codecs.astm.capture import text_of_capture
from adapters.codecs.astm.messages import field_delimiter, split
from adapters.codecs.astm.text import (
    BLANKS,
    CONTROL_CHARACTER,
    FALLBACK_CHARSETS,
    components,
    decode,
    delimiters_of,
    repetitions,
    unescape,
)
from adapters.codecs.minutes import to_the_minute
from engine.model.errors import ContentError
from engine.model.message import Delimiters, FormatOptions, Group, Header, Issue, Parsed, Segment
from engine.model.tables import table_lines
from engine.model.texts.reasons import ReasonCode

__all__ = ["FIELDS", "components", "header", "parse", "repetitions", "split", "text_of_capture", "unescape"]

FORMAT = "astm"
STRUCTURE = "E1394"
PATIENT, ORDER, RESULT = "PATIENT", "ORDER", "RESULT"
KINDS = ("R", "Q", "O")  # what makes the kind of a message, the first that occurs
ABORTED = {"T": "the sender aborted", "R": "the receiver aborted", "E": "unknown error"}  # L-3
MAX_CONTROL_ID = 199  # characters kept of H-3 and H-13
# Of one message. An instrument sends some hundred records; each part of a field takes a byte or two on the wire and a
# hundred in memory. A message within these limits is mapped in about 2 s and 300 MB.
MAX_RECORDS = 25_000
MAX_DELIMITERS = 400_000

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SKIPPED = re.compile(rb"[\0\n\r\t ]+|#[^\r\n]*")
_NUL_INSIDE = re.compile(r"(?<=[\w.,<>=+-])\0+(?=[\w.,<>=+-])")
_LINE = re.compile(rb"[^\r\n]+")
_RESULT = re.compile(rb"(?<=[\r\n])[Rr][^\r\n]*")
_LOOKED_AT_BYTES = 64 * 1024
_CONTROL_BYTES = bytes(code for code in range(0x80) if CONTROL_CHARACTER.match(chr(code)))
_USUAL = frozenset("PORCMQL")  # of E1394; H has more to it
_RECORD_NAME = re.compile("[A-Za-z][A-Za-z0-9]{0,2}")


# -- the functions of the format ---------------------------------------------------------------------------------


def header(payload: bytes) -> Header:
    """Control id (H-3), version (H-13) and kind of a message, without reading all of it. Never raises.

    The kind is ``R`` where there are results, else ``Q`` for a host query, else ``O`` for orders, else empty.
    """
    first = _LINE.match(payload, _first_record(payload))
    record, _ = decode(first[0].replace(b"\0", b"") if first else b"", ())
    try:
        delimiters = delimiters_of(record)
    except ContentError as error:
        return Header(problem=error.detail)
    fields = record.split(delimiters.field)
    sent = to_the_minute(fields[13].strip(BLANKS)) if len(fields) > 13 else ""
    return Header(
        control_id=_header_value(fields, 3, delimiters),
        message_type=_kind(payload, delimiters.field.encode()),
        version=_header_value(fields, 13, delimiters),
        sent=sent,
        measured="" if sent else _measured(payload, delimiters.field.encode()),
    )


def _measured(payload: bytes, delimiter: bytes) -> str:
    """The first time of a result in the first 64 KiB: R-13 (completed), or R-12 (started)."""
    for found in _RESULT.finditer(payload, 0, _LOOKED_AT_BYTES):
        fields = found[0].split(delimiter, 13)
        for number in (13, 12):
            if len(fields) >= number and (said := to_the_minute(str(fields[number - 1].strip(), "latin-1"))):
                return said
    return ""


def parse(payload: bytes, options: FormatOptions) -> Parsed:
    """Read the whole message.

    A message without L is read, with a warning: whether it is whole is known to the link that received it.

    Raises:
        ContentError: UNREADABLE (no readable H record first, H records that contradict each other, a damaged record),
            SENDER_ABORTED (L-3 is T, R or E), TOO_LARGE, UNKNOWN_CHARSET.
    """
    text, charset = decode(payload.removeprefix(_BYTE_ORDER_MARK), options.charsets)
    warnings: list[Issue] = []
    if charset not in options.charsets:
        warnings.append(Issue(code="charset", text=f"not in a character set of the channel; read as {charset}"))
    if "\0" in text:
        # Padding of fields and bytes between records have no meaning. 1<NUL>2 may have been 1.2: it is never read as
        # 12.
        text = _NUL_INSIDE.sub("\ufffd", text).replace("\0", "")
        warnings.append(Issue(code="nul", text="NUL characters were removed; inside a value they became U+FFFD"))
    if (charset not in FALLBACK_CHARSETS or _has_controls(payload)) and CONTROL_CHARACTER.search(text):
        text = CONTROL_CHARACTER.sub("\ufffd", text)
        warnings.append(Issue(code="control-character", text="control characters were replaced by U+FFFD"))

    records, delimiters = _records(text, warnings)
    tree = _Tree(records, delimiters, warnings)
    return Parsed(
        format=FORMAT,
        structure=STRUCTURE,
        message_type=next((kind for kind in KINDS if kind in tree.names), ""),
        delimiters=delimiters,
        root=tree.root,
        segments=tree.segments,
        charset=charset,
        control_id=_header_value(tree.segments[0].fields[1:], 3, delimiters),
        warnings=warnings,
        names=tree.names,
    )


def _has_controls(payload: bytes) -> bool:
    """Whether there are bytes that are control characters in any charset which has ASCII in it; quicker than looking
    through the text."""
    return len(payload.translate(None, _CONTROL_BYTES)) != len(payload)


# -- text to records ---------------------------------------------------------------------------------------------


def _records(text: str, warnings: list[Issue]) -> tuple[list[str], Delimiters]:
    """The records of a text in order, an H record first, and the delimiters they share."""
    if text.count("\r") > MAX_RECORDS or text.count("\n") > MAX_RECORDS:
        raise _too_large()
    records: list[str] = []
    typed: list[str] = []  # lines that belong to the last record
    delimiters = Delimiters()
    comments = 0
    usual = ""  # the field delimiter, once it is known
    for line, certain in _lines(text):
        if usual and line[1:2] == usual and line[0] in _USUAL:  # the form of nearly all records, recognised cheaply
            if typed:
                _take_in(records, typed)
            records.append(line)
            continue
        record = line.lstrip(BLANKS)
        place = f"record {len(records)}"
        if not record.rstrip(BLANKS):
            continue
        if record[0] == "#" and certain:
            comments += 1
        elif not records:
            delimiters = delimiters_of(record)
            if len(text) > MAX_DELIMITERS < sum(map(text.count, _separators(delimiters))):
                raise _too_large()
            records.append(record)
            usual = delimiters.field
        elif _begins_record(record, delimiters):
            _take_in(records, typed)
            records.append(record)
        elif certain or len(records) == 1:  # no user types into an H record
            if _is_damaged(record, delimiters):
                raise ContentError(ReasonCode.UNREADABLE, "no record type where one belongs", place=f"after {place}")
            warnings.append(Issue(code="garbage", text="a line that is no record was left out", place=f"after {place}"))
        else:
            typed.append(line)
            warnings.append(Issue(code="line-feed", text="a line feed inside a record was kept", place=place))
    if not records:
        raise ContentError(ReasonCode.UNREADABLE, "there is no record in the text")
    _take_in(records, typed)
    if comments:
        warnings.append(Issue(code="comment-line", text=f"{comments} lines beginning with # were left out"))
    return records, delimiters


def _take_in(records: list[str], typed: list[str]) -> None:
    """End the last record with the lines that were typed into it, all at once: one by one, each would copy it."""
    if typed:
        records[-1] = "\n".join([records[-1], *typed])
        typed.clear()


def _too_large() -> ContentError:
    return ContentError(ReasonCode.TOO_LARGE, f"more than {MAX_RECORDS} records or {MAX_DELIMITERS} delimiters")


def _separators(delimiters: Delimiters) -> tuple[str, ...]:
    return delimiters.field, delimiters.repetition, delimiters.component


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether a record ended before it for certain.

    CR ends a record; LF does in a text that has no CR. An LF alone in a text with CR may also have been typed into a
    comment: the text after it is a record only if it looks like one.
    """
    if "\r" not in text:
        for line in text.split("\n"):
            yield line, True
        return
    for piece in text.split("\r"):
        if "\n" not in piece:
            yield piece, True
            continue
        for number, line in enumerate(piece.strip("\n").split("\n")):
            yield line, number == 0


def _begins_record(record: str, delimiters: Delimiters) -> bool:
    """Whether a line begins with a record type. Any type counts: a type that E1394 does not have is kept as it is.

    Raises:
        ContentError: UNREADABLE, it is an H record with other delimiters than the first.
    """
    if field_delimiter(record[:4].encode()):
        try:
            again = delimiters_of(record)
        except ContentError:
            again = delimiters  # H with an empty definition: the first one stays valid
        if again != delimiters:
            raise ContentError(
                ReasonCode.UNREADABLE, "H records of one message declare different delimiters", place="H-2"
            )
        return True
    name, found, _ = record.partition(delimiters.field)
    return bool(_RECORD_NAME.fullmatch(name.rstrip(BLANKS))) and (bool(found) or len(record.rstrip(BLANKS)) == 1)


def _is_damaged(record: str, delimiters: Delimiters) -> bool:
    """Whether a line looks like a record that lost its type letter: leaving it out could leave out a result."""
    head, *fields = record.split(delimiters.field, 2)
    return len(head) <= 3 and bool(fields) and fields[0].strip().isdigit()


# -- records to a tree -------------------------------------------------------------------------------------------


class _Tree:
    """Hangs each record where it belongs. ``_patient``, ``_order`` are the open groups, ``_last`` the last one used."""

    def __init__(self, records: list[str], delimiters: Delimiters, warnings: list[Issue]) -> None:
        self.root = Group(STRUCTURE)
        self.segments: list[Segment] = []
        self._patient: Group | None = None
        self._order: Group | None = None
        self._last = self.root
        self.names: dict[str, list[Segment]] = {}
        self._warnings = warnings
        self._terminated = False
        for record in records:
            self._add(record, delimiters)
        if (headers := len(self.names.get("H", ()))) > 1:
            self._warn("several-headers", f"{headers} H records in one message", "H")
        if not self._terminated:
            self._warn("no-terminator", "there is no L record", "L")

    def _add(self, record: str, delimiters: Delimiters) -> None:
        fields = record.split(delimiters.field)
        name = fields[0]
        if name not in _USUAL:
            name = name.rstrip().upper()
        named = self.names.setdefault(name, [])
        ordinal = len(named) + 1
        fields.insert(0, name)
        segment = Segment(name, fields, len(self.segments) + 1, ordinal)
        named.append(segment)
        if self._terminated and name != "H":
            self._warn("after-terminator", "a record after the L record", f"{name}[{ordinal}]")
        self.segments.append(segment)
        if name == "R" and self._order is not None:  # of nearly all records
            self._last = result = _open(self._order, RESULT)
            result.segments[name] = [segment]
            return
        self._last = group = self._group_for(name, ordinal)
        same = group.segments.get(name)
        if same is None:
            group.segments[name] = [segment]
        else:
            same.append(segment)
        if name == "L":
            self._end(segment, f"{name}[{ordinal}]")

    def _group_for(self, name: str, ordinal: int) -> Group:
        if name in ("H", "Q", "L"):
            self._patient = self._order = None
            return self.root
        if name == "P":
            self._order = None
            self._patient = _open(self.root, PATIENT)
            return self._patient
        if name == "O":
            self._patient = self._patient or _open(self.root, PATIENT)
            self._order = _open(self._patient, ORDER)
            return self._order
        if name == "R":
            self._patient = self._patient or _open(self.root, PATIENT)
            self._order = self._order or _open(self._patient, ORDER)
            return _open(self._order, RESULT)
        if name not in FIELDS:
            self._warn("unknown-record", "a record of a type that E1394 does not define was kept", f"{name}[{ordinal}]")
        return self._last

    def _end(self, terminator: Segment, place: str) -> None:
        """Act on L-3. A question that is taken back ends as aborted, too, and is no part of a report.

        Raises:
            ContentError: SENDER_ABORTED.
        """
        self._terminated = True
        code = terminator.fields[3].strip(BLANKS).upper() if len(terminator.fields) > 3 else ""
        if code in ABORTED and not self._takes_back(code):
            raise ContentError(ReasonCode.SENDER_ABORTED, f"{code}: {ABORTED[code]}", place=f"{place}-3")

    def _takes_back(self, code: str) -> bool:
        """Whether the message takes a question back (Q-13 is A, and L-3 is T), and holds nothing else."""
        questions = self.names.get("Q", ())
        rest = self.names.keys() - {"H", "Q", "L", "C", "M"}
        statuses = {one.fields[13].strip(BLANKS).upper() if len(one.fields) > 13 else "" for one in questions}
        return code == "T" and statuses == {"A"} and not rest

    def _warn(self, code: str, text: str, place: str) -> None:
        self._warnings.append(Issue(code=code, text=text, place=place))


def _open(parent: Group, name: str) -> Group:
    group = Group(name)
    there = parent.groups.get(name)
    if there is None:
        parent.groups[name] = [group]
    else:
        there.append(group)
    return group


# -- reading the header without the rest -------------------------------------------------------------------------


def _first_record(payload: bytes) -> int:
    """Where the first record begins, behind blanks and lines that begin with ``#``."""
    at = len(_BYTE_ORDER_MARK) if payload.startswith(_BYTE_ORDER_MARK) else 0
    while match := _SKIPPED.match(payload, at):
        at = match.end()
    return at


def _header_value(record: list[str], number: int, delimiters: Delimiters) -> str:
    """Field ``number`` of an H record that was split into fields, unescaped; empty if it is not there."""
    if number > len(record):
        return ""
    value = unescape(record[number - 1].strip(BLANKS), delimiters)[:MAX_CONTROL_ID]
    return CONTROL_CHARACTER.sub("\ufffd", value)


def _kind(payload: bytes, delimiter: bytes) -> str:
    for kind in KINDS:
        letters = f"[{kind}{kind.lower()}]".encode()
        end_of_name = rb"(?:" + re.escape(delimiter) + rb"|[\r\n]|\Z)"
        if re.search(rb"[\r\n][\0\t ]*" + letters + rb"[\0\t ]*" + end_of_name, payload):
            return kind
    return ""


def _read() -> dict[str, tuple[str, ...]]:
    records: dict[str, list[str]] = {}
    for line in table_lines(__file__, "fields.txt"):
        place, _, name = line.partition(" ")
        records.setdefault(place.partition("-")[0], []).append(name)
    return {record: tuple(names) for record, names in records.items()}


FIELDS: dict[str, tuple[str, ...]] = _read()
