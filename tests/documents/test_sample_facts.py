"""The facts of each sample, as its file in `tests/golden/facts` says them; a sample without such a file has none.

After a change that is meant run them with LABRELAY_UPDATE_SAMPLES=1, then look at the difference.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from engine.config.pack import find_pack
from engine.model.content.facts import Facts, unpacked
from engine.model.routes import Processed
from engine.model.texts.reasons import ReasonCode
from engine.succession.judge.judging import judge
from engine.succession.judge.usual import usual
from engine.succession.judge.words import Memory, Receipt
from tests.documents.test_samples import FORMATS, MESSAGES, SAMPLES
from tests.support.expected import UPDATE
from tests.support.facts_text import facts_text
from tests.support.shipped import reader_of, verdict_of

GOLDEN = Path(__file__).parents[1] / "golden" / "facts"
NAMES = [str(path.relative_to(SAMPLES)) for path in MESSAGES]


def read(name: str, *, explained: bool = False) -> tuple[Facts | None, Processed, int]:
    """The facts of a sample, read as its folder's channel would read them; and how many results it has."""
    path = SAMPLES / name
    channel = yaml.safe_load((path.parent / "settings.yaml").read_text(encoding="utf-8"))
    if "analyzer" in channel:
        find_pack(channel["analyzer"]).fill(channel)
    kind = FORMATS[path.suffix]
    verdict, mapped = verdict_of(
        path.read_bytes(),
        kind,
        channel["settings"] | ({"charset": channel["charset"]} if "charset" in channel else {}),
        timezone=channel["timezone"],
        channel=path.parent.name,
        patient_numbers=channel.get("patient_numbers", "counter"),
        dialect=channel.get("dialect"),
        mapping=reader_of(kind),
        explained=explained,
        layout=channel.get("layout"),
    )
    facts = unpacked(verdict.documents[0][0].body) if verdict.documents else None
    return facts, verdict, mapped.counts["results_in"] if mapped is not None else 0


@pytest.mark.parametrize("name", NAMES)
def test_the_facts_are_the_expected_ones(name: str) -> None:
    expected = (GOLDEN / name).with_suffix(".facts")
    facts, verdict, results = read(name)
    if facts is None:
        assert verdict.reason is ReasonCode.NOT_PRODUCTION or results == 0, verdict
        assert not expected.exists()
        return
    found = facts_text(facts)
    if UPDATE:
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_each_result_of_the_message_is_one_fact_at_its_place(name: str) -> None:
    facts, _, results = read(name)
    places = [] if facts is None else [result.place for _, _, result in facts.results()]
    assert sorted(places) == list(range(1, results + 1))


@pytest.mark.parametrize("name", NAMES)
def test_explained_facts_are_the_same(name: str) -> None:
    assert read(name, explained=True)[0] == read(name)[0]


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_was_known_the_judge_says_in_short_what_its_rules_say(name: str) -> None:
    facts, _, _ = read(name)
    if facts is None:
        return
    for year in (2019, 2026, 2030):
        received = datetime(year, 3, 1, 12, tzinfo=UTC)
        receipt = Receipt(1, "c", received, is_hl7=name.endswith(".hl7"))
        assert usual(facts, receipt) in (None, judge(facts, Memory(), receipt)._replace(said={}))


def test_each_file_of_facts_belongs_to_a_sample() -> None:
    named = {Path(name).with_suffix(".facts") for name in NAMES}
    assert {path.relative_to(GOLDEN) for path in GOLDEN.glob("*/*.facts")} <= named
