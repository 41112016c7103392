"""The receiver's results after histories of one order: nothing goes back, nothing changes unsaid, nothing is unlisted.

Each history is told in HL7 v2 and in ASTM to a running site, in one process and with a worker.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, astm_channel, channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks
from tests.support.waiting import until

SETTINGS = {"patient_system": "urn:x:mrn"}
CHANNELS = {
    "hl7": hl7_channel(settings=SETTINGS),
    "astm": astm_channel(settings=SETTINGS),
    "snapshots": hl7_channel(settings=SETTINGS, report_list="replace"),
}
NAMES = {"corrected": "C", "final": "F", "preliminary": "P", "cancelled": "X", "entered-in-error": "D"}


@dataclass
class Lab:
    """An analyzer that tells results of one order, as ``F GLU 9.9 09:30``, several in one message."""

    site: RunningSite
    channel: str
    control_ids: count  # type: ignore[type-arg]

    async def says(
        self,
        *results: str,
        order: str = "S1",
        patient: str = "4711",
        day: str = "01",
        obr: str = "1",
        to: str = "LIS",
        wait: bool = True,
    ) -> str:
        """Send a message and wait until all is quiet (or not); how it ended."""
        told = [(status, code, value, time) for status, code, value, time in map(str.split, results)]
        number = next(self.control_ids)
        already = len(self.site.messages(self.channel))
        if self.channel == "astm":
            played = await AstmAnalyzer(self.site.port("astm")).play(
                frames(*self._frames(told, number, order, patient, day))
            )
            assert not played.gave_up
            # The end of a session has no answer: the message may not be in the journal yet.
            await until(lambda: len(self.site.messages(self.channel)) > already)
        else:
            (answer,) = await send_blocks(
                self.site.port(self.channel), [self._hl7(told, number, order, patient, day, obr, to)]
            )
            assert lines(answer)["MSA"][1] == "AA"
        if wait:
            await self.site.settled()
        return self.site.ends()[-1] if wait else ""

    def _hl7(
        self,
        told: list[tuple[str, ...]],
        number: int,
        order: str,
        patient: str,
        day: str,
        obr: str,
        to: str = "LIS",
    ) -> bytes:
        at = f"202603{day}{told[0][3].replace(':', '')}00"
        pid = f"PID|1||{patient}||Iyer^Meena||19550101|F" if patient else "PID|1"
        status = "F" if told[0][0] in "XDWU" else told[0][0]
        segments = [
            f"MSH|^~\\&|AN|LAB|{to}|H|202603{day}1200{number % 60:02}||ORU^R01|M{number}|P|2.5.1",
            pid,
            f"OBR|{obr}||{order}|GLU^Panel^L|||{at}|||||||||||||||{at}||LAB|{status}",
        ]
        for place, (state, code, value, time) in enumerate(told, 1):
            measured = f"202603{day}{time.replace(':', '')}00"
            said = "" if value == "-" else value
            segments.append(f"OBX|{place}|NM|{code}^{code}^L||{said}|mmol/L|||||{state}|||{measured}")
        return "\r".join([*segments, ""]).encode()

    def _frames(self, told: list[tuple[str, ...]], number: int, order: str, patient: str, day: str) -> list[bytes]:
        records = [f"H|\\^&|{number}||AN|||||||P|1|202603{day}1200{number % 60:02}"]
        records.append(f"P|1||{patient}|||Iyer^Meena||19550101|F" if patient else "P|1")
        records.append(f"O|1|{order}||^^^GLU|R||202603{day}080000||||N||||||||||||||F")
        for place, (state, code, value, time) in enumerate(told, 1):
            measured = f"202603{day}{time.replace(':', '')}00"
            said = "" if value == "-" else value
            records.append(f"R|{place}|^^^{code}|{said}|mmol/L||||{state}||||{measured}")
        return one_record_a_frame("\r".join([*records, "L|1|N", ""]).encode())

    # -- what the receiver has -----------------------------------------------------------------------------------

    def results(self) -> dict[str, str]:
        """Code -> ``F 9.9`` of each result on the server; of two with one code both."""
        found: dict[str, str] = {}
        for one in self.site.sandbox.resources("Observation"):
            code = one["code"]["coding"][0]["code"]
            value = one.get("valueQuantity", {}).get("value")
            said = f"{one['status']} {'-' if value is None else f'{value:g}'}"
            found[code] = f"{found[code]}, {said}" if code in found else said
        return found

    def listed(self) -> dict[str, list[str]]:
        """Status of a report -> the codes that it lists."""
        names = {f"Observation/{one['id']}": one["code"]["coding"][0]["code"]
                 for one in self.site.sandbox.resources("Observation")}  # fmt: skip
        return {
            one["status"]: sorted(names[result["reference"]] for result in one.get("result", ()))
            for one in self.site.sandbox.resources("DiagnosticReport")
        }

    def unlisted(self) -> list[str]:
        """Results that stand in no report."""
        every = {f"Observation/{one['id']}" for one in self.site.sandbox.resources("Observation")}
        for report in self.site.sandbox.resources("DiagnosticReport"):
            every -= {one["reference"] for one in report.get("result", ())}
        return sorted(every)

    def held(self) -> list[str]:
        return [
            one.cause for view in self.site.messages() for one in self.site.deliveries(view.id) if one.state == "held"
        ]


@pytest.fixture(params=[False, True], ids=["small", "large"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS, large=request.param) as site:
        yield site


@pytest.fixture(params=["hl7", "astm"])
def lab(request: pytest.FixtureRequest, site: RunningSite) -> Lab:
    return Lab(site, request.param, count(1))


async def test_a_preliminary_result_behind_a_final_one_is_held(lab: Lab) -> None:
    assert await lab.says("F GLU 9.9 09:30") == "delivered"
    assert await lab.says("P GLU 1.1 09:40") == "held"
    assert (lab.held(), lab.results()) == (["STATUS_BACK"], {"GLU": "final 9.9"})


async def test_the_analyzers_memory_does_not_undo_a_correction(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30")
    await lab.says("C GLU 6.0 09:32")
    assert await lab.says("F GLU 9.9 09:30") == "ECHO"
    assert (lab.held(), lab.results()) == ([], {"GLU": "corrected 6"})


async def test_a_whole_memory_that_is_sent_again_says_nothing_new(lab: Lab) -> None:
    days = [f"F GLU {value}.5 09:{value:02}" for value in range(3, 9)]
    for number, one in enumerate(days):
        await lab.says(one, order=f"S{number}")
    before = {one["id"]: one["meta"]["versionId"] for one in lab.site.sandbox.resources("Observation")}
    for number, one in enumerate(days):
        assert await lab.says(one, order=f"S{number}") == "ECHO"
    assert {one["id"]: one["meta"]["versionId"] for one in lab.site.sandbox.resources("Observation")} == before


async def test_what_was_rejected_or_refused_is_no_memory_of_what_was_accepted(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30")
    assert await lab.says("P GLU 1.1 09:40") == "held"
    number = str(lab.site.messages()[-1].id)
    ran = await lab.site.labrelay("held", "reject", number, "--reason", "a mistake", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    assert await lab.says("P GLU 1.1 09:40") == "held"

    lab.site.sandbox.faults.refuse = frozenset({"4712"})
    assert await lab.says("F NA 140 09:30", order="S2", patient="4712") == "REFUSED"
    lab.site.sandbox.faults.refuse = frozenset()
    assert await lab.says("F NA 140 09:30", order="S2", patient="4712") == "delivered"


async def test_echoes_go_out_of_a_message_first(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30")
    assert await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30", "F NA 140 09:45") == "delivered"
    assert lab.results() == {"GLU": "final 5.5", "UREA": "final 4", "NA": "final 140"}
    assert {one["meta"]["versionId"] for one in lab.site.sandbox.resources("Observation")} == {"1"}
    assert lab.unlisted() == []


async def test_an_echo_for_one_destination_is_news_for_another(tmp_path: Path) -> None:
    """Only the route in the middle has brought its destination the result before; those around it have not."""
    for_the_ward = {"when": "=MSH-5 == 'WARD'", "mapping": "hl7-results"}
    routes = ({**for_the_ward, "to": ["one", "two"]}, HL7_ROUTE, {**for_the_ward, "to": "three"})
    folders = {name: {"kind": "file", "folder": name} for name in ("one", "two", "three")}
    async with running_site(tmp_path, {"hl7": channel(MLLP, *routes, settings=SETTINGS)}, folders) as site:
        lab = Lab(site, "hl7", count(1))
        assert await lab.says("F GLU 5.5 09:30") == "delivered"
        assert await lab.says("F GLU 5.5 09:30", to="WARD") == "delivered"
        assert [one.destination for one in site.deliveries(2)] == ["one", "two", "three"]
        assert await lab.says("F GLU 5.5 09:30", to="WARD") == "ECHO"
        assert await lab.says("F NA 140 09:30", to="WARD") == "delivered"
        assert {(one.destination, one.state) for one in site.deliveries(4)} == {
            (name, "delivered") for name in ("lab-fhir", "one", "two", "three")
        }
        assert lab.results() == {"GLU": "final 5.5", "NA": "final 140"}


async def test_what_was_withdrawn_does_not_come_back(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))  # E1394 has no status for it
    await lab.says("F GLU 5.5 09:30")
    await lab.says("D GLU - 09:40")
    assert lab.results() == {"GLU": "entered-in-error -"}
    assert await lab.says("P GLU 7.7 09:50") == "held"
    assert (lab.held(), lab.results()) == (["WITHDRAWN_BEFORE"], {"GLU": "entered-in-error -"})


async def test_a_preliminary_result_becomes_final_without_its_value_sent_again(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("P GLU 5.5 09:30", "P UREA 4.0 09:30")
    assert await lab.says("U GLU - 09:40") == "delivered"
    assert lab.results() == {"GLU": "final 5.5", "UREA": "preliminary 4"}
    assert (lab.listed(), lab.unlisted()) == ({"partial": ["GLU", "UREA"]}, [])
    assert await lab.says("U UREA - 09:40") == "delivered"
    assert (lab.results(), lab.listed()) == ({"GLU": "final 5.5", "UREA": "final 4"}, {"final": ["GLU", "UREA"]})
    assert await lab.says("P UREA 4.1 09:50") == "held"  # it is final now
    (one, *_) = [one for one in site.sandbox.resources("Observation") if one["status"] == "final"]
    assert "meta" not in one or "tag" not in one["meta"]


async def test_final_is_said_of_an_order_that_is_counted_anew(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("P GLU 5.5 09:30", obr="2")
    await lab.says("U GLU - 09:30", obr="1")
    assert (lab.results(), lab.unlisted()) == ({"GLU": "final 5.5"}, [])


async def test_final_is_said_of_a_result_that_is_final(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("C GLU 5.5 09:30")
    await lab.says("U GLU - 09:30")
    assert lab.results() == {"GLU": "corrected 5.5"}


@pytest.mark.parametrize("before", ["", "X GLU - 09:30", "F UREA 4.0 09:30", "D GLU 5.5 09:30"])
async def test_final_is_said_of_nothing_that_is_known(site: RunningSite, before: str) -> None:
    lab = Lab(site, "hl7", count(1))
    if before:
        await lab.says(before)
    there = lab.results()
    assert await lab.says("U GLU - 09:40") == "NO_VALUE"
    assert lab.results() == there
    await site.retry(site.messages()[-1].id)
    assert (site.ends()[-1], lab.results()) == ("NO_VALUE", there)


async def test_final_is_said_of_a_held_result_and_tried_again_once_it_is_decided(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("P GLU 5.5 09:30")
    assert await lab.says("P GLU 6.0 08:30") == "held"
    assert await lab.says("U GLU - 09:40") == "NO_VALUE"
    ran = await site.labrelay("held", "reject", "2", "--reason", "it was mixed up", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await site.retry(3)
    assert lab.results() == {"GLU": "final 5.5"}


async def test_final_is_said_of_a_person_in_doubt(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("P GLU 5.5 09:30")
    message = [
        "MSH|^~\\&|AN|LAB|LIS|H|20260301130000||ORU^R01|U2|P|2.5.1",
        "PID|1||4711||Khan^Zara||19990505|M",
        "OBR|1||S9|GLU^Panel^L|||20260301093000|||||||||||||||20260301093000||LAB|F",
        "OBX|1|NM|GLU^GLU^L||||||||U|||20260301093000",
    ]
    await send_blocks(site.port("hl7"), ["\r".join([*message, ""]).encode()])
    await site.settled()
    assert (site.ends()[-1], lab.results()) == ("NO_VALUE", {"GLU": "preliminary 5.5"})


@pytest.mark.parametrize("channel", ["hl7", "snapshots"])
async def test_a_report_whose_only_result_is_withdrawn_stands_no_more(site: RunningSite, channel: str) -> None:
    lab = Lab(site, channel, count(1))
    await lab.says("F GLU 5.5 09:30")
    await lab.says("D GLU - 09:40")
    assert lab.listed() == {"entered-in-error": ["GLU"]}


async def test_a_report_of_which_one_result_is_withdrawn_is_corrected(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30")
    await lab.says("D GLU - 09:40")
    assert lab.listed() == {"corrected": ["GLU", "UREA"]}
    await lab.says("D UREA - 09:50")
    assert lab.listed() == {"entered-in-error": ["GLU", "UREA"]}
    await lab.says("F NA 140 10:00")
    assert lab.listed() == {"corrected": ["GLU", "NA", "UREA"]}


async def test_another_report_that_lists_the_withdrawn_result_stands_no_more(site: RunningSite) -> None:
    """An order that is counted anew (OBR-1) finds its report; in ASTM each session has a report of its own."""
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30", obr="2")
    await lab.says("D GLU - 09:40", obr="1")
    assert lab.listed() == {"entered-in-error": ["GLU"]}


async def test_a_correction_with_a_patient_finds_the_one_result_without(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", patient="")
    assert await lab.says("C GLU 6.0 09:40") == "delivered"
    assert (lab.results(), lab.unlisted()) == ({"GLU": "corrected 6"}, [])
    (one,) = lab.site.sandbox.resources("Observation")
    assert one["subject"]
    assert await lab.says("C GLU 6.5 09:50") == "delivered"
    assert (lab.results(), lab.unlisted()) == ({"GLU": "corrected 6.5"}, [])


async def test_a_correction_with_a_patient_that_may_mean_more_is_held(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30", patient="")
    await lab.says("F GLU 5.7 10:30", patient="")
    before = lab.results()
    assert await lab.says("C GLU 6.0 10:40") == "held"
    assert (lab.held(), lab.results()) == (["CORRECTS_UNKNOWN"], before)


async def test_a_correction_with_a_patient_takes_no_other_result_that_names_none(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30", patient="")
    assert await lab.says("C GLU 6.0 10:40") == "delivered"
    assert lab.results() == {"GLU": "corrected 6", "UREA": "final 4"}
    assert lab.unlisted() == []


async def test_whether_a_final_result_with_a_patient_is_the_one_without_a_person_is_asked(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", patient="")
    assert await lab.says("F GLU 6.0 09:40") == "held"
    assert (lab.held(), lab.results()) == (["SAMPLE_UNKNOWN"], {"GLU": "final 5.5"})


async def test_another_final_value_of_the_same_minute_is_said_to_be_amended(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30")
    await lab.says("F GLU 6.1 09:30")
    assert lab.results() == {"GLU": "amended 6.1"}


@pytest.mark.parametrize("failed", ["F GLU - 09:40", "X GLU - 09:40"])
async def test_a_failed_rerun_does_not_take_a_good_result_away(lab: Lab, failed: str) -> None:
    await lab.says("F GLU 5.5 09:30")
    assert await lab.says(failed) == "held"
    assert (lab.held(), lab.results()) == (["VALUE_GONE"], {"GLU": "final 5.5"})
    await lab.says("F GLU 5.7 09:50")
    assert lab.results() == {"GLU": "amended 5.7"}


async def test_results_of_two_analyzers_for_one_tube_stand_side_by_side(site: RunningSite) -> None:
    one, other = Lab(site, "hl7", count(1)), Lab(site, "snapshots", count(1))
    await one.says("F GLU 5.5 09:30")
    assert await other.says("F GLU 9.9 09:30") == "delivered"
    await one.says("C GLU 6.0 09:40")
    assert sorted(one.results()["GLU"].split(", ")) == ["corrected 6", "final 9.9"]
    assert one.unlisted() == []


async def test_a_changed_final_is_said_to_be_amended(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30")
    await lab.says("F GLU 6.1 10:30")
    assert lab.results() == {"GLU": "amended 6.1"}
    assert lab.listed() == {"amended": ["GLU"]}
    (one,) = lab.site.sandbox.resources("Observation")
    assert one["meta"]["tag"] == [{"system": "urn:labrelay:sender-status", "code": "final"}]


async def test_an_older_measurement_is_held(lab: Lab) -> None:
    await lab.says("F GLU 5.5 10:00")
    assert await lab.says("F GLU 9.9 07:00") == "held"
    assert (lab.held(), lab.results()) == (["OLDER_RESULT"], {"GLU": "final 5.5"})


async def test_in_an_outage_the_memory_behind_a_correction_does_not_land_over_it(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30")
    lab.site.sandbox.faults.down = True
    await lab.says("C GLU 6.0 09:32", wait=False)
    await lab.says("F GLU 9.9 09:30", wait=False)
    lab.site.sandbox.faults.down = False
    await lab.site.settled()
    assert lab.results() == {"GLU": "corrected 6"}


async def test_one_test_a_message_the_report_lists_all(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30")
    await lab.says("F UREA 4.0 09:31")
    await lab.says("F NA 140 09:32")
    assert lab.unlisted() == []
    if lab.channel == "hl7":
        assert lab.listed() == {"final": ["GLU", "NA", "UREA"]}


async def test_a_correction_of_one_test_does_not_take_the_others_out_of_the_report(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30")
    await lab.says("C GLU 6.0 09:40")
    assert lab.unlisted() == []
    assert lab.results() == {"GLU": "corrected 6", "UREA": "final 4"}


async def test_a_preliminary_test_makes_a_final_report_partial(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30")
    await lab.says("P UREA 4.0 09:31")
    assert lab.listed() == {"partial": ["GLU", "UREA"]}
    await lab.says("F UREA 4.1 09:40")
    assert lab.listed() == {"final": ["GLU", "UREA"]}


async def test_a_sender_of_snapshots_has_its_lists_taken_as_they_are(site: RunningSite) -> None:
    lab = Lab(site, "snapshots", count(1))
    await lab.says("F GLU 5.5 09:30")
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:31")
    assert lab.listed() == {"final": ["GLU", "UREA"]}


async def test_of_two_that_are_released_together_the_second_changes_the_report_of_the_first(site: RunningSite) -> None:
    lab = Lab(site, "astm", count(1))
    await lab.says("F GLU 5.3 10:09", "F NA 6.5 10:09")
    assert await lab.says("I GLU 12.1 10:32") == await lab.says("F GLU 13.5 10:36", "P NA 14.4 10:36") == "held"
    held = [str(one.id) for one in site.messages() if site.end_of(one.id) == "held"]
    ran = await site.labrelay("held", "release", *held, "--reason", "both are right", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    assert lab.results() == {"GLU": "amended 13.5", "NA": "preliminary 14.4"}
    assert lab.listed() == {"amended": ["GLU"], "partial": ["GLU", "NA"]}


async def test_a_correction_beside_the_result_that_it_corrects_is_held(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F K 5.5 09:30")
    assert await lab.says("F K 5.5 09:30", "C K 4.4 09:30") == "held"
    assert (lab.held(), lab.results()) == (["CORRECTS_UNKNOWN"], {"K": "final 5.5"})
    await lab.says("F NA 140 09:30")
    assert await lab.says("F NA 140 09:30", "C K 4.4 09:30") == "ECHO"
    assert lab.results() == {"K": "final 5.5", "NA": "final 140"}


async def test_nor_does_it_stand_in_front_of_that(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F K 5.5 09:30")
    assert await lab.says("C K 4.4 09:40", "F K 5.5 09:30") == "held"
    assert (lab.held(), lab.results()) == (["CORRECTS_UNKNOWN"], {"K": "final 5.5"})
    assert await lab.says("C K 4.4 09:40", "F K 5.1 09:20", order="S2") == "held"


@pytest.mark.parametrize("rest", ["F GLU 5.5 09:30", "F GLU 6.0 09:40"], ids=["the same", "another value"])
async def test_a_snapshot_that_lists_fewer_results_is_held(site: RunningSite, rest: str) -> None:
    lab = Lab(site, "snapshots", count(1))
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30")
    assert await lab.says(rest) == "held"
    assert (lab.held(), lab.results()) == (["RESULTS_GONE"], {"GLU": "final 5.5", "UREA": "final 4"})
    assert (lab.listed(), lab.unlisted()) == ({"final": ["GLU", "UREA"]}, [])
    (held,) = (await site.labrelay("held", "list", "-o", "json")).json["held"]
    assert "UREA" in held["why"]


async def test_a_person_lets_a_shorter_snapshot_go_and_the_rest_is_withdrawn(site: RunningSite) -> None:
    lab = Lab(site, "snapshots", count(1))
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30")
    await lab.says("F GLU 5.5 09:30")
    ran = await site.labrelay("held", "release", "2", "--reason", "urea was of another tube", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    assert lab.results() == {"GLU": "final 5.5", "UREA": "entered-in-error 4"}
    assert lab.listed() == {"amended": ["GLU"]}


async def test_a_rejected_snapshot_takes_nothing_away(site: RunningSite) -> None:
    lab = Lab(site, "snapshots", count(1))
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30")
    await lab.says("F GLU 6.0 09:40")
    ran = await site.labrelay("held", "reject", "2", "--reason", "only a part", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    assert await lab.says("F GLU 6.1 09:50", "F UREA 4.0 09:30") == "delivered"
    assert (lab.results(), lab.unlisted()) == ({"GLU": "amended 6.1", "UREA": "final 4"}, [])


async def test_the_memory_of_a_shorter_snapshot_is_an_echo(site: RunningSite) -> None:
    lab = Lab(site, "snapshots", count(1))
    await lab.says("F GLU 5.5 09:30")
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:31")
    assert await lab.says("F GLU 5.5 09:30") == "ECHO"
    assert (lab.listed(), lab.unlisted()) == ({"final": ["GLU", "UREA"]}, [])


async def test_what_was_refused_is_not_listed_and_comes_into_the_list_by_a_retry(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30")
    site.sandbox.faults.next = ["422"]
    assert await lab.says("F UREA 4.0 09:31") == "REFUSED"
    await lab.says("F NA 140 09:32")
    assert lab.listed() == {"final": ["GLU", "NA"]}
    await site.retry(2)
    assert lab.listed() == {"final": ["GLU", "NA", "UREA"]}


async def test_a_correction_finds_its_result_though_the_order_is_counted_anew(site: RunningSite) -> None:
    """OBR-1 (the place of the order in the message) is part of the key; a correction alone has 1."""
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30", obr="2")
    await lab.says("C GLU 6.0 09:40", obr="1")
    assert (lab.results(), lab.unlisted()) == ({"GLU": "corrected 6"}, [])


async def test_a_correction_on_the_next_day_takes_the_place_of_the_first_result(lab: Lab) -> None:
    await lab.says("F GLU 5.5 23:30", "F NA 140 23:30", day="01")
    await lab.says("C GLU 6.0 07:30", day="02")
    assert (lab.results(), lab.unlisted()) == ({"GLU": "corrected 6", "NA": "final 140"}, [])


async def test_the_next_days_order_of_the_same_number_is_another_one(lab: Lab) -> None:
    await lab.says("F GLU 5.5 23:30", day="01")
    await lab.says("F GLU 6.0 07:30", day="02")
    assert lab.results() == {"GLU": "final 5.5, final 6"}


async def test_a_correction_without_a_patient_finds_the_one_result(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", patient="")
    await lab.says("C GLU 6.0 09:40", patient="")
    assert lab.results() == {"GLU": "corrected 6"}


async def test_a_correction_without_a_patient_that_may_mean_two_is_held(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30", patient="")
    await lab.says("F GLU 5.7 10:30", patient="")
    assert await lab.says("C GLU 6.0 10:40", patient="") == "held"
    assert (lab.held(), lab.results()) == (["CORRECTS_UNKNOWN"], {"GLU": "final 5.5, final 5.7"})


async def test_a_person_may_let_a_held_result_go(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30")
    await lab.says("P GLU 1.1 09:40")
    held = str(lab.site.messages()[-1].id)
    ran = await lab.site.labrelay("held", "release", held, "--reason", "the first was mixed up", "--yes")
    assert ran.code == ExitCode.OK
    await lab.site.settled()
    assert lab.results() == {"GLU": "preliminary 1.1"}


async def test_of_two_held_finals_that_a_person_lets_go_the_second_is_said_to_be_amended(lab: Lab) -> None:
    """Both were held for another result of their messages; when the second came, no receiver had the first."""
    await lab.says("F GLU 5.5 09:30")
    assert await lab.says("P GLU 1.1 09:40", "F NA 140 09:40") == "held"
    assert await lab.says("P GLU 1.2 09:50", "F NA 150 09:50") == "held"
    ran = await lab.site.labrelay("held", "release", "--all", "--reason", "the first was mixed up", "--yes")
    assert ran.code == ExitCode.OK
    await lab.site.settled()
    assert lab.results() == {"GLU": "preliminary 1.2", "NA": "amended 150"}
    assert lab.unlisted() == []


async def test_a_person_reads_why_it_is_held(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30")
    await lab.says("P GLU 1.1 09:40")
    ran = await lab.site.labrelay("held", "list", "--code", "STATUS_BACK")
    assert "preliminary after final (GLU)" in ran.out


# -- once more what a person has called wrong ------------------------------------------------------------------------


async def test_bytes_that_a_person_has_dismissed_come_again_and_are_held(lab: Lab) -> None:
    lab.site.sandbox.faults.refuse = frozenset({"4711"})
    assert await lab.says("F GLU 9.9 09:30") == "REFUSED"
    first = str(lab.site.messages()[0].id)
    ran = await lab.site.labrelay("dlq", "dismiss", first, "--reason", "wrong tube", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    lab.site.sandbox.faults.refuse = frozenset()

    lab.control_ids = count(1)  # the same bytes
    assert await lab.says("F GLU 9.9 09:30") == "held"
    assert (lab.held(), lab.results()) == (["REJECTED_BEFORE"], {})
    listed = (await lab.site.labrelay("held", "list", "-o", "json")).json["held"]
    assert f"message {first}," in listed[0]["why"]

    ran = await lab.site.labrelay(
        "held", "release", str(listed[0]["message"]), "--reason", "the tube was right", "--yes"
    )
    assert ran.code == ExitCode.OK, ran.err
    await lab.site.settled()
    assert lab.results() == {"GLU": "final 9.9"}
    await lab.says("F GLU 6.0 10:30")
    assert (lab.held(), lab.results()) == ([], {"GLU": "amended 6"})


async def test_what_is_called_sent_before_and_differs_is_held(site: RunningSite) -> None:
    lab = Lab(site, "astm", count(1))  # HL7 v2 has no status for it
    assert await lab.says("R GLU 5.5 09:30") == "delivered"
    assert await lab.says("R GLU 5.5 09:30") == "ECHO"
    assert await lab.says("R GLU 6.6 09:40") == "held"
    assert (lab.held(), lab.results()) == (["STATUS_BACK"], {"GLU": "final 5.5"})
    assert await lab.says("F GLU 5.7 09:50") == "delivered"
    assert lab.results() == {"GLU": "amended 5.7"}
