"""A channel file to start from: the pack's where the analyzer is known, else one with the observed settings. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping

from engine.config.sources.source import kind_over, presets
from engine.diagnostics.lines.guess import ASTM, Confidence, Guess

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
    lines += ["routes:", *_routes(made)]
    return "\n".join(lines) + "\n"


def _routes(made: Guess) -> Iterable[str]:
    if made.format.value == ASTM:
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
