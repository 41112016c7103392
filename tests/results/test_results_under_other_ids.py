"""One result that comes under another id, or in the place of another: the receiver has it once, and as it was last.

An order is counted anew where it comes alone (OBR-1), and of two runs of a test that are told together, one may come
alone: both change the id that the mapping makes.
"""

from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.results.test_results_in_succession import CHANNELS, Lab
from tests.support.running import RunningSite, running_site
from tests.support.senders import lines, send_blocks

HEAD = "MSH|^~\\&|AN|LAB|LIS|H|202603011200{0:02}||ORU^R01|E{0}|P|2.5.1\rPID|1||4711||Iyer^Meena||19550101|F"
ORDER = "OBR|1||E1|PATH^Path^L|||20260301093000|||||||||||||||20260301093000||LAB|{}"
GLUCOSE = "OBX|1|NM|GLU^GLU^L||5.5|mmol/L|||||F|||20260301093000"
ENCLOSED = "OBX|2|ED|PDF^Report^L||^application^pdf^Base64^{}||||||{}|||20260301093000"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as site:
        yield site


@pytest.fixture
def lab(site: RunningSite) -> Lab:
    return Lab(site, "hl7", count(1))


async def test_the_memory_of_an_order_that_is_counted_anew_stands_not_beside_the_correction(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30", obr="2")
    await lab.says("C GLU 6.0 09:32", obr="2")
    await lab.says("F GLU 9.9 09:30", obr="1")
    assert (lab.held(), lab.results()) == ([], {"GLU": "corrected 6"})
    assert set(lab.listed()) == {"corrected"}


async def test_a_preliminary_result_of_an_order_that_is_counted_anew_is_held(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30", obr="2")
    assert await lab.says("P GLU 1.1 09:40", obr="1") == "held"
    assert (lab.held(), lab.results()) == (["STATUS_BACK"], {"GLU": "final 9.9"})


async def test_a_final_result_of_an_order_that_is_counted_anew_ends_the_preliminary_one(lab: Lab) -> None:
    await lab.says("P GLU 9.0 09:30", obr="2")
    await lab.says("F GLU 9.9 09:40", obr="1")
    assert (lab.results(), lab.unlisted()) == ({"GLU": "final 9.9"}, [])


async def test_two_finals_of_an_order_in_two_places_are_one_and_its_rerun(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", obr="1")
    await lab.says("F GLU 6.0 10:30", obr="2")
    assert lab.results() == {"GLU": "amended 6"}


async def test_a_correction_of_the_second_run_of_a_test_is_not_made_to_the_first(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", "F GLU 9.9 10:30")
    await lab.says("C GLU 9.0 10:30")
    assert sorted(lab.results()["GLU"].split(", ")) == ["corrected 9", "final 5.5"]


async def test_a_correction_of_two_runs_at_a_time_of_its_own_is_held(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", "F GLU 9.9 10:30")
    assert await lab.says("C GLU 9.0 11:30") == "held"
    assert (lab.held(), lab.results()) == (["CORRECTS_UNKNOWN"], {"GLU": "final 5.5, final 9.9"})


async def test_the_second_run_of_a_test_alone_does_not_take_the_place_of_the_first(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", "F GLU 9.9 10:30")
    await lab.says("F GLU 9.9 10:30")
    assert sorted(lab.results()["GLU"].split(", ")) == ["final 5.5", "final 9.9"]


RUNS = ("F GLU 1.1 09:10", "F GLU 2.2 09:20", "F GLU 3.3 09:30")
# Runs that are accepted, runs that are told then -> how that ended; the results on the server.
PLACES = [
    pytest.param(RUNS, RUNS[1:], "delivered", "final 1.1, final 2.2, final 3.3", id="the last two"),
    pytest.param(RUNS[:2], RUNS[1::-1], "delivered", "final 1.1, final 2.2", id="in another order"),
    pytest.param(RUNS[:1], RUNS[1::-1], "delivered", "final 1.1, final 2.2", id="the newest first"),
    pytest.param(RUNS[:2], RUNS[1:], "held", "final 1.1, final 2.2", id="the last one and a new one"),
    pytest.param(
        RUNS, (RUNS[1], "C GLU 4.4 09:30"), "delivered", "corrected 4.4, final 1.1, final 2.2", id="the last corrected"
    ),
    pytest.param(
        RUNS[:2], (RUNS[1], "C GLU 4.4 09:10"), "delivered", "corrected 4.4, final 2.2", id="the first corrected"
    ),
    pytest.param(RUNS[:1], ("C GLU 2.2 09:20", RUNS[0]), "held", "final 1.1", id="a correction in front"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "told", "ended", "there"), PLACES)
async def test_runs_that_are_told_in_other_places_are_those_of_their_times(
    lab: Lab, before: tuple[str, ...], told: tuple[str, ...], ended: str, there: str
) -> None:
    await lab.says(*before)
    assert await lab.says(*told) == ended
    assert ", ".join(sorted(lab.results()["GLU"].split(", "))) == there
    assert lab.held() == ["CORRECTS_UNKNOWN" if told[0].startswith("C") else "SAMPLE_UNKNOWN"] * (ended == "held")


async def test_runs_of_two_orders_are_those_of_their_orders(lab: Lab) -> None:
    run = "OBX|1|NM|GLU^GLU^L||{}|mmol/L|||||F|||2026030109{}00"
    orders = [ORDER.format("F"), ORDER.format("F").replace("OBR|1||E1", "OBR|2||E2")]
    for number, runs in enumerate(((("1.1", "10"), ("2.2", "20")), (("3.3", "20"), ("4.4", "30"))), 1):
        told = [segment for order, one in zip(orders, runs, strict=True) for segment in (order, run.format(*one))]
        assert await sends(lab.site, "hl7", [HEAD.format(number), *told]) == "delivered"
    assert sorted(lab.results()["GLU"].split(", ")) == ["amended 3.3", "amended 4.4"]
    assert set(lab.listed()) == {"amended"}


async def test_a_shorter_list_of_answers_takes_back_the_run_that_it_has_not(lab: Lab) -> None:
    say = partial(sends, lab.site, "hl7")
    runs = [f"OBX|{{}}|ST|HIV^HIV^L||{value}||||||F|||202603010{time}" for value, time in
            (("neg", "91000"), ("pos", "92000"), ("weak", "93000"), ("ind", "93000"))]  # fmt: skip
    message = [HEAD.format(1), ORDER.format("F"), *(run.format(place) for place, run in enumerate(runs[:3], 1))]
    assert await say(message) == "delivered"
    assert await say([HEAD.format(2), ORDER.format("F"), runs[1].format(1), runs[3].format(2)]) == "held"
    assert lab.held() == ["RESULTS_GONE"]
    ran = await lab.site.labrelay("held", "release", "2", "--reason", "read again", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await lab.site.settled()
    there = {one["valueString"]: one["status"] for one in lab.site.sandbox.resources("Observation")}
    assert there == {"neg": "entered-in-error", "pos": "final", "ind": "amended"}


async def test_nor_does_the_last_of_hundreds_of_runs(lab: Lab) -> None:
    runs = [f"F GLU {minute}.5 {8 + minute // 60:02}:{minute % 60:02}" for minute in range(150)]
    await lab.says(*runs)
    before = sorted(lab.results()["GLU"].split(", "))
    await lab.says(runs[149])
    assert sorted(lab.results()["GLU"].split(", ")) == before
    await lab.says(runs[149].replace("F GLU", "C GLU").replace("149.5", "7.7"))
    assert lab.results()["GLU"].split(", ").count("corrected 7.7") == 1
    assert lab.results()["GLU"].count("final") == 149


async def test_a_result_that_would_be_compared_with_hundreds_of_one_time_is_held(lab: Lab) -> None:
    await lab.says(*(f"F GLU {number}.5 09:30" for number in range(101)), obr="2")
    assert await lab.says("F GLU 7.7 09:30", obr="1") == "held"
    assert lab.held() == ["SAMPLE_UNKNOWN"]


async def test_a_final_result_behind_one_that_a_person_has_let_go_is_a_changed_one(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30")
    await lab.says("P GLU 1.1 09:40")
    held = str(lab.site.messages()[-1].id)
    await lab.site.labrelay("held", "release", held, "--reason", "the first was mixed up", "--yes")
    await lab.site.settled()
    await lab.says("F GLU 2.2 09:50")
    assert lab.results() == {"GLU": "amended 2.2"}


async def test_a_report_of_a_sender_of_snapshots_does_not_go_back(site: RunningSite) -> None:
    lab = Lab(site, "snapshots", count(1))
    await lab.says("F GLU 5.5 09:30")
    await lab.says("C GLU 6.0 09:40")
    message = [HEAD.format(9), ORDER.format("P").replace("E1|PATH^Path", "S1|GLU^Panel"), GLUCOSE]
    assert await sends(site, "snapshots", message) == "held"
    assert lab.held() == ["STATUS_BACK"]
    assert lab.listed() == {"corrected": ["GLU"]}


async def test_an_enclosed_document_does_not_go_back_beside_a_result_that_stays(site: RunningSite) -> None:
    for number, (status, content) in enumerate([("F", "QUJDRA=="), ("C", "RUZHSA==")], 1):
        message = [HEAD.format(number), ORDER.format(status), GLUCOSE, ENCLOSED.format(content, status)]
        assert await sends(site, "hl7", message) == "delivered"
    message = [HEAD.format(3), ORDER.format("P"), GLUCOSE, ENCLOSED.format("SUpLTA==", "P")]
    assert await sends(site, "hl7", message) == "held"
    (report,) = site.sandbox.resources("DiagnosticReport")
    assert (report["status"], report["meta"]["versionId"]) == ("corrected", "2")


@pytest.mark.parametrize("status", ["C", "D"])
async def test_a_correction_without_a_patient_that_fits_nothing_is_held(lab: Lab, status: str) -> None:
    await lab.says("F GLU 5.5 09:30")
    assert await lab.says(f"{status} GLU 6.0 09:40", patient="") == "held"
    assert (lab.held(), lab.results()) == (["CORRECTS_UNKNOWN"], {"GLU": "final 5.5"})


async def sends(site: RunningSite, channel: str, segments: list[str]) -> str:
    (answer,) = await send_blocks(site.port(channel), ["\r".join([*segments, ""]).encode()])
    assert lines(answer)["MSA"][1] == "AA"
    await site.settled()
    return site.ends()[-1]
