"""What an archive has says nothing of what a laboratory's server has: copies that pass are no results in force.

a repeat of what waits                   its copy makes nothing of that sent, nor of what a person refuses then
a message that an archive alone got      is no older, and no later, word of what the server gets
"""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from tests.results.test_edited_results import HOLD, decided, last, states
from tests.results.test_results_in_succession import SETTINGS, Lab
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, running_site

ARCHIVE = {"to": "archive", "doubtful": "pass"}
TO_THE_SERVER = {**HL7_ROUTE, "hold": HOLD, "when": "=MSH-5 == 'LIS'"}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    hl7 = channel(MLLP, TO_THE_SERVER, ARCHIVE, settings=SETTINGS)
    async with running_site(tmp_path, {"hl7": hl7}, {"archive": {"kind": "file", "folder": "var/archive"}}) as site:
        yield Lab(site, "hl7", count(1))


def causes(site: RunningSite) -> list[str]:
    return [one.cause for one in site.deliveries(last(site)) if one.destination == "lab-fhir"]


async def test_a_repeat_of_what_a_person_rejects_waits_again(lab: Lab) -> None:
    await lab.says("F GLU 55 09:30")
    assert states(lab.site, 1) == ["held"]
    await lab.says("F GLU 55 09:30")
    await decided(lab.site, "reject", 1)
    if states(lab.site, 2) == ["held"]:
        await decided(lab.site, "reject", 2)
    await lab.says("F GLU 55 09:30")
    assert (states(lab.site, last(lab.site)), causes(lab.site)) == (["held"], ["REJECTED_BEFORE"])
    assert lab.results() == {}


@pytest.mark.parametrize(
    ("said", "later", "shown"),
    [
        ("F GLU 9.9 09:30", "P GLU 9.1 09:30", "preliminary 9.1"),
        ("F GLU 9.9 09:30", "F GLU 9.9 09:30", "final 9.9"),
        ("F GLU 9.9 09:30", "F GLU 6.0 09:40", "final 6"),
        ("F GLU 9.9 09:40", "F GLU 6.0 09:30", "final 6"),
        ("F GLU 9.9 09:30", "F GLU - 09:40", "final -"),
        ("F GLU 9.9 09:30", "C GLU 6.0 09:30", "corrected 6"),
        ("D GLU 9.9 09:30", "F GLU 6.0 09:30", "final 6"),
    ],
)
async def test_what_an_archive_alone_has_is_not_in_force_at_the_server(
    lab: Lab, said: str, later: str, shown: str
) -> None:
    await lab.says(said, to="ARCHIVE")
    assert [one.destination for one in lab.site.deliveries(last(lab.site))] == ["archive"]
    await lab.says(later)
    assert lab.results() == {"GLU": shown}


async def test_a_withdrawal_of_what_an_archive_alone_has_waits(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30", to="ARCHIVE")
    await lab.says("D GLU 9.9 09:30")
    assert causes(lab.site) == ["CORRECTS_UNKNOWN"]
    assert lab.results() == {}


async def test_a_correction_that_an_archive_alone_has_leaves_the_servers_result(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30")
    await lab.says("C GLU 6.0 09:30", to="ARCHIVE")
    await lab.says("F GLU 9.9 09:30")
    assert lab.results() == {"GLU": "final 9.9"}
    await lab.says("C GLU 5.0 09:40")
    assert lab.results() == {"GLU": "corrected 5"}
