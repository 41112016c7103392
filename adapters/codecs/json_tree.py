"""JSON (RFC 8259) as a message: the `engine.model.ports.Format` that the registry knows as ``json`` and ``fhir``. Pure.

The tree has dicts, lists, texts, True, False, None, and numbers as the digits that were sent (`Digits`): no number is
rounded. Refused are all texts that two readers could read as two things: names that are twice in one object, NaN and
Infinity, other character sets than UTF-8. Characters that no FHIR string may hold become U+FFFD.

A text that was read, so that it is known to be whole, can also be cut, or changed in one place: its other bytes stay.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from engine.model.errors import ContentError
from engine.model.message import Delimiters, FormatOptions, Group, Header, Issue, Parsed
from engine.model.texts.reasons import ReasonCode

FORMAT = STRUCTURE = "json"
FHIR = "fhir"
MAX_DEPTH = 64  # of objects and lists inside each other
MAX_VALUES = 400_000  # of one message; each takes some hundred bytes in memory
HEADER_BYTES = 1024 * 1024  # of a larger message the header is not read, since that holds up other connections
MAX_CONTROL_ID = 199  # characters, as in HL7 v2.5 (MSH-10)

Path = tuple[str | int | None, ...]  # names of members, positions in lists from 0; None: each of a list
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d{1,6}|\*)\]|\['([^'\\]{1,200})'\]")
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_TYPE = re.compile(r"(?!(?:[^0-9]*[0-9]){7})[A-Za-z0-9._:/^-]{1,64}")  # seven digits: a date, or a person's number
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d))?")
_NO_DELIMITERS = Delimiters("", "", "", "", "")


class Digits(str):
    """A number, as it was sent."""

    __slots__ = ()


class Settings(Protocol):
    """The settings of a channel's ``source:`` for JSON; each path may be None."""

    format: str
    control_id: str | None
    message_type: str | None


def path_of(text: str) -> Path:
    """A path of RFC 9535, without its selectors of several values but ``[*]``: ``$.payload.items[0]['unit price']``.

    Raises:
        ValueError: it is none.
    """
    steps: list[str | int | None] = []
    at = 1
    while text.startswith("$") and at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            break
        steps.append(step[1] or step[3] or (None if step[2] == "*" else int(step[2])))
        at = step.end()
    if not text.startswith("$") or at != len(text):
        raise ValueError("expected a path, as $.payload.id or $.items[0]['unit price']")
    return tuple(steps)


def values_at(tree: Any, path: Path) -> list[Any]:
    """The values at a path: one at most, without a step for each of a list."""
    found = [tree]
    for step in path:
        if step is None:
            found = [inner for value in found if isinstance(value, list) for inner in value]
        elif isinstance(step, str):
            found = [value[step] for value in found if isinstance(value, dict) and step in value]
        else:
            found = [value[step] for value in found if isinstance(value, list) and len(value) > step]
    return found


