"""A replay of an older message takes the newer messages of the same reports along: the second server ends with the last
word of each result."""

from collections.abc import AsyncIterator
from copy import deepcopy
from itertools import count
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.queries.acts import acts_page
from tests.results.test_results_in_succession import SETTINGS, Lab
from tests.support.command_line import Ran
from tests.support.running import QUICK, RunningSite, hl7_channel, make_running_site, running_app
from workbench.sandbox import Sandbox

Two = tuple[Lab, Lab]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """A laboratory whose results go to one server, and the second one that gets them by a replay."""
    first, second = Sandbox(), Sandbox()
    await first.start()
    await second.start()
    try:
        servers = {"lab-fhir": first, "second": second}
        destinations = {name: {"kind": "fhir", "url": one.url, **deepcopy(QUICK)} for name, one in servers.items()}
        make_running_site(tmp_path, {"hl7": hl7_channel(settings=SETTINGS)}, destinations)
        async with running_app(tmp_path) as app:
            numbers = count(1)
            yield (
                Lab(RunningSite(tmp_path, app, first), "hl7", numbers),
                Lab(RunningSite(tmp_path, app, second), "hl7", numbers),
            )
    finally:
        await second.stop()
        await first.stop()


async def replayed(lab: Lab, *arguments: str) -> Ran:
    ran = await lab.site.labrelay("replay", *arguments, "--yes", "-o", "json")
    await lab.site.settled()
    return ran


# What the analyzer said in turn -> what the second server must have after a replay of the first message alone, and how
# many newer messages went along.
HISTORIES = [
    pytest.param([("F GLU 9.9 09:30", "01")], {"GLU": "final 9.9"}, 0, id="nothing newer"),
    pytest.param([("F GLU 9.9 09:30", "01"), ("C GLU 6.0 09:40", "01")], {"GLU": "corrected 6"}, 1, id="corrected"),
    pytest.param(
        [("F GLU 9.9 23:30", "01"), ("C GLU 6.0 07:30", "02")], {"GLU": "corrected 6"}, 1, id="corrected the next day"
    ),
    pytest.param(
        [("F GLU 9.9 23:30", "01"), ("F GLU 6.0 07:30", "02")], {"GLU": "final 9.9"}, 0, id="the next day's own order"
    ),
    pytest.param(
        [("F GLU 5.5 09:30", "01"), ("F UREA 4.0 09:31", "01")],
        {"GLU": "final 5.5", "UREA": "final 4"}, 1, id="another test of the order",
    ),
    pytest.param(
        [("F GLU 9.9 09:30", "01"), ("C GLU 6.0 09:40", "01"), ("D GLU - 09:50", "01")],
        {"GLU": "entered-in-error -"}, 2, id="corrected, withdrawn",
    ),
    pytest.param(
        [("F GLU 9.9 09:30", "01"), ("P GLU 1.1 09:40", "01")], {"GLU": "final 9.9"}, 0, id="what is held stays"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("said", "expected", "newer"), HISTORIES)
async def test_a_second_server_ends_with_the_last_word(
    two: Two, said: list[tuple[str, str]], expected: dict[str, str], newer: int
) -> None:
    lab, second = two
    for one, day in said:
        await lab.says(one, day=day)
    ran = await replayed(lab, "1", "--to", "second", "--reason", "a new server")
    assert (ran.code, ran.json["count"], ran.json["newer"]) == (ExitCode.OK, 1, newer), ran.err
    assert second.results() == expected
    assert second.unlisted() == []


async def test_a_replay_to_the_same_server_leaves_the_correction_and_its_list(two: Two) -> None:
    lab, _ = two
    await lab.says("F GLU 9.9 09:30", "F UREA 4.0 09:30")
    await lab.says("C GLU 6.0 09:40")
    await replayed(lab, "1", "--reason", "the server lost data")
    assert lab.results() == {"GLU": "corrected 6", "UREA": "final 4"}
    assert lab.unlisted() == []


async def test_why_is_asked_where_the_newer_ones_double_the_selection(two: Two) -> None:
    lab, second = two
    await lab.says("F GLU 9.9 09:30")
    await lab.says("C GLU 6.0 09:40")
    await lab.says("F GLU 5.0 09:30", order="S2")
    dry = await lab.site.labrelay("replay", "1", "--to", "second", "--dry-run")
    assert dry.out == "1 selected and 1 newer of the same reports, 2 of them never sent to second before\n"
    asked = await replayed(lab, "1", "--to", "second")
    assert (asked.code, "--reason TEXT" in asked.err) == (ExitCode.USAGE, True)
    assert second.results() == {}
    assert (await replayed(lab, "1", "3", "--to", "second")).code == ExitCode.OK, "one with two is no doubling"
    assert (await replayed(lab, "1", "--to", "second", "--reason", "the ward asked")).code == ExitCode.OK
    last = next(act for act in acts_page(lab.site.journal, limit=5) if act.verb == "replay" and act.what)
    assert (last.what["newer"], last.what["reason"]) == (1, "the ward asked")


@pytest.mark.parametrize("state", ["rejected", "dismissed"])
async def test_what_a_person_decided_against_does_not_go_along(two: Two, state: str) -> None:
    lab, second = two
    await lab.says("F GLU 5.5 09:30")
    if state == "rejected":
        await lab.says("P GLU 1.1 09:40")
        ran = await lab.site.labrelay("held", "reject", "2", "--reason", "mixed up", "--yes")
    else:
        lab.site.sandbox.faults.next = ["422"]
        await lab.says("F UREA 4.0 09:31")
        ran = await lab.site.labrelay("dlq", "dismiss", "2", "--reason", "mixed up", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    done = await replayed(lab, "1", "--to", "second")
    assert (done.code, done.json["newer"], second.results()) == (ExitCode.OK, 0, {"GLU": "final 5.5"})
