"""Guess the settings of a channel for the other side: link, framing, format, character set, line settings, analyzer.

Each part has a degree of certainty and a reason. *Sure* needs evidence that damage or chance cannot make: a right
checksum, a whole block, records or segments without a stray line. A part that a recording does not show (a file of bare
records has no frames) is at most *likely*. Where nothing fits, or two things do, the part stays open.

A channel file to start from: the pack's where the analyzer is known, else one with the observed settings. Pure.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.config import registry
from engine.config.sources.source import kind_over, presets
from engine.diagnostics.lines.contents import settings_of
from engine.diagnostics.lines.look import Inspection, look
from engine.diagnostics.lines.marks import CHANGED_LINE_ENDS, OTHER_SUMS, Kind, Sum
from engine.diagnostics.lines.rows import Rows, rows_in
from engine.diagnostics.packs import Pack, recognise
from engine.mapping.trying.capture import CapturedBytes, Direction
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
        settings: of the channel, by what its messages say. rows: of cells, which a layout is to describe.
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
    settings: dict[str, str] = field(default_factory=dict)
    rows: Rows | None = None
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
    if made.pack is None and not made.format.value and not (seen.line.garbage or seen.other):
        _add_rows(made, [piece.data for piece in pieces if piece.way is not Direction.US])
    made.settings = settings_of(_parsed(seen))
    return made


def _add_rows(made: Guess, texts: Sequence[bytes]) -> None:
    made.rows = rows_in([b"".join(texts)])
    if made.rows is not None:
        why = f"rows of {len(made.rows.columns)} cells"
        made.link = Part("link", TEXT, Confidence.LIKELY, f"{why}; nothing marks the end of a text")
        made.format = Part("format", TEXT, Confidence.LIKELY, f"{why}, which a layout describes")


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


# MSH-9.1 -> the shipped mapping; of a kind that is not here, results are the likeliest thing to come.
MAPPINGS = {
    "ORU": "hl7-results",
    "OUL": "hl7-oul-results",
    "ORM": "hl7-orders",
    "OML": "hl7-orders",
    "ORR": "hl7-order-answers",
    "ORL": "hl7-order-answers",
    "ADT": "hl7-patients",
    "MDM": "hl7-documents",
}
FIRST_PORT = 5000  # by default
DEVICE = "/dev/serial/by-id/usb-NAME-OF-THE-ADAPTER"
WIDTH = 118
_LISTEN = re.compile(r'(?m)^  listen: "?(\S+):(\d+)')


def channel_text(
    made: Guess,
    *,
    name: str,
    place: tuple[str, str] | None,
    line: dict[str, str],
    destinations: Mapping[str, str],
    taken: Collection[int] = (),
) -> str:
    """The text of ``channels/NAME.yaml``.

    Args:
        place: ``("listen" | "connect" | "device", where)``; None if not given.
        line: settings of the serial line that the person gave, ``{"baud": "4800"}``.
        destinations: of the site, each with the kind of document that it takes; empty for any.
        taken: ports that its other channels listen on.
    """
    options = {**line, **made.options}
    if place is None and "parity" in options:
        place = ("device", DEVICE)
    port = next(port for port in range(FIRST_PORT, 65536) if port not in taken)
    text = _of_pack(made, place, options) if made.pack is not None else _plain(made, name, place, options, port)
    if place is None and (own := _LISTEN.search(text)) and int(own[2]) in taken:
        text = text[: own.start(2)] + str(port) + text[own.end(2) :]
    text = re.sub(r"(?m)^channel: .*$", lambda _: f"channel: {name}", text)
    return "".join(f"# {line}\n" for line in _why(made)) + _with_destinations(text, destinations)


def _why(made: Guess) -> Iterable[str]:
    yield "Written by labrelay detect. The evidence:"
    for part in made.parts:
        value = part.value or "open"
        yield from _wrapped(f"{part.name}: {value} ({part.sure.value}): {part.why}")


def _of_pack(made: Guess, place: tuple[str, str] | None, options: dict[str, str]) -> str:
    """The pack's channel with this address, and the differences from it."""
    assert made.pack is not None
    text = made.pack.template
    if place is not None:
        key, where = place
        text = re.sub(r"(?m)^  (?:listen|connect|device): .*$", lambda _: f'  {key}: "{where}"', text)
        text = re.sub(r"(?m)^  kind: (\S+)", lambda found: f"  kind: {kind_at(found[1], key)}", text)
    if "\n  kind:" in text:
        body = text.split("\n  kind:", 1)[1]
        added = "".join(f"\n  {key}: {value}" for key, value in options.items() if f"\n  {key}:" not in body)
        text = re.sub(r"(?m)^  (?:listen|connect|device): .*$", lambda found: found[0] + added, text, count=1)
    return text