def text_of(value: Any) -> str | None:
    """A text, a number as it was sent, or a truth value, without outer blanks; None of all else, and of a blank."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.strip() or None if isinstance(value, str) else None


def text_at(tree: Any, path: Path) -> str:
    """The text of the value at a path; empty where there is none."""
    return next((text for value in values_at(tree, path) if (text := text_of(value))), "")


def build(source: Settings) -> "JsonFormat":
    """The format of one channel."""
    if source.format == FHIR:
        return JsonFormat(_fhir_header)
    control_id = path_of(source.control_id) if source.control_id else None
    message_type = path_of(source.message_type) if source.message_type else None

    def read(tree: Any) -> Header:
        return Header(
            control_id=text_at(tree, control_id)[:MAX_CONTROL_ID] if control_id else "",
            message_type=_type(text_at(tree, message_type)) if message_type else "",
        )

    return JsonFormat(read)


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """JSON of one channel. ``facts`` reads the values of the header in the tree."""

    facts: Callable[[Any], Header]

    def header(self, payload: bytes) -> Header:
        if len(payload) > HEADER_BYTES:
            return Header()
        try:
            return self.facts(read(payload)[0])
        except ContentError:
            return Header()  # `parse` says why

    def split(self, payload: bytes) -> list[bytes]:
        return [payload]

    def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
        tree, warnings = read(payload)
        header = self.facts(tree)
        return Parsed(
            format=FORMAT,
            structure=STRUCTURE,
            message_type=header.message_type,
            delimiters=_NO_DELIMITERS,
            root=Group(STRUCTURE),
            segments=[],
            control_id=header.control_id,
            warnings=warnings,
            tree=tree,
        )


def unescape(text: str, *_: object) -> str:
    """JSON is read without escapes already."""
    return text


def parse(payload: bytes, options: FormatOptions) -> Parsed:
    """Read a message of which no channel says where its header is."""
    return _PLAIN.parse(payload, options)


def header(payload: bytes) -> Header:
    return _PLAIN.header(payload)


def split(payload: bytes) -> list[bytes]:
    return [payload]


def read(payload: bytes) -> tuple[Any, list[Issue]]:
    """The tree, and what was replaced in it.

    Raises:
        ContentError: UNREADABLE, UNKNOWN_CHARSET, TOO_LARGE.
    """
    if len(payload) > MAX_VALUES and payload.count(b",") + payload.count(b"[") + payload.count(b"{") > MAX_VALUES:
        raise ContentError(ReasonCode.TOO_LARGE, f"more than {MAX_VALUES} values")
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContentError(ReasonCode.UNKNOWN_CHARSET, f"JSON is UTF-8, and byte {error.start} is not") from None
    try:
        tree = json.loads(text, parse_float=Digits, parse_int=Digits, parse_constant=_refuse, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        # the reader's own words; it quotes nothing of the text
        raise ContentError(ReasonCode.UNREADABLE, f"line {error.lineno}, column {error.colno}: no JSON") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(tree, dict | list):
        raise ContentError(ReasonCode.UNREADABLE, "neither an object nor a list")
    if _depth(tree) > MAX_DEPTH:
        raise _too_deep()
    if "\\u" not in text:  # the only way in for such characters
        return tree, []
    cleaned = _cleaned(tree)
    if cleaned == tree:
        return tree, []
    return cleaned, [Issue(code="CONTROL_CHARACTER", text="characters that no text may hold were replaced")]


def write(tree: Any) -> bytes:
    """A tree as `read` gives it, compact; numbers have the digits that were sent, names their order."""
    return orjson.dumps(tree, default=_as_sent, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def _as_sent(number: object) -> orjson.Fragment:
    if not isinstance(number, Digits):
        raise TypeError(type(number).__name__)
    return orjson.Fragment(number.encode())


def _fhir_header(tree: Any) -> Header:
    """Of a Bundle its identifier and time, of every resource its type. An id is no control id: a new version has it."""
    time = _TIME.match(text_at(tree, ("timestamp",)))
    return Header(
        control_id=text_at(tree, ("identifier", "value"))[:MAX_CONTROL_ID],
        message_type=_type(text_at(tree, ("resourceType",))),
        sent="".join(part or "" for part in time.groups()) if time else "",
    )


def _type(text: str) -> str:
    """A text that may be shown and logged; empty where it is no type."""
    return text if _TYPE.fullmatch(text) else ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ContentError(ReasonCode.UNREADABLE, "a name is twice in one object")
    return made


def _refuse(name: str) -> Any:
    raise ContentError(ReasonCode.UNREADABLE, f"{name} is no number of JSON")


def _too_deep() -> ContentError:
    return ContentError(ReasonCode.TOO_LARGE, f"more than {MAX_DEPTH} objects and lists inside each other")


def _depth(tree: Any) -> int:
    depth, level = 0, [tree]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
    return depth


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return _object([(_UNSAFE.sub("\ufffd", name), _cleaned(inner)) for name, inner in value.items()])
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return value if isinstance(value, Digits) or not isinstance(value, str) else _UNSAFE.sub("\ufffd", value)


_PLAIN = JsonFormat(lambda tree: Header())


DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def with_members(text: str, new: Mapping[str, str]) -> str:
    """The object in ``text`` with other members; each stays where it is, and a new one is the last.

    Args:
        new: the JSON text of each value by its name; empty: the member is taken out.
    """
    at = skip(text, 0)
    kept = [
        (text[begin:end] if name not in new else f"{json.dumps(name)}:{new[name]}")
        for name, begin, end in _whole_members(text, at)
        if new.get(name, "-")
    ]
    there = {name for name, _, _ in _whole_members(text, at)}
    kept += [f"{json.dumps(name)}:{value}" for name, value in new.items() if value and name not in there]
    return "{" + ",".join(kept) + "}"


def _whole_members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """As `members`, but from the begin of the name."""
    begin = skip(text, at + 1)
    for name, _, end in members(text, at):
        yield name, begin, end
        begin = _next(text, end)


def members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end of the members of the object at a place."""
    at = skip(text, at + 1)
    while text[at] != "}":
        name, at = DECODER.raw_decode(text, at)
        start = skip(text, skip(text, at) + 1)
        end = DECODER.raw_decode(text, start)[1]
        yield name, start, end
        at = _next(text, end)


def items(text: str, at: int) -> Iterator[int]:
    """The begin of each value of the list at a place."""
    at = skip(text, at + 1)
    while text[at] != "]":
        yield at
        at = _next(text, DECODER.raw_decode(text, at)[1])


def _next(text: str, end: int) -> int:
    at = skip(text, end)
    return skip(text, at + 1) if text[at] == "," else at


def skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere
