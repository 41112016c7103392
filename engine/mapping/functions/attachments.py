"""Documents, images and raw data inside messages: ED (embedded) and RP (by address) to Attachment.

Size and hash are computed. The kind of an enclosure follows from its type and subtype (HL7 tables 0191 and 0291). Where
these say only that it is data, its first bytes decide: makers send a bitmap as `Application^Octer-stream`.

    document    PDF, text, a word processor's     the report as it was issued
    image       BMP, PNG, JPEG ..., sound, film   a histogram, a scattergram, a photograph
    data        everything else                   a histogram as numbers
"""

import base64
import binascii
import hashlib
import re
from typing import Any

from engine.mapping.functions.registry import function
from engine.mapping.functions.systems import TERMINOLOGY
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment
from engine.model.texts.reasons import ReasonCode

Json = dict[str, Any]

_TYPES = {"AP": "application", "APPLICATION": "application", "IM": "image", "IMAGE": "image", "TEXT": "text"}
_TYPES |= {"AU": "audio", "AUDIO": "audio", "VIDEO": "video", "MULTIPART": "multipart", "FT": "text", "TX": "text"}
_SUBTYPES = {"JPG": "jpeg", "TIF": "tiff", "TXT": "plain", "TEXT": "plain"}
_SUBTYPES |= {"OCTER-STREAM": "octet-stream"}  # as Mindray spells it
_TOKEN = re.compile(r"[a-z0-9][a-z0-9.+_-]*", re.ASCII)
_NO_TYPE = (None, "", "application/octet-stream")
_STARTS = {  # what files of a kind begin with
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
_SHORTEST_DATA = 12  # letters of base64: a shorter text may be a word
_PICTURE_NAMES = {".bmp": "image/bmp", ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif"}
_SHORTEST_BITMAP = 26  # bytes of its two headers; two letters alone would say too little
_DOCUMENTS = re.compile(
    r"text/.+|application/(?:pdf|rtf|msword|xml|xhtml\+xml|hl7-cda(?:\+xml)?|vnd\.(?:ms-|openxmlformats|oasis).+)"
    r"|multipart/.+",
    re.ASCII,
)
_VALUES = frozenset({"NM", "SN", "ST", "TX", "FT", "CE", "CWE", "CNE", "IS", "DT", "TM", "TS", "DTM", "NR"})
_WITHDRAWN = frozenset({"D", "W"})  # table 0085: deletes the OBX, post original as wrong
_LONGEST_NAME = 40  # a name of what an M record holds; more is what it holds
_PICTURES = ("image/", "video/", "audio/")


def _content_type(kind: str | None, subtype: str | None) -> str | None:
    if kind and "/" in kind:
        return kind.lower()
    main = _TYPES.get((kind or "").upper())
    if subtype:
        small = _SUBTYPES.get(subtype.upper(), subtype.lower())
        if not _TOKEN.fullmatch(small):
            return None
        if main is None:
            main = "image" if small in ("jpeg", "png", "gif", "bmp", "tiff") else "application"
        return f"{main}/{small}"
    return None if main is None else "text/plain" if main == "text" else "application/octet-stream"


def _type_of_bytes(data: bytes) -> str | None:
    """The type that the first bytes of a file show."""
    for start, content_type in _STARTS.items():
        if data.startswith(start):
            return content_type if start != b"BM" or _is_bitmap(data) else None
    return None


def _is_bitmap(data: bytes) -> bool:
    """Whether the length in a bitmap's header is its length."""
    return len(data) >= _SHORTEST_BITMAP and int.from_bytes(data[2:6], "little") == len(data)


@function("attachment(value: field) -> Attachment")
def attachment(run: MessageContext, raw: str) -> Json | None:
    """An ED as Attachment: its type, the data as base64, size and SHA-1 hash. Data that do not decode are left out."""
    parts = raw.split(run.C, 4)
    if len(parts) < 5:
        return _bare(run, parts)
    kind, subtype, encoding = (run.text(part) for part in parts[1:4])
    data = _decode(run, parts[4], (encoding or "").lower())
    if data is None:
        run.bad_value("embedded data that cannot be decoded; left out")
        return None
    content_type = _content_type(kind, subtype)
    if content_type in _NO_TYPE:
        content_type = _type_of_bytes(data) or content_type
    # FHIR asks for SHA-1 here; it detects damage, it protects nothing.
    return _attached(content_type, data) if data else None


def _bare(run: MessageContext, parts: list[str]) -> Json | None:
    """An ED that has its data in component 1, and nothing else."""
    content = _bare_data(run, parts)
    if not content:
        run.bad_value("an enclosure (ED) without its type, coding and data; left out")
        return None
    run.warn("BARE_DATA", "component 1 of an ED has data without their type and coding; they were read as base64")
    return _attached(_type_of_bytes(content), content)


def _bare_data(run: MessageContext, parts: list[str]) -> bytes | None:
    if len(parts[0]) < _SHORTEST_DATA or " " in parts[0] or any(map(run.present, parts[1:])):
        return None
    return _decode(run, parts[0], "base64")


def _type_of_name(run: MessageContext, segment: Segment) -> str | None:
    """The type that the name of a file in OBX-3 or OBX-4 has at its end (``RBC Scattergram.BMP``)."""
    names = [*segment.get(3).split(run.C), segment.get(4)]
    return next((_PICTURE_NAMES[end] for one in names if (end := one.strip().lower()[-4:]) in _PICTURE_NAMES), None)


def _decode(run: MessageContext, raw: str, encoding: str) -> bytes | None:
    if run.X in raw and encoding in ("base64", "hex"):  # lines that a sender divided it into
        raw = run.whole(raw) or ""
    try:
        if encoding == "base64":
            return base64.b64decode("".join(raw.split()), validate=True)
        if encoding == "hex":
            return bytes.fromhex("".join(raw.split()))
    except (binascii.Error, ValueError):
        return None
    text = run.whole(raw)
    return text.encode() if text else None


@function("pointer(value: field) -> Attachment")
def pointer(run: MessageContext, raw: str) -> Json | None:
    """An RP as Attachment by address: pointer joined to its application where that is a base address, and its type."""
    texts = [run.text(part) for part in raw.split(run.C)[:4]] + [None] * 3
    url = texts[0]
    if url is None:
        return None
    base = texts[1]
    if base and "://" in base and "://" not in url:
        url = f"{base.rstrip('/')}/{url.lstrip('/')}"
    if any(sign.isspace() for sign in url):
        run.bad_value("an address with blanks; left out")
        return None
    made: Json = {}
    if content_type := _content_type(texts[2], texts[3]):
        made["contentType"] = content_type
    made["url"] = url
    return made


def _value_type(run: MessageContext, segment: Segment) -> str:
    """OBX-2 as rules read it."""
    kind = segment.get(2)
    return kind if kind.isalpha() else run.text(kind) or ""


def _read(run: MessageContext, segment: Segment, kind: str) -> list[Json]:
    """The enclosures of one OBX, a repetition each; counted as one `attached`, or `dropped` where none can be read."""
    make = attachment if kind == "ED" else pointer
    raw = run.get(segment, 5)
    parts = run.repetitions(raw) or []
    if kind == "ED" and any(part.count(run.C) < 4 for part in parts):
        parts = [raw]  # a text in which the sender did not escape the delimiter
    found = [made for part in parts if (made := make(run, part)) is not None]
    run.attach(segment, bool(found))
    return found


@function("attachments(observations: segment[]) -> Attachment[]")
def attachments(run: MessageContext, observations: list[Segment]) -> list[Json] | None:
    """The enclosures among OBX segments, of any kind: those whose value type (OBX-2) is ED or RP.

    They are counted as `attached`, and as `dropped` where they cannot be read.
    """
    made = []
    for segment in observations:
        kind = _value_type(run, segment)
        if kind in ("ED", "RP"):
            made += _read(run, segment, kind)
    return made or None


@function("encloses(observations: segment[]) -> flag!")
def encloses(run: MessageContext, observations: list[Segment]) -> bool:
    """Whether an enclosure (OBX-2 is ED or RP) is among OBX segments."""
    others = (one for one in observations if one.get(2) not in _VALUES)  # nearly all are values
    return any(_value_type(run, one) in ("ED", "RP") for one in others)


@function("enclosed_as(observation: segment) -> text")
def enclosed_as(run: MessageContext, segment: Segment) -> str | None:
    """The kind of enclosure in an OBX of type ED or RP: `document` (PDF, text, word processing; also unreadable
    content, and an address without a type), `picture` (image, sound, film) or `data`. Absent for other types.
    """
    kind = _value_type(run, segment)
    return _kind_of(run, segment, kind) if kind in ("ED", "RP") else None


@function("documents(observations: segment[]) -> Attachment[]")
def documents(run: MessageContext, observations: list[Segment]) -> list[Json] | None:
    """The documents among OBX segments, for `DiagnosticReport.presentedForm`: as `attachments`, without pictures and
    data (`enclosed_as`), for which other rules speak. One that is withdrawn (OBX-11 is D or W: deleted, wrong) is left
    out and counted as `dropped`, with a warning: in `presentedForm` nothing would say so."""
    made = []
    for segment in observations:
        kind = _value_type(run, segment)
        if kind not in ("ED", "RP") or _kind_of(run, segment, kind) != "document":
            continue
        if (run.text(run.get(segment, 11)) or "").upper() in _WITHDRAWN:
            run.attach(segment, False)
            run.warn("WITHDRAWN", "a document that is deleted or wrong (OBX-11); it is not part of the report")
            continue
        made += _read(run, segment, kind)
    return made or None


def _kind_of(run: MessageContext, segment: Segment, kind: str) -> str:
    parts = segment.get(5).partition(run.R)[0].split(run.C, 4)
    if kind == "RP":
        content_type = _content_type(run.part_text(parts, 2), run.part_text(parts, 3)) or "text/html"
    elif len(parts) < 5:
        bare = _bare_data(run, parts)
        if bare is None:
            return "document"
        content_type = _type_of_bytes(bare) or _type_of_name(run, segment) or ""
    else:
        content_type = _content_type(run.text(parts[1]), run.text(parts[2])) or ""
        if content_type in _NO_TYPE:
            data = _decode(run, parts[4], (run.text(parts[3]) or "").lower())
            if data is None:
                return "document"
            content_type = _type_of_bytes(data) or ""
    if content_type.startswith(_PICTURES):
        return "picture"
    return "document" if _DOCUMENTS.fullmatch(content_type) else "data"


@function("enclosure(observation: segment) -> Attachment")
def enclosure(run: MessageContext, segment: Segment) -> Json | None:
    """The enclosure of an OBX of type ED or RP, with its name (OBX-3) as title. Counted as `attached`, and as `dropped`
    where it cannot be read. Of several repetitions the first is used, with a warning.
    """
    found = _read(run, segment, _value_type(run, segment))
    if not found:
        return None
    parts = segment.get(3).split(run.C)
    title = run.part_text(parts, 1) or run.text(parts[0]) or run.text(segment.get(4))
    first: Json = run.only(found, f"{segment.name}-5")
    if "contentType" not in first and (named := _type_of_name(run, segment)):
        first = {"contentType": named, **first}
    return {**first, "title": title} if title else first


@function("media_type(content: Attachment) -> CodeableConcept", pure=True)
def media_type(content: Json) -> Json | None:
    """Image, video or audio as Media.type says it."""
    kind = str(content.get("contentType", "")).partition("/")[0]
    if kind not in ("image", "video", "audio"):
        return None
    return {"coding": [{"system": TERMINOLOGY + "media-type", "code": kind, "display": kind.capitalize()}]}


@function("presentable(document: Attachment) -> Attachment", pure=True)
def presentable(document: Json) -> Json | None:
    """An Attachment that people can look at, for `DiagnosticReport.presentedForm`: a document, a scan of one (image),
    an address. Absent for data (`enclosed_as`), which are no form of a report."""
    content_type = str(document.get("contentType", "")).partition(";")[0]
    seen = content_type.startswith(_PICTURES) or _DOCUMENTS.fullmatch(content_type)
    return document if seen or (not content_type and "url" in document) else None


@function("report_media(pictures: Reference[]) -> DiagnosticReport.media[]", pure=True)
def report_media(pictures: list[Json]) -> list[Json]:
    """References to Media as DiagnosticReport.media."""
    return [{"link": one} for one in pictures]


@function("text_document(observations: segment[]) -> Attachment")
def text_document(run: MessageContext, observations: list[Segment]) -> Json | None:
    """The lines of a document in words: all OBX segments whose value type (OBX-2) is TX, FT or ST, as one plain text.

    They are counted as `attached`, and as `dropped` where there is not one line in them.
    """
    found = [one for one in observations if _value_type(run, one) in ("TX", "FT", "ST")]
    lines: list[str] = []
    for segment in found:
        lines += [run.whole(part) or "" for part in run.get(segment, 5).split(run.R)]
    data = "\n".join(lines).strip("\n").encode()
    for segment in found:
        run.attach(segment, bool(data))
    return None if not data else _attached("text/plain; charset=utf-8", data)


@function("astm_streams(record: segment) -> DocumentReference.content[]")
def astm_streams(run: MessageContext, record: Segment) -> list[Json] | None:
    """The encoded data in an M record, field by field, as Horiba sends histograms and matrices:

        M|1|HISTOGRAM|RBC/PLT|RbcAlongRes|FLOATLE-stream/deflate:base64^Y2AA...|FLOATLE-stream/deflate:base64^zdV/...

    They stay as they are coded, with the name of the coding in their title. An M record without any is one that no rule
    reads: policy `unread_segment`.
    """
    made = []
    names = [text for raw in record.fields[3:6] if (text := run.text(raw)) is not None and len(text) <= _LONGEST_NAME]
    for number, raw in enumerate(record.fields[3:], 3):
        kind, mark, encoded = raw.partition(run.C)
        if not mark or not kind.strip().endswith(":base64"):
            continue
        if run.trace is not None:
            run.trace.read(record, number, 0)
        data = _decode(run, encoded, "base64")
        if not data:
            run.bad_value("embedded data that cannot be decoded; left out")
            continue
        coding = kind.strip().removesuffix(":base64")
        made.append(
            {"attachment": {**_attached("application/octet-stream", data), "title": " ".join([*names, coding])}}
        )
    if not made and not any(":base64" in raw for raw in record.fields):
        policy = run.policy("unread_segment") or "warn"
        if policy == "dead":
            raise run.dead(ReasonCode.UNREAD_SEGMENT, f"no rule reads {record.name}")
        if policy == "warn":
            run.warn("UNREAD_SEGMENT", f"no rule reads {record.name}")
    return made or None


def _attached(content_type: str | None, data: bytes) -> Json:
    return {
        **({"contentType": content_type} if content_type else {}),
        "data": base64.b64encode(data).decode("ascii"),
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii"),
    }


@function("document_content(document: Attachment) -> DocumentReference.content", pure=True)
def document_content(document: Json) -> Json:
    """An Attachment as content of a DocumentReference."""
    return {"attachment": document}
