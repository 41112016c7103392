"""Documents inside messages: ED (embedded) and RP (by address) to Attachment. Size and hash are computed."""

import base64
import binascii
import hashlib
import re
from typing import Any

from engine.mapping.functions.registry import function
from engine.mapping.run import Run
from engine.message import Segment

Json = dict[str, Any]

_TYPES = {"AP": "application", "APPLICATION": "application", "IM": "image", "IMAGE": "image", "TEXT": "text"}
_TYPES |= {"AU": "audio", "AUDIO": "audio", "VIDEO": "video", "MULTIPART": "multipart", "FT": "text", "TX": "text"}
_SUBTYPES = {"JPG": "jpeg", "TXT": "plain", "TEXT": "plain"}
_TOKEN = re.compile(r"[a-z0-9][a-z0-9.+_-]*", re.ASCII)


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


@function("attachment(value: field) -> Attachment")
def attachment(run: Run, raw: str) -> Json | None:
    """An ED as Attachment: its type, the data as base64, size and SHA-1 hash. Data that do not decode are left out."""
    parts = raw.split(run.C, 4)
    if len(parts) < 5:
        return None
    kind, subtype, encoding = (run.text(part) for part in parts[1:4])
    data = _decode(run, parts[4], (encoding or "").lower())
    if data is None:
        run.bad_value("embedded data that cannot be decoded; left out")
        return None
    made: Json = {}
    if content_type := _content_type(kind, subtype):
        made["contentType"] = content_type
    made["data"] = base64.b64encode(data).decode("ascii")
    made["size"] = len(data)
    # FHIR asks for SHA-1 here; it detects damage, it protects nothing.
    made["hash"] = base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii")
    return made if data else None


def _decode(run: Run, raw: str, encoding: str) -> bytes | None:
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
def pointer(run: Run, raw: str) -> Json | None:
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


def _value_type(run: Run, fields: list[str]) -> str:
    """OBX-2 as rules read it."""
    kind = fields[2] if len(fields) > 2 else ""
    return kind if kind.isalpha() else run.text(kind) or ""


@function("attachments(observations: segment[]) -> Attachment[]")
def attachments(run: Run, observations: list[Segment]) -> list[Json] | None:
    """The documents among OBX segments: those whose value type (OBX-2) is ED or RP.

    They are counted as `attached`, and as `dropped` where they cannot be read.
    """
    made = []
    for segment in observations:
        fields = segment.fields
        kind = _value_type(run, fields)
        if kind in ("ED", "RP"):
            if run.trace is not None:
                run.trace.read(segment, 5, 0)
            found = (attachment if kind == "ED" else pointer)(run, fields[5]) if len(fields) > 5 else None
            run.attach(segment, found is not None)
            if found is not None:
                made.append(found)
    return made or None


@function("text_document(observations: segment[]) -> Attachment")
def text_document(run: Run, observations: list[Segment]) -> Json | None:
    """The lines of a document in words: all OBX segments whose value type (OBX-2) is TX, FT or ST, as one plain text.

    They are counted as `attached`, and as `dropped` where there is not one line in them.
    """
    found = [one for one in observations if _value_type(run, one.fields) in ("TX", "FT", "ST")]
    lines: list[str] = []
    for segment in found:
        raw = segment.fields[5] if len(segment.fields) > 5 else ""
        if run.trace is not None:
            run.trace.read(segment, 5, 0)
        lines += [run.whole(part) or "" for part in raw.split(run.R)]
    data = "\n".join(lines).strip("\n").encode()
    for segment in found:
        run.attach(segment, bool(data))
    if not data:
        return None
    return {
        "contentType": "text/plain; charset=utf-8",
        "data": base64.b64encode(data).decode("ascii"),
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii"),
    }


@function("document_content(document: Attachment) -> DocumentReference.content", pure=True)
def document_content(document: Json) -> Json:
    """An Attachment as content of a DocumentReference."""
    return {"attachment": document}
