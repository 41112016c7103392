"""Guess the settings of a channel for the other side: link, framing, format, character set, line settings, analyzer.

Each part has a degree of certainty and a reason. *Sure* needs evidence that damage or chance cannot make: a right
checksum, a whole block, records or segments without a stray line. A part that a recording does not show (a file of bare
records has no frames) is at most *likely*. Where nothing fits, or two things do, the part stays open.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.config import registry
from engine.diagnostics.lines.look import Inspection, look
from engine.diagnostics.lines.marks import CHANGED_LINE_ENDS, OTHER_SUMS, Kind, Sum
from engine.diagnostics.packs import Pack, recognise
from engine.mapping.trying.capture import CapturedBytes
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Parsed

MESSAGES = 50  # that are asked which analyzer they are of
OPTIONS = FormatOptions(charsets=("utf-8", "cp1252", "latin-1"))
ASTM, HL7, TEXT = "astm", "hl7v2", "text"

_SEGMENT = re.compile(rb"[\x00 \t]*[A-Z][A-Z0-9]{2}(?:[^\w\s]|\Z)")
_LINES = re.compile(rb"[^\r\n\x1c]+")
_TRAILING_PAIRS = re.compile(rb"(?:[\x81-\xfe][\x30-\x39\x40-\xfe])+")
_ODD_CONTROLS = re.compile(rb"[\x01-\x08\x0e-\x1b\x1f\x7f]")
# MSH-18 as it is written -> the name in channel files.
_DECLARED = {
    "ASCII": "ascii",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "8859/1": "latin-1",
    "8859/5": "iso8859-5",
    "8859/15": "iso8859-15",
    "GB 18030-2000": "gb18030",
}


class Confidence(StrEnum):
    SURE = "sure"
    LIKELY = "likely"
    OPEN = "not sure"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a channel must say.

    Attributes:
        value: as the channel file writes it; empty where it stays open.
    """

    name: str
    value: str
    sure: Confidence
    why: str


@dataclass(slots=True)
class Guess:
    """All parts, and their evidence.

    Attributes:
        options: keys of ``source:`` that differ from the defaults of the kind.
        pack: the analyzer, where exactly one pack recognises what came.
    """

    seen: Inspection
    link: Part
    framing: Part
    format: Part
    charset: Part
    analyzer: Part
    line: Part | None = None
    options: dict[str, str] = field(default_factory=dict)
    pack: Pack | None = None

    @property
    def parts(self) -> list[Part]:
        given = (self.line, self.link, self.framing, self.format, self.charset, self.analyzer)
        return [part for part in given if part is not None and part.name]

    @property
    def is_enough(self) -> bool:
        """Whether a channel file can be started from it."""
        return bool(self.link.value and self.format.value)


NOTHING = Part("", "", Confidence.OPEN, "")


def guess(pieces: Sequence[CapturedBytes], packs: Sequence[Pack], *, live: bool = False) -> Guess:
    """Guess the other side's settings from ``pieces``, all from one line.

    Args:
        packs: the analyzers that are known.
        live: they were recorded on a line from its first byte on, so missing bytes were never sent.
    """
    seen = look(pieces)
    sound = _sound(seen)
    made = Guess(seen, *_framed(seen, sound, live=live), charset=_charset(seen, sound), analyzer=NOTHING)
    if seen.line.parity:
        value = f"bytesize 7, parity {seen.line.parity}"
        made.line = Part("line", value, Confidence.SURE, f"{seen.size} bytes, each with its parity bit on top")
        made.options |= {"bytesize": "7", "parity": seen.line.parity}
    elif seen.line.garbage:
        made.line = Part("line", "", Confidence.OPEN, str(seen.remarks[0]))
    _add_options(made, live=live)
    if not seen.line.garbage and not seen.other:
        made.analyzer, made.pack = _analyzer(seen, packs, sound)
        if made.pack is not None and not made.format.value:
            made.format = Part("format", TEXT, made.analyzer.sure, "the text is that of this analyzer")
            if not made.link.value:
                made.link = Part("link", TEXT, Confidence.LIKELY, "as the analyzer's pack has it")
    return made


