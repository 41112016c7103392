"""Inside an HL7 v2 field: repetitions, components, subcomponents, escape sequences. Pure.

Source: HL7 v2.5 chapter 2, 2.7 (escape sequences) and 2.5.4 (delimiters). A value is split first and unescaped last,
in one pass, never twice; MSH-2 is never unescaped. Nothing here raises: unreadable text stays as it is.
"""

import re
from functools import lru_cache

from engine.model.message import Delimiters

LINE_BREAK = ".br"  # FT and TX; in ST the hexadecimal forms are used
MAX_BLANKS = 250  # of one \.sk\ or \.sp\: a number from the wire must not decide how much memory we take

# An escape character that begins none of these is itself: senders write C:\temp without escaping it. So an unknown
# sequence stays verbatim, and the text after it is still read.
_SEQUENCE = (
    r"(?P<letter>[FSTREPHN])"
    r"|X(?P<hex>(?:[0-9A-Fa-f]{2})+)"
    r"|\.(?P<command>br|sp|in|ti|sk|ce|fi|nf|BR|SP|IN|TI|SK|CE|FI|NF) {0,3}(?P<sign>[+-]?) {0,3}(?P<count>[0-9]{0,9})"
    r"|(?P<kept>C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4,6}|Z[^\r\n]*?)"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def repetitions(field: str, delimiters: Delimiters) -> list[str]:
    """The repetitions of a raw field, at least one."""
    return field.split(delimiters.repetition) if delimiters.repetition else [field]


def components(repetition: str, delimiters: Delimiters) -> list[str]:
    """The components of one repetition, at least one."""
    return repetition.split(delimiters.component) if delimiters.component else [repetition]


def subcomponents(component: str, delimiters: Delimiters) -> list[str]:
    """The subcomponents of one component, at least one."""
    return component.split(delimiters.subcomponent) if delimiters.subcomponent else [component]


def unescape(text: str, delimiters: Delimiters, charset: str = "utf-8", notes: list[str] | None = None) -> str:
    r"""The value of an escaped text.

    Args:
        charset: Python codec of the message, for ``\Xdd\``.
        notes: receives, once a text, ``unknown escape`` where an escape character was left as it was, and
            ``control character`` where one was replaced by U+FFFD.
    """
    mark = delimiters.escape
    if not mark or mark not in text:
        return text
    left = 0

    def value(found: re.Match[str]) -> str:
        nonlocal left
        letter = found["letter"]
        if letter:
            return letters[letter]
        if found["hex"]:
            decoded = _hexadecimal(found["hex"], charset)
            if decoded is None:
                left += 2
                return found[0]
            return decoded
        if found["command"]:
            return _formatting(found["command"].lower(), found["sign"], found["count"])
        left += 2 if found["kept"][0] == "Z" else 0
        return found[0]

    separators = delimiters.field, delimiters.component, delimiters.subcomponent, delimiters.repetition
    letters = dict(zip("FSTREPHN", (*separators, mark, "#", "", ""), strict=True))
    result, sequences = _pattern(mark).subn(value, text)
    if notes is not None and text.count(mark) - 2 * sequences + left:
        notes.append("unknown escape")
    if "\x1b" in result or _CONTROL.search(result):
        result = _CONTROL.sub("\ufffd", result)
        if notes is not None:
            notes.append("control character")
    return result


def has_unread_escape(text: str, delimiters: Delimiters, charset: str) -> bool:
    r"""Whether a sequence ``\Xdd\`` is no text in the character set: it stays as it is."""
    mark = delimiters.escape
    if not mark or text.find(mark, len("MSH|^~\\&")) < 0 or f"{mark}X" not in text:
        return False
    digits = (sequence["hex"] for sequence in _pattern(mark).finditer(text))
    return any(each and _hexadecimal(each, charset) is None for each in digits)


def escape(text: str, delimiters: Delimiters, *, line_break: str = LINE_BREAK) -> str:
    r"""Text as written in a field: delimiters escaped, line ends as ``\.br\``.

    Args:
        line_break: the sequence for a line end, without escape characters; ``X0A`` for ST.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.translate(_escapes(delimiters, line_break))


@lru_cache(maxsize=16)
def _pattern(mark: str) -> re.Pattern[str]:
    mark = re.escape(mark)
    return re.compile(f"{mark}(?:{_SEQUENCE}){mark}")


@lru_cache(maxsize=16)
def _escapes(delimiters: Delimiters, line_break: str) -> dict[int, str]:
    mark = delimiters.escape
    letters = (
        (delimiters.field, "F"),
        (delimiters.component, "S"),
        (delimiters.subcomponent, "T"),
        (delimiters.repetition, "R"),
        (mark, "E"),
        ("\n", line_break),
    )
    # A message without an escape character cannot carry a delimiter in a value: a blank replaces it.
    return {ord(char): f"{mark}{letter}{mark}" if mark else " " for char, letter in letters if char}


def _hexadecimal(digits: str, charset: str) -> str | None:
    raw = bytes.fromhex(digits)
    try:
        text = raw.decode("ascii" if raw.isascii() else charset)
    except (UnicodeError, LookupError):
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _formatting(command: str, sign: str, count: str) -> str:
    """FT formatting commands: line ends and skipped blanks matter, indents and fill modes do not."""
    if command in ("br", "ce"):
        return "\n"
    if command not in ("sp", "sk") or sign == "-":
        return ""
    number = min(int(count), MAX_BLANKS) if count else 1
    return ("\n" if command == "sp" else " ") * number
