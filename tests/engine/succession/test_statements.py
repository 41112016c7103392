"""The resources of a document are compared by digests, each made once."""

from hashlib import blake2b

import pytest

from engine.succession import statements
from engine.succession.statements import loads, resources_in
from tests.support.shipped import verdict_of


def document(
    *results: str, control: str = "M1", sent: str = "20260301120000", name: str = "Iyer^Meena", order: str = "S1"
) -> bytes:
    """What `hl7-results` makes of results like ``F GLU 5.5 202603010930``; ``-``: empty."""
    segments = [
        f"MSH|^~\\&|AN|LAB|LIS|H|{sent}||ORU^R01|{control}|P|2.5.1",
        f"PID|1||4711||{name}||19550101|F",
        f"OBR|1||{order}|CHEM^Panel^L|||202603010930|||||||||||||||202603010935||LAB|F",
    ]
    for place, (status, code, value, time) in enumerate(map(str.split, results), 1):
        measured, said = (one.replace("-", "") for one in (time, value))
        segments.append(f"OBX|{place}|ST|{code}^{code}^L||{said}||||||{status}|||{measured}")
    verdict, _ = verdict_of("\r".join([*segments, ""]).encode(), "hl7v2")
    ((made, _),) = verdict.documents
    return made.body


GLU = "F GLU 5.5 20260301093000"
NA = "F NA 140 20260301093100"


def test_the_pdf_of_a_report_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done in the thread that every acknowledgement waits for."""
    hashed = []

    def counted(content: bytes, digest_size: int) -> "blake2b":
        hashed.append(len(content))
        return blake2b(content, digest_size=digest_size)

    bundle = loads(document(GLU, NA))
    (report,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "DiagnosticReport")
    (before,) = (one for one in resources_in(bundle) if one.kind == "DiagnosticReport")
    report["presentedForm"] = [{"contentType": "application/pdf", "data": "A" * 1_000_000}]
    monkeypatch.setattr(statements, "blake2b", counted)
    (after,) = (one for one in resources_in(bundle) if one.kind == "DiagnosticReport")
    assert before.whole != after.whole
    assert before.own != after.own
    assert sum(size > 1_000_000 for size in hashed) == 1