def _sound(seen: Inspection) -> bool:
    """Whether what came shows no damage: sums are right, or every line is a record or segment."""
    if seen.frames:
        return all(frame.sum is Sum.RIGHT or frame.sum in CHANGED_LINE_ENDS for frame in seen.frames)
    if _ODD_CONTROLS.search(seen.content):
        return False
    if seen.hl7:
        return all(_SEGMENT.match(line) for line in _LINES.findall(seen.content) if line.strip(b"\x00 \t\x0b"))
    return bool(seen.astm.headers) and not seen.astm.odd_lines


def _framed(seen: Inspection, sound: bool, *, live: bool) -> tuple[Part, Part, Part]:
    """Link, framing, format."""
    if seen.line.garbage or seen.other or not seen.size:
        why = str(seen.remarks[0]) if seen.remarks else "nothing came"
        return Part("link", "", Confidence.OPEN, why), NOTHING, Part("format", "", Confidence.OPEN, why)
    form = _format(seen, sound)
    if seen.frames:
        return (*_e1381(seen, sound, live=live), form)
    if seen.blocks:
        sure = Confidence.SURE if seen.hl7 and sound else Confidence.LIKELY
        return Part("link", "mllp", sure, "VT before and FS behind"), NOTHING, form
    if seen.packets:
        why = "text between STX and ETX without number and checksum"
        return Part("link", TEXT, Confidence.LIKELY, why), NOTHING, form
    if seen.counts[Kind.ENQ] and set(seen.counts) <= {Kind.ENQ, Kind.EOT}:
        why = "ENQ alone: it asks to send and waits for ACK"
        framing = Part("framing", "e1381", Confidence.LIKELY, why)
        return (
            Part("link", "e1381", Confidence.LIKELY, why),
            framing,
            Part("format", "", Confidence.OPEN, "no frame came"),
        )
    return (*_bare(seen, live=live), form)


def _e1381(seen: Inspection, sound: bool, *, live: bool) -> tuple[Part, Part]:
    right = sum(frame.sum is Sum.RIGHT or frame.sum in CHANGED_LINE_ENDS for frame in seen.frames)
    why = f"{right} of {len(seen.frames)} frames with a right checksum"
    link = Part("link", "e1381", Confidence.SURE if right else Confidence.LIKELY, why)
    if seen.counts[Kind.ENQ]:
        return link, Part("framing", "e1381", Confidence.SURE if sound else Confidence.LIKELY, "ENQ before the frames")
    if live:
        return link, Part("framing", "enq-less", Confidence.LIKELY, "no ENQ came before the frames")
    return link, Part("framing", "e1381", Confidence.LIKELY, "no ENQ in this recording, which may just lack it")


def _bare(seen: Inspection, *, live: bool) -> tuple[Part, Part]:
    if seen.hl7:
        how = "as it came, without VT and FS" if live else "this file holds messages, not how they are framed"
        return Part("link", "mllp", Confidence.LIKELY, how), NOTHING
    if seen.astm.headers:
        how = "as it came, without frames" if live else "this file holds records, not how they are framed"
        framing = Part("framing", "none" if live else "e1381", Confidence.LIKELY, how)
        return Part("link", "e1381", Confidence.LIKELY, how), framing
    return Part("link", "", Confidence.OPEN, "no frame, no block, no header"), NOTHING


def _format(seen: Inspection, sound: bool) -> Part:
    sure = Confidence.SURE if sound else Confidence.LIKELY
    if seen.hl7:
        kinds = sorted({one.type for one in seen.hl7 if one.type})
        return Part("format", HL7, sure, f"MSH: {', '.join(kinds)}" if kinds else "MSH")
    if seen.astm.headers:
        return Part("format", ASTM, sure, f"H record, {len(seen.astm.types)} records")
    why = "neither H records nor MSH segments"
    return Part("format", "", Confidence.OPEN, why)


