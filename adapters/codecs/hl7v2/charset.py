"""Which characters the bytes of an HL7 v2 message mean (MSH-18, HL7 table 0211; v2.5 chapter 2, 2.15.9.18). Pure.

The MSH segment is read as ASCII up to MSH-18, so a message in UTF-16 or UTF-32 is known by its byte order mark or by
the zero bytes of ``MSH``. Decoding is strict: bytes that do not decode are a `ContentError`, never replaced and never
ignored, because a wrong letter in a name is worse than a message that waits for a person.
"""

from engine.model.errors import ContentError
from engine.model.message import Issue
from engine.model.tables import table_lines
from engine.model.texts.reasons import ReasonCode

UNDECLARED = ""  # MSH-18 says nothing: the channel's list decides

_WIDE_STARTS = (  # longest first: the UTF-16 mark is the beginning of the UTF-32 one
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)

_NAMED = (line.split("|") for line in table_lines(__file__, "charsets.txt"))
_CODECS = {name: None if codec == "-" else codec for name, codec in _NAMED}


def wide_codec(payload: bytes) -> str:
    """The UTF-16 or UTF-32 codec that ``payload`` begins with, else empty. The mark is not removed."""
    for mark, codec in _WIDE_STARTS:
        if payload.startswith(mark):
            return codec
    return _WIDE_ZEROS.get(bytes(payload[:4]).translate(_ZERO_OR_NOT), "")


# The first letter is one of ASCII: the places of the zero bytes show width and byte order.
_ZERO_OR_NOT = b"0" + b"x" * 255
_WIDE_ZEROS = {b"x000": "utf-32-le", b"000x": "utf-32-be", b"x0x0": "utf-16-le", b"0x0x": "utf-16-be"}


def codec_for(declared: str) -> str | None:
    """The Python codec for an MSH-18 value; empty where it leaves the choice to the channel, None if unknown."""
    name = " ".join(declared.upper().split())
    return _CODECS.get(name) if name not in ("", '""') else UNDECLARED


def declared_set(field: str, repetition: str, payload: bytes) -> str:
    """The repetition of MSH-18 that decides: the first, but behind ASCII that of ISO 2022 (JAHIS: ``~ISO IR87``), where
    escapes lead to it and back, and each byte has 7 bits."""
    if not repetition or repetition not in field:
        return field
    sets = field.split(repetition)
    if codec_for(sets[0]) in (UNDECLARED, "ascii") and b"\x1b" in payload and payload.isascii():
        return next((one for one in sets[1:] if (codec_for(one) or "").startswith("iso2022")), sets[0])
    return sets[0]


def decode(payload: bytes, declared: str, charsets: tuple[str, ...]) -> tuple[str, str, list[Issue]]:
    """Decode a whole message.

    Args:
        declared: MSH-18, the repetition that decides (`declared_set`).
        charsets: Python codecs to try, in order, where the message declares none.

    Returns:
        The text without byte order mark, the codec that decoded it, and warnings.

    Raises:
        ContentError: UNKNOWN_CHARSET.
    """
    wide = wide_codec(payload)
    codec = codec_for(declared)
    if wide:
        warnings = [] if codec in (UNDECLARED, wide[:6]) else [_contradiction(wide)]
        return _strict(payload, wide).removeprefix("\ufeff"), wide, warnings
    if codec == UNDECLARED:
        return _first_of(payload, charsets)
    if codec is None:
        raise ContentError(ReasonCode.UNKNOWN_CHARSET, "the declared character set is not supported", place="MSH-18")
    warnings = []
    if codec in ("utf-16", "utf-32"):
        # The MSH segment is plainly not UTF-16. Analyzers declare UNICODE and send UTF-8.
        if declared.strip().upper() != "UNICODE":
            warnings.append(_contradiction("utf-8"))
        codec = "utf-8"
    return _strict(payload, codec).removeprefix("\ufeff"), codec, warnings


def _first_of(payload: bytes, charsets: tuple[str, ...]) -> tuple[str, str, list[Issue]]:
    for number, codec in enumerate(charsets):
        try:
            text = payload.decode(codec)
        except UnicodeError:
            continue
        except LookupError as error:
            raise ContentError(ReasonCode.UNKNOWN_CHARSET, "the channel's charset is not a codec") from error
        warnings = [Issue(code="CHARSET_FALLBACK", text=f"read as {codec}", place="MSH-18")] if number else []
        return text.removeprefix("\ufeff"), codec, warnings
    raise ContentError(
        ReasonCode.UNKNOWN_CHARSET, f"none declared, and the bytes are not {' or '.join(charsets)}", place="MSH-18"
    )


def _strict(payload: bytes, codec: str) -> str:
    try:
        return payload.decode(codec)
    except UnicodeDecodeError as error:
        raise ContentError(
            ReasonCode.UNKNOWN_CHARSET, f"byte {error.start} is not {codec}, which was declared", place="MSH-18"
        ) from None


def _contradiction(codec: str) -> Issue:
    return Issue(code="CHARSET_CONTRADICTED", text=f"the bytes are {codec}, MSH-18 says otherwise", place="MSH-18")
