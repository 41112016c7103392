"""The attachments of a FHIR document: PDFs, pictures, texts in ``Attachment.data`` and ``Binary.data`` (base64). Pure.

They are found anywhere, in the order of the document: ``DiagnosticReport.presentedForm``,
``DocumentReference.content.attachment``, ``Media.content``, ``Binary``.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SUFFIXES = {
    "application/pdf": ".pdf",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
    "text/plain": ".txt",
    "text/html": ".html",
    "text/rtf": ".rtf",
    "application/rtf": ".rtf",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/json": ".json",
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """``suffix`` with its dot, by the media type; ``.bin`` for one that is not known."""

    media_type: str
    content: bytes
    suffix: str


def attachments(body: bytes) -> Iterator[Attachment]:
    """The attachments of the FHIR document ``body``; none if it is no FHIR document."""
    if b'"data"' not in body:
        return
    try:
        document = json.loads(body)
    except ValueError:
        return
    yield from _within(document)


def _within(value: Any) -> Iterator[Attachment]:
    if isinstance(value, dict):
        media_type, data = value.get("contentType"), value.get("data")
        if isinstance(media_type, str) and isinstance(data, str):
            try:
                content = base64.b64decode("".join(data.split()), validate=True)
            except (ValueError, binascii.Error):
                content = b""
            plain = media_type.partition(";")[0].strip().lower()
            if content:
                yield Attachment(media_type, content, SUFFIXES.get(plain, ".bin"))
        for inner in value.values():
            yield from _within(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _within(inner)
