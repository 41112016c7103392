"""A sender that writes the time of collection in OBX-14 gives each run of a test one time; OBR-22 tells them apart."""

import pytest

from engine.commands.shared.output import ExitCode
from tests.results.test_reports_in_succession import say, site
from tests.support.running import RunningSite

__all__ = ["site"]


def result(site: RunningSite) -> str:
    (one,) = site.sandbox.resources("Observation")
    return f"{one['status']} {one['valueQuantity']['value']:g}"


# The results that come in turn, each issued later -> how the last one ended; the result on the server.
ORACLE = [
    pytest.param(["F GLU 5.5", "F GLU 5.5"], "ECHO", "final 5.5", id="the last word"),
    pytest.param(["F GLU 5.5", "F GLU 6.1", "F GLU 5.5"], "STATUS_BACK", "amended 6.1", id="the first value again"),
    pytest.param(["F GLU 5.5", "F GLU 6.1", "F GLU 6.1"], "ECHO", "amended 6.1", id="the second value again"),
    pytest.param(
        ["F GLU 9.9", "C GLU 6.0", "C GLU 5.0", "C GLU 6.0"], "STATUS_BACK", "corrected 5", id="a correction again"
    ),
    pytest.param(["F GLU 9.9", "C GLU 6.0", "F GLU 9.9"], "ECHO", "corrected 6", id="the memory of a final one"),
    pytest.param(["F GLU 5.5", "F GLU 6.1", "F GLU 5.5", "F GLU 5.5"], "ECHO", "amended 6.1", id="what is held again"),
]


@pytest.mark.parametrize(("told", "ended", "expected"), ORACLE)
async def test_an_earlier_value_that_is_issued_again_waits_for_a_person(
    site: RunningSite, told: list[str], ended: str, expected: str
) -> None:
    for one in told:
        end = await say(site, one[0], one)
    assert (end, result(site)) == (ended, expected)


async def test_a_person_lets_the_earlier_value_go(site: RunningSite) -> None:
    for one in ("F GLU 5.5", "F GLU 6.1", "F GLU 5.5"):
        await say(site, "F", one)
    ran = await site.labrelay("held", "release", "3", "--reason", "the third run decides", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    assert result(site) == "amended 5.5"
