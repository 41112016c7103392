"""The answer to a search: each resource keeps its bytes, with any blanks and signs around it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.fhir import searchset
from engine.model.errors import ContentError

BLANKS = st.text(" \t\r\n", max_size=3)
TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
RESOURCES = st.builds(
    lambda kind, number, more: {**more, "resourceType": kind, "id": number},
    st.sampled_from(["ServiceRequest", "Patient", "Specimen"]),
    st.from_regex(r"[A-Za-z0-9.-]{1,10}", fullmatch=True),
    st.dictionaries(TEXTS.filter(lambda name: name not in ("resourceType", "id", "meta")), VALUES, max_size=4),
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """A Bundle with blanks anywhere, and the texts of its resources."""
    texts, entries = [], []
    for resource in draw(st.lists(RESOURCES, max_size=4)):
        text = json.dumps(resource, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        texts.append(text)
        members = [f'"resource"{draw(BLANKS)}:{draw(BLANKS)}{text}', '"search":{"mode":"match"}', '"fullUrl":"x/]}"']
        entries.append("{" + f"{draw(BLANKS)},{draw(BLANKS)}".join(draw(st.permutations(members))) + draw(BLANKS) + "}")
    members = [
        '"resourceType":"Bundle"',
        '"type":"searchset"',
        f'"entry":{draw(BLANKS)}[{draw(BLANKS)}' + f"{draw(BLANKS)},".join(entries) + f"{draw(BLANKS)}]",
        '"link":[{"relation":"next","url":"http://x/next"}]',
    ]
    return (draw(BLANKS) + "{" + ",".join(draw(st.permutations(members))) + "}" + draw(BLANKS)).encode(), texts


@given(answers())
def test_each_resource_keeps_its_bytes(given: tuple[bytes, list[str]]) -> None:
    body, texts = given
    page = searchset.page(body)
    assert [one.raw.decode() for one in page.found] == texts
    assert page.next == "http://x/next"
    for one in page.found:
        made = json.loads(searchset.message(one, page.found, "http://x"))
        assert made["entry"][0]["resource"] == json.loads(one.raw)


@given(answers(), st.data())
def test_what_was_cut_is_never_a_page(given: tuple[bytes, list[str]], data: st.DataObject) -> None:
    body = given[0].strip()
    with pytest.raises(ContentError):
        searchset.page(body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("Patient/7", "Patient/7"),
        ("http://x/fhir/Patient/7", "Patient/7"),
        ("Specimen/7/_history/2", "Specimen/7"),
        ("http://y/fhir/Patient/7", ""),
        ("http://x/fhirother/Patient/7", ""),
        ("#p", ""),
        ("urn:uuid:7", ""),
        ("Practitioner/7", ""),
        ("Patient/../Task/7", ""),
        ("Patient/7?x=y", ""),
    ],
)
def test_a_reference_that_is_read_is_one_of_the_server(reference: str, name: str) -> None:
    assert searchset.local(reference, "http://x/fhir") == name


@pytest.mark.parametrize(
    ("instant", "micros"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T05:30:00.000001+05:30", 1),
        ("1970-01-01T00:00:01.123456789Z", 1_123_456),
        ("1970-01-01T00:00:01", 0),
        ("1970", 0),
        (None, 0),
        (7, 0),
    ],
)
def test_an_instant_has_its_zone(instant: Any, micros: int) -> None:
    assert searchset.micros(instant) == micros


def test_a_version_is_told_by_its_number_and_time_or_else_by_its_content() -> None:
    def found(**meta: str) -> searchset.Found:
        one = searchset.resource(json.dumps({"resourceType": "Task", "id": "1", "meta": meta}).encode())
        assert one is not None
        return one

    first = found(versionId="1", lastUpdated="2026-01-01T00:00:00Z")
    assert first.identity != found(versionId="1", lastUpdated="2026-01-02T00:00:00Z").identity  # put back from a copy
    assert first.identity != found(versionId="2", lastUpdated="2026-01-01T00:00:00Z").identity
    assert found().identity == found().identity != found(source="x").identity
