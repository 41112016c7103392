"""What a FHIR document encloses, found wherever it stands."""

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.fhir.attachments import Attachment, attachments

PDF = b"%PDF-1.7 a report"


def enclosed(media_type: str, content: bytes) -> dict[str, str]:
    return {"contentType": media_type, "data": base64.b64encode(content).decode()}


def found(document: Any) -> list[Attachment]:
    return list(attachments(json.dumps(document).encode()))


def test_wherever_they_stand_in_the_order_of_the_document() -> None:
    document = {
        "resourceType": "Bundle",
        "entry": [
            {"resource": {"resourceType": "DiagnosticReport", "presentedForm": [enclosed("application/pdf", PDF)]}},
            {"resource": {"resourceType": "Media", "content": enclosed("image/png", b"\x89PNG")}},
            {"resource": {"resourceType": "Binary", **enclosed("text/plain; charset=utf-8", b"words")}},
            {"resource": {"resourceType": "DocumentReference", "content": [{"attachment": enclosed("x/y", b"?")}]}},
        ],
    }
    assert found(document) == [
        Attachment("application/pdf", PDF, ".pdf"),
        Attachment("image/png", b"\x89PNG", ".png"),
        Attachment("text/plain; charset=utf-8", b"words", ".txt"),
        Attachment("x/y", b"?", ".bin"),
    ]


def test_what_is_no_attachment_is_none() -> None:
    assert found({"data": "AAAA"}) == []
    assert found({"contentType": "application/pdf", "data": "not base64!"}) == []
    assert found({"contentType": "application/pdf", "url": "https://x"}) == []
    assert found({"contentType": "application/pdf", "data": ""}) == []
    assert list(attachments(b'{"data": broken')) == []
    assert list(attachments(b"MSH|^~\\&|")) == []


@given(st.binary(min_size=1, max_size=500), st.sampled_from(["", "\n", " \r\n"]), st.integers(1, 80))
def test_base64_is_read_however_it_is_wrapped(content: bytes, end: str, width: int) -> None:
    text = base64.b64encode(content).decode()
    wrapped = end.join(text[at : at + width] for at in range(0, len(text), width))
    assert [one.content for one in found({"a": [{"contentType": "x/y", "data": wrapped}]})] == [content]