def kind_at(kind: str, key: str) -> str:
    """The same kind of source, at a serial line (``key`` is ``device``) or on TCP."""
    return (kind_over(_transport(key), presets()[kind][1]) if kind in presets() else None) or kind


def _transport(key: str) -> str:
    return "serial" if key == "device" else "tcp"


def _plain(made: Guess, name: str, place: tuple[str, str] | None, options: dict[str, str], port: int) -> str:
    """A channel without a pack: its codes are the analyzer's own until a table names them."""
    key, where = place or ("listen", f"0.0.0.0:{port}")
    kind = kind_over(_transport(key), made.link.value) or kind_at("auto", key)
    lines = ["channel: analyzer", "description: a sender without a pack", "source:", f"  kind: {kind}"]
    lines.append(f'  {key}: "{where}"' + ("" if place else "    # set it to where the analyzer is"))
    lines += [f"  {option}: {value}" for option, value in options.items()]
    if made.charset.value and made.charset.sure is not Confidence.OPEN:
        charsets = list(dict.fromkeys([made.charset.value, "utf-8", "cp1252"]))
        if charsets[0] in ("utf-8", "cp1252"):
            charsets = ["utf-8", "cp1252"]
        lines.append(f"charset: [{', '.join(charsets)}]")
    lines += ["settings:", f"  local_system: urn:labrelay:codes:{name}    # of codes that are the sender's own"]
    lines += [f'  {setting}: "{value}"' for setting, value in made.settings.items()]
    lines += ["routes:", *_routes(made)]
    return "\n".join(lines) + "\n"


def _routes(made: Guess) -> Iterable[str]:
    if made.format.value in (ASTM, TEXT):
        yield "  - when: =R                         # it has results; a query or orders alone have none"
        yield "    mapping: astm-results"
        yield "    to: lab-fhir"
    elif made.format.value == "hl7v2":
        kinds = {message.type[:3] for message in made.seen.hl7}
        for kind in [kind for kind in MAPPINGS if kind in kinds] or ["ORU"]:
            yield f"  - when: =MSH-9.1 == '{kind}'"
            yield f"    mapping: {MAPPINGS[kind]}"
            yield "    to: lab-fhir"
    yield f"{_AS_IT_CAME}archive                      # whatever else it sends, as it came"


_AS_IT_CAME = "  - to: "


def _with_destinations(text: str, known: Mapping[str, str]) -> str:
    """Destinations that the site has, in place of those that it has not.

    The FHIR that a mapping makes goes to a server for it where there is one; documents without a mapping go only to
    destinations that take anything.
    """
    unmapped = [name for name, takes in known.items() if not takes]
    mapped = [name for name, takes in known.items() if takes == "fhir"] + unmapped

    def chosen(found: re.Match[str]) -> str:
        wanted = [one.strip() for one in found[2].strip("[]").split(",")]
        able = unmapped if found[1] == _AS_IT_CAME else mapped
        kept = [one for one in wanted if one in able] or list(able[:1]) or wanted
        return f"{found[1]}{kept[0] if len(kept) == 1 else '[' + ', '.join(kept) + ']'}"

    if not unmapped:
        text = re.sub(rf"(?m)^{_AS_IT_CAME}.*as it came\n", "", text)
    return re.sub(r"(?m)^((?:    |  - )to: )(\[[^\]]*\]|[^\s#]+)", chosen, text)


def _wrapped(text: str) -> Iterable[str]:
    words, line = text.split(), ""
    for word in words:
        if line and len(line) + len(word) > WIDTH - 4:
            yield line
            line = "  "
        line += (" " if line.strip() else "") + word
    yield line
