"""By their bytes alone two documents are called the same only where every resource in them says the same."""

import json
from collections.abc import Callable
from hashlib import blake2b

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.succession import statements
from engine.succession.statements import loads, resources_in, said_in
from engine.succession.steps import MINUTE
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


def test_a_memory_that_is_sent_again_is_the_same() -> None:
    first = document(GLU, NA)
    again = document(GLU, NA, control="M2", sent="20260301235900")
    assert first != again
    assert said_in(first) is not None
    assert said_in(first) == said_in(again)


@pytest.mark.parametrize(
    ("results", "more"),
    [
        (["C GLU 5.5 20260301093000", NA], {}),
        (["F GLU 5.6 20260301093000", NA], {}),
        (["F GLU 5.5 20260301093001", NA], {}),
        (["F GLUC 5.5 20260301093000", NA], {}),
        ([NA, GLU], {}),
        ([GLU], {}),
        ([GLU, NA, "F K 4 20260301093200"], {}),
        ([GLU, NA], {"name": "Iyer^Mina"}),
        ([GLU, NA], {"order": "S2"}),
    ],
)
def test_what_differs_in_anything_is_not(results: list[str], more: dict[str, str]) -> None:
    assert said_in(document(GLU, NA)) != said_in(document(*results, **more))


def _other_type(bundle: dict) -> None:  # type: ignore[type-arg]
    bundle["type"] = "collection"


def _an_entry_behind(bundle: dict) -> None:  # type: ignore[type-arg]
    bundle["entry"].append(bundle["entry"][0])


def _no_provenance(bundle: dict) -> None:  # type: ignore[type-arg]
    bundle["entry"].pop()


def _only_a_day(bundle: dict) -> None:  # type: ignore[type-arg]
    for entry in bundle["entry"]:
        if entry["resource"].get("code", {}).get("text") == "NA" or "NA" in json.dumps(
            entry["resource"].get("code", {})
        ):
            entry["resource"]["effectiveDateTime"] = "2026-03-01"


def _no_results(bundle: dict) -> None:  # type: ignore[type-arg]
    bundle["entry"] = [one for one in bundle["entry"] if one["resource"]["resourceType"] != "Observation"]


@pytest.mark.parametrize("change", [_other_type, _an_entry_behind, _no_provenance, _only_a_day, _no_results])
def test_of_these_the_bytes_say_nothing(change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    bundle = orjson.loads(document(GLU, NA))
    assert said_in(orjson.dumps(bundle)) is not None
    change(bundle)
    assert said_in(orjson.dumps(bundle)) is None


@pytest.mark.parametrize("body", [b"", b"{}", b"MSH|", b'{"resourceType":"Bundle","type":"transaction","entry":[]}'])
def test_nor_of_what_is_no_transaction(body: bytes) -> None:
    assert said_in(body) is None


RESULTS = st.lists(
    st.builds(
        "{} {} {} {}".format,
        st.sampled_from("FPCX"),
        st.sampled_from(["GLU", "NA"]),
        st.sampled_from(["5.5", "5.50", "neg", "-", '"entry":[', '{"fullUrl":"urn:uuid:1","resource":']),
        st.sampled_from(["20260301093000", "202603010931", "20260301", "-"]),
    ),
    min_size=1,
    max_size=3,
)


@given(RESULTS, st.none() | RESULTS)
def test_equal_bytes_are_equal_resources_with_a_time_each(mine: list[str], theirs: list[str] | None) -> None:
    one, other = document(*mine), document(*(theirs or mine), control="M2")
    said = said_in(one)
    resources = [resources_in(loads(body)) for body in (one, other)]
    if said is not None and said == said_in(other):
        assert resources[0] == resources[1]
    if said is not None:
        assert all(len(each.time) >= MINUTE for each in resources[0] if each.kind == "Observation")


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
