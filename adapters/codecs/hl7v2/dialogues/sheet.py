r"""A message of ours on its way to an analyzer: its delimiters and character set, texts escaped. Pure.

    sheet.text("5|6^A")  ->  5\F\6\S\A        sheet.field("12", "", "99ROC")  ->  12^^99ROC

A text that the character set cannot write is not said at all: another name is worse than none. Likewise a text with
control characters, the text ``""`` (which deletes a value in HL7), and a character whose bytes hold one of a delimiter
(GB 18030, Big5): an analyzer may split bytes. Source: HL7 v2.5.1 chapter 2, 2.5.4, 2.7 and 2.15.9.18.
"""

import re
from collections.abc import Iterable

from adapters.codecs.hl7v2.charset import codec_for
from adapters.codecs.hl7v2.text import escape
from engine.model.message import Delimiters, Parsed, Segment
from engine.model.orders import AnswerContext

UTF_8 = "UNICODE UTF-8"

_ENCODING = ("component", "repetition", "escape", "subcomponent")
_UNUSABLE = frozenset(' ."+-/*,:_')  # as delimiters: texts of our own have them
_UNSAYABLE = re.compile("[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff\ufeff]").search


class Sheet:
    """What a message to one analyzer is written with.

    Attributes:
        charset: MSH-18 as it is sent.
    """

    def __init__(self, delimiters: Delimiters, charset: str, codec: str) -> None:
        self.delimiters = delimiters
        self.charset = charset
        self._codec = codec
        self._signs = [delimiters.field, *(getattr(delimiters, name) for name in _ENCODING)]

    def says(self, text: str) -> bool:
        """Whether the text can be written, and is read back as it is."""
        if not text or text == '""' or _UNSAYABLE(text):
            return False
        if text.isascii():
            return True
        try:
            raw = text.encode(self._codec)
            back = raw.decode(self._codec)
        except UnicodeError:
            return False
        return back == text and all(raw.count(sign.encode()) == text.count(sign) for sign in self._signs)

    def text(self, text: str) -> str:
        """The text, escaped; empty where it cannot be written."""
        return escape(text, self.delimiters) if self.says(text) else ""

    def field(self, *components: str) -> str:
        """A field of components that are texts."""
        return self.delimiters.component.join(map(self.text, components)).rstrip(self.delimiters.component)

    def parted(self, *parts: str) -> str:
        """A component of subcomponents that are texts."""
        return self.delimiters.subcomponent.join(map(self.text, parts)).rstrip(self.delimiters.subcomponent)

    def open(self, *fields: str) -> str:
        """A segment with all of its fields, as written; trailing empty ones stay."""
        return self.delimiters.field.join(fields)

    def line(self, *fields: str) -> str:
        """A segment without trailing empty fields."""
        return self.open(*fields).rstrip(self.delimiters.field)

    def head(self, **fields: str) -> list[str]:
        """The fields of MSH from MSH-3 on, by number (``f3``): for `line` or `open`."""
        encoding = "".join(getattr(self.delimiters, name) for name in _ENCODING)
        numbers = {int(name[1:]): value for name, value in fields.items()}
        return ["MSH", encoding, *(numbers.get(number, "") for number in range(3, max(numbers) + 1))]

    def answering(self, theirs: Segment, context: AnswerContext, version: str, **fields: str) -> str:
        """The MSH of an answer, with the processing id, version and character set of the question's.

        Args:
            theirs: the MSH that is answered. ``version``: where it has none.
        """
        own = {"f7": context.now, "f10": self.text(context.control_id), "f18": theirs.get(18)}
        return self.line(*self.head(**own, f11=theirs.get(11) or "P", f12=theirs.get(12) or version, **fields))

    def message(self, lines: Iterable[str]) -> bytes:
        """The whole message; empty where the analyzer's own words cannot be repeated."""
        written = list(lines)
        if any("\n" in line or "\r" in line for line in written):
            return b""
        try:
            return "".join(f"{line}\r" for line in written).encode(self._codec)
        except UnicodeError:
            return b""


def sheet_for(parsed: Parsed) -> Sheet | None:
    """What the answer to a message is written with; None: its delimiters or UTF-16 allow no safe answer."""
    delimiters = parsed.delimiters
    signs = [delimiters.field, *(getattr(delimiters, name) for name in _ENCODING)]
    if not all(signs) or _UNUSABLE.intersection(signs) or parsed.charset.startswith(("utf-16", "utf-32", "utf_16")):
        return None
    declared = first(parsed, "MSH").get(18)
    plain = declared.strip().upper() == "ASCII" or parsed.charset.startswith("iso2022")
    return Sheet(delimiters, declared, "ascii" if plain else parsed.charset)


def sheet_of(context: AnswerContext, usual: str) -> Sheet | None:
    """What a message that no question asked for is written with; the setting ``charset`` is its MSH-18."""
    charset = dict(context.settings).get("charset", usual)
    codec = codec_for(charset)
    if codec is None or codec.startswith(("utf-16", "utf-32", "iso2022")):
        return None
    return Sheet(Delimiters(), charset, codec or "ascii")


def first(parsed: Parsed, name: str) -> Segment:
    """The first segment of that name; an empty one where there is none."""
    return next(iter(every(parsed, name)), Segment(name, [name], 0, 0))


def every(parsed: Parsed, name: str) -> list[Segment]:
    return [segment for segment in parsed.segments if segment.name == name]
