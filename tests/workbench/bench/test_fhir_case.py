"""What a case leaves out of a document is gone, and the rest stays one that a server can take."""

import json
import re

import pytest

from workbench.bench.fhir_case import CASES, CONDITIONAL, Bundle, Case, Feed, Known, joined, left_out

ONE = next(case for case in CASES if case.together > 1)


@pytest.fixture(scope="module")
def bundles() -> list[Bundle]:
    return list(Feed().take(3))


def known_of(bundles: list[Bundle]) -> Known:
    return {
        entry["fullUrl"]: f"{entry['resource']['resourceType']}/{number}"
        for bundle in bundles
        for number, entry in enumerate(bundle["entry"])
    }


def fault(bundle: Bundle) -> str:
    """The first thing that a server would refuse."""
    full_urls = [entry["fullUrl"] for entry in bundle["entry"]]
    if len(set(full_urls)) < len(full_urls):
        return "a fullUrl twice"
    named = set(re.findall(r'"reference": "(urn:uuid:[^"]+)"', json.dumps(bundle)))
    return f"no entry for {named - set(full_urls)}" if named - set(full_urls) else ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_makes_whole_transactions(bundles: list[Bundle], case: Case) -> None:
    copies = json.loads(json.dumps(bundles))
    changed = [case.change(bundle, known_of(bundles)) for bundle in copies]
    assert [fault(bundle) for bundle in (*changed, joined(changed))] == [""] * 4


def test_what_is_left_out_is_named_as_the_server_names_it(bundles: list[Bundle]) -> None:
    known = known_of(bundles)
    changed = left_out(*CONDITIONAL)(bundles[0], known)
    kinds = [entry["resource"]["resourceType"] for entry in changed["entry"]]
    gone = [entry for entry in bundles[0]["entry"] if entry["resource"]["resourceType"] in CONDITIONAL]
    assert len(kinds) == len(bundles[0]["entry"]) - len(gone) > 20
    assert not set(kinds) & set(CONDITIONAL)
    assert all(f'"{known[entry["fullUrl"]]}"' in json.dumps(changed) for entry in gone)