def _charset(seen: Inspection, sound: bool) -> Part:
    content = seen.content
    if seen.line.garbage or seen.other or not content:
        return NOTHING
    declared = {_DECLARED.get(one.charset.upper(), "") for one in seen.hl7 if one.charset} - {""}
    if not any(byte >= 0x80 for byte in content):
        return Part("charset", "utf-8", Confidence.LIKELY, "only ASCII so far, which is the same in every set")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return Part(
            "charset", "utf-8", Confidence.SURE if sound else Confidence.LIKELY, "letters beyond ASCII are valid UTF-8"
        )
    if len(declared) == 1:
        return Part("charset", next(iter(declared)), Confidence.LIKELY, "declared in MSH-18")
    pairs = sum(len(run) for run in _TRAILING_PAIRS.findall(content) if len(run) >= 4)
    if pairs * 2 > sum(byte >= 0x80 for byte in content):
        return Part(
            "charset",
            "",
            Confidence.OPEN,
            "8-bit letters in long runs: Cyrillic, Greek, Chinese ...; ask what it is set to",
        )
    return Part("charset", "cp1252", Confidence.LIKELY, "single 8-bit letters that are no UTF-8: Western European")


def _add_options(made: Guess, *, live: bool) -> None:
    seen, options = made.seen, made.options
    if made.framing.value not in ("", "e1381"):
        options["framing"] = made.framing.value
    if seen.frames:
        other = sum(seen.sums[kind] for kind in (*OTHER_SUMS, Sum.MISSING))
        if other >= 2 and other * 2 > len(seen.frames):
            options["checksum"] = "ignore"
        if seen.zero_based:
            options["frame_numbers"] = "ignore"
        elif seen.misnumbered:
            options["frame_numbers"] = "warn"
        if seen.without_cr:
            options["record_end"] = "etx"
    if seen.astm.headers and seen.astm.unfinished == seen.astm.headers and seen.counts[Kind.EOT]:
        options["end"] = "eot"
    if live and seen.bare and seen.hl7:
        options |= {"start_without_vt": "true", "end_by_idle": "2s"}


# -- which analyzer ------------------------------------------------------------------------------------------------


def _analyzer(seen: Inspection, packs: Sequence[Pack], sound: bool) -> tuple[Part, Pack | None]:
    votes: Counter[str] = Counter()
    why: dict[str, str] = {}
    known: dict[str, Pack] = {}
    asked: list[Parsed | bytes] = list(_parsed(seen)) or [seen.content]
    for one in asked:
        for pack, sign in recognise(one, packs):
            votes[pack.name] += 1
            why[pack.name], known[pack.name] = sign, pack
    if len(votes) > 1:
        listed = ", ".join(sorted(votes))
        return Part(
            "analyzer", "", Confidence.OPEN, f"several packs recognise it ({listed}): give one of them yourself"
        ), None
    if not votes:
        return Part("analyzer", "", Confidence.OPEN, "no pack recognises it (labrelay analyzers lists them)"), None
    ((name, count),) = votes.items()
    by_all = count == len(asked)
    raw = isinstance(asked[0], bytes)
    sure = Confidence.SURE if by_all and (sound or raw) else Confidence.LIKELY
    some = "" if by_all else f" (in {count} of {len(asked)} messages)"
    return Part("analyzer", name, sure, why[name] + some), known[name]


def _parsed(seen: Inspection) -> list[Parsed]:
    """The messages, as far as they can be read."""
    if not seen.hl7 and not seen.astm.headers:
        return []
    codec: Any = registry.load(registry.FORMATS, HL7 if seen.hl7 else ASTM)
    texts = [mark.content for mark in seen.blocks] if seen.hl7 and seen.blocks else [_from_header(seen)]
    found: list[Parsed] = []
    for message in [part for text in texts for part in codec.split(text)][:MESSAGES]:
        try:
            found.append(codec.parse(message, OPTIONS))
        except ContentError:
            continue
    return found


def _from_header(seen: Inspection) -> bytes:
    """The content from its first header on: text before it is comments, or another sender's noise."""
    start = re.search(rb"(?:\A|[\r\n])[\x00 \t]*(?=MSH[^\w\s]|[Hh][^\w\s]{3})", seen.content)
    return seen.content[start.end() :].replace(b"\x1c", b"") if start else seen.content
