"""A message is edited after newer ones: it has the age of its original, so nothing older goes over what is newer.

the edit                                 once a person releases it, or replays it
came before the correction, or after     closed, where that is of the same time
came after another value, or is further  held
waits, while its correction came         closed
is rejected                              its content waits when it is sent again; the correction goes on
was replayed                             the same as before the correction
moves a result to another order          held, where there is a newer one
says what its original said              a later word of it is no refused one
"""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from engine.store.queries.reader import stored_payload
from tests.results.test_results_in_succession import SETTINGS, Lab
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, running_site
from workbench.sandbox import Faults

HOLD = [{"when": "=value and value > 50", "reason": "implausible"}]


@pytest.fixture(params=["alone", "beside an archive"])
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RunningSite]:
    archive = [{"to": "archive", "doubtful": "pass"}] * (request.param != "alone")
    hl7 = channel(MLLP, {**HL7_ROUTE, "hold": HOLD}, *archive, settings=SETTINGS)
    folder = {"archive": {"kind": "file", "folder": "var/archive"}}
    async with running_site(tmp_path, {"hl7": hl7}, folder) as site:
        yield site


async def refused(site: RunningSite, lab: Lab, said: str) -> int:
    """A message that the server refuses."""
    site.sandbox.faults.change(Faults(refuse=frozenset({"S1"})))
    await lab.says(said)
    site.sandbox.faults.change(Faults(refuse=frozenset()))
    assert "dead" in states(site, last(site))
    return last(site)


async def edited(site: RunningSite, message: int, old: str, new: str) -> int:
    """The number of the message that takes its place."""
    text = stored_payload(site.journal, message).decode()
    assert old in text
    path = site.folder / "edited"
    path.write_bytes(text.replace(old, new).encode())
    ran = await site.labrelay("dlq", "edit", str(message), "--from", str(path), "--reason", "wrong", "--yes")
    assert ran.code == 0, ran.err
    await site.settled()
    return last(site)


async def decided(site: RunningSite, verb: str, message: int) -> None:
    await site.labrelay("held", verb, str(message), "--reason", "looked at", "--yes")
    await site.settled()


def last(site: RunningSite) -> int:
    return max(one.id for one in site.messages())


def states(site: RunningSite, message: int) -> list[str]:
    return [one.state for one in site.deliveries(message) if one.destination == "lab-fhir"]


@pytest.mark.parametrize("value", ["5.7", "55"])
async def test_an_edit_after_the_correction_is_not_sent(site: RunningSite, value: str) -> None:
    lab = Lab(site, "hl7", count(1))
    original = await refused(site, lab, "F GLU 5.5 09:30")
    await lab.says("C GLU 6.6 09:30")
    now = await edited(site, original, "|5.5|", f"|{value}|")
    if value == "55":
        assert states(site, now) == ["held"]
        await decided(site, "release", now)
    assert states(site, now) == ["superseded"]
    assert lab.results() == {"GLU": "corrected 6.6"}


@pytest.mark.parametrize(
    ("said", "later", "shown"),
    [
        ("F GLU 5.5 09:30", "C GLU 6.6 09:40", "corrected 6.6"),
        ("F GLU 5.5 09:30", "F GLU 6.6 09:30", "final 6.6"),
        ("F GLU 5.5 09:30", "P GLU 6.6 09:30", "preliminary 6.6"),
        ("C GLU 5.5 09:30", "F GLU 6.6 09:30", "amended 6.6"),
    ],
)
async def test_an_edit_is_not_closed_where_it_may_be_more_than_an_older_version(
    site: RunningSite, said: str, later: str, shown: str
) -> None:
    lab = Lab(site, "hl7", count(1))
    original = await refused(site, lab, said)
    await lab.says(later)
    if states(site, last(site)) == ["held"]:
        await decided(site, "release", last(site))
    assert states(site, last(site)) == ["delivered"]
    now = await edited(site, original, "|5.5|", "|5.7|")
    assert states(site, now) == ["held"]
    assert lab.results() == {"GLU": shown}


@pytest.mark.parametrize("verb", ["release", "reject"])
async def test_a_correction_that_comes_while_the_edit_waits_stays(site: RunningSite, verb: str) -> None:
    lab = Lab(site, "hl7", count(1))
    now = await edited(site, await refused(site, lab, "F GLU 5.5 09:30"), "|5.5|", "|55|")
    assert states(site, now) == ["held"]
    await lab.says("C GLU 6.6 09:30")
    assert lab.results() == {"GLU": "corrected 6.6"}
    await decided(site, verb, now)
    assert states(site, now) == ["superseded" if verb == "release" else "rejected"]
    assert lab.results() == {"GLU": "corrected 6.6"}
    await lab.says("F GLU 55 09:30")  # the memory
    assert states(site, last(site)) != ["delivered"]
    assert lab.results() == {"GLU": "corrected 6.6"}


async def test_what_a_person_has_rejected_waits_when_it_comes_again_whatever_else_has_a_copy(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    now = await edited(site, await refused(site, lab, "F GLU 5.5 09:30"), "|5.5|", "|55|")
    await decided(site, "reject", now)
    await lab.says("F GLU 55 09:30")
    assert [one.cause for one in site.deliveries(last(site)) if one.destination == "lab-fhir"] == ["REJECTED_BEFORE"]
    assert lab.results() == {}
    await lab.says("F GLU 6.0 09:30")
    assert lab.results() == {"GLU": "final 6"}


async def test_a_replay_of_an_edited_one_is_closed_after_its_correction(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    now = await edited(site, await refused(site, lab, "F GLU 5.5 09:30"), "|5.5|", "|5.7|")
    assert lab.results() == {"GLU": "final 5.7"}
    await lab.says("C GLU 6.6 09:30")
    await site.replay(now)
    await site.settled()
    assert lab.results() == {"GLU": "corrected 6.6"}


async def test_an_edit_that_moves_a_result_to_another_order_does_not_replace_what_is_newer_there(
    site: RunningSite,
) -> None:
    lab = Lab(site, "hl7", count(1))
    original = await refused(site, lab, "F GLU 5.5 09:30")
    await lab.says("F GLU 7.7 09:30", order="S2")
    await lab.says("C GLU 8.8 09:30", order="S2")
    now = await edited(site, original, "|S1|", "|S2|")
    assert states(site, now) == ["held"]
    assert lab.results() == {"GLU": "corrected 8.8"}


async def test_a_later_word_of_what_an_edit_has_sent_is_not_taken_for_a_refused_one(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await edited(site, await refused(site, lab, "P GLU 5.5 09:30"), "|AN|", "|AN2|")
    assert lab.results() == {"GLU": "preliminary 5.5"}
    await lab.says("F GLU 5.5 09:30")
    assert lab.results() == {"GLU": "final 5.5"}
