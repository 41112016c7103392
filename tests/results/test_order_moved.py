"""A correction moves an order to another patient: a person is asked, and the first patient's result does not stay."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks
from tests.support.waiting import until

SETTINGS = {"patient_system": "urn:x:mrn"}
CHANNELS = {
    "hl7": hl7_channel(settings=SETTINGS),
    "astm": astm_channel(settings=SETTINGS),
    "unique": hl7_channel(settings=SETTINGS, specimen_ids="unique"),
}
PEOPLE = {"4711": "Iyer^Meena||19550101|F", "4712": "Sharma^Anita||19800302|F"}
REASON = ("--reason", "the tube was labelled wrongly; asked the ward", "--yes")


class Lab:
    """An analyzer that tells results of one order, as ``F GLU 9.9 0930``, of a patient."""

    def __init__(self, site: RunningSite, channel: str) -> None:
        self.site, self.channel, self._numbers = site, channel, count(1)

    async def says(self, result: str, patient: str) -> str:
        """Send a message; how it ended."""
        status, code, value, time = result.split()
        number, at = next(self._numbers), f"20240301{time}00"
        if self.channel == "astm":
            records = (
                f"H|\\^&|{number}||AN|||||||P|1|{at}",
                f"P|1||{patient}||{PEOPLE[patient]}",
                "O|1|S1||^^^GLU|R||20240301080000||||N||||||||||||||F",
                f"R|1|^^^{code}|{value}|mmol/L||||{status}||||{at}",
                "L|1|N",
                "",
            )
            told = frames(*one_record_a_frame("\r".join(records).encode()))
            before = len(self.site.messages())
            played = await AstmAnalyzer(self.site.port("astm")).play(told)
            assert not played.gave_up
            await until(lambda: len(self.site.messages()) > before)
        else:
            block = (
                f"MSH|^~\\&|AN|LAB|LIS|H|{at}||ORU^R01|M{number}|P|2.5.1\r"
                f"PID|1||{patient}||{PEOPLE[patient]}\r"
                f"OBR|1||S1|GLU^Panel^L|||20240301080000|||||||||||||||{at}||LAB|{status}\r"
                f"OBX|1|NM|{code}^{code}^L||{value}|mmol/L|||||{status}|||{at}\r"
            ).encode()
            (answer,) = await send_blocks(self.site.port(self.channel), [block])
            assert lines(answer)["MSA"][1] == "AA"
        await self.site.settled()
        return self.site.ends()[-1]

    async def answer(self, said: str) -> ExitCode:
        """What a person says of the last message."""
        ran = await self.site.labrelay("held", "answer", str(self.site.messages()[-1].id), said, *REASON)
        await self.site.settled()
        return ExitCode(ran.code)

    def results(self) -> list[str]:
        """Whose results the receiver has: number of the patient, code, status and value of each."""
        numbers = {f"Patient/{one['id']}": one["identifier"][0]["value"]
                   for one in self.site.sandbox.resources("Patient")}  # fmt: skip
        return sorted(
            f"{numbers[one['subject']['reference']]} {one['code']['coding'][0]['code']} {one['status']}"
            f" {one['valueQuantity']['value']:g}"
            for one in self.site.sandbox.resources("Observation")
        )

    def reports(self) -> list[str]:
        """Status of each report, with how many results it lists."""
        return sorted(f"{one['status']} {len(one.get('result', ()))}"
                      for one in self.site.sandbox.resources("DiagnosticReport"))  # fmt: skip

    def unlisted(self) -> set[str]:
        every = {f"Observation/{one['id']}" for one in self.site.sandbox.resources("Observation")}
        return every - {one["reference"] for report in self.site.sandbox.resources("DiagnosticReport")
                        for one in report.get("result", ())}  # fmt: skip

    def causes(self) -> list[str]:
        return [one.cause for view in self.site.messages() for one in self.site.deliveries(view.id)
                if one.state == "held"]  # fmt: skip


@pytest.fixture(params=[False, True], ids=["small", "large"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS, large=request.param) as site:
        yield site


@pytest.fixture(params=["hl7", "astm"])
def lab(request: pytest.FixtureRequest, site: RunningSite) -> Lab:
    return Lab(site, request.param)


async def test_the_first_patients_result_is_withdrawn_with_what_takes_its_place(lab: Lab) -> None:
    await lab.says("F GLU 5.5 0930", "4711")
    assert await lab.says("C GLU 6.5 0940", "4712") == "held"
    assert (lab.causes(), lab.results()) == (["ORDER_MOVED"], ["4711 GLU final 5.5"])
    assert await lab.answer("withdraw") == ExitCode.OK
    assert lab.results() == ["4711 GLU entered-in-error 5.5", "4712 GLU corrected 6.5"]
    assert (lab.reports(), lab.unlisted()) == (["corrected 1", "entered-in-error 1"], set())


async def test_what_comes_later_of_the_first_patient_brings_nothing_back(lab: Lab) -> None:
    await lab.says("F GLU 5.5 0930", "4711")
    await lab.says("C GLU 6.5 0940", "4712")
    await lab.answer("withdraw")
    assert await lab.says("F GLU 5.5 0930", "4711") == "ECHO"
    assert await lab.says("F GLU 5.9 0950", "4711") == "held"
    assert await lab.says("C GLU 6.6 1000", "4712") == "delivered"
    assert lab.results() == ["4711 GLU entered-in-error 5.5", "4712 GLU corrected 6.6"]


async def test_other_results_of_the_order_stay_listed_and_are_asked_for_themselves(lab: Lab) -> None:
    await lab.says("F GLU 5.5 0930", "4711")
    await lab.says("F UREA 31 0931", "4711")
    await lab.says("C GLU 6.5 0940", "4712")
    await lab.answer("withdraw")
    assert lab.results() == ["4711 GLU entered-in-error 5.5", "4711 UREA final 31", "4712 GLU corrected 6.5"]
    assert lab.unlisted() == set()
    assert await lab.says("C UREA 32 0941", "4712") == "held"
    await lab.answer("withdraw")
    assert lab.results() == [
        "4711 GLU entered-in-error 5.5",
        "4711 UREA entered-in-error 31",
        "4712 GLU corrected 6.5",
        "4712 UREA corrected 32",
    ]
    assert lab.unlisted() == set()


async def test_two_patients_may_have_one_number(lab: Lab) -> None:
    await lab.says("F GLU 5.5 0930", "4711")
    await lab.says("C GLU 6.5 0940", "4712")
    assert await lab.answer("both") == ExitCode.OK
    assert lab.results() == ["4711 GLU final 5.5", "4712 GLU corrected 6.5"]


async def test_nothing_but_an_answer_sends_it(site: RunningSite) -> None:
    lab = Lab(site, "hl7")
    await lab.says("F GLU 5.5 0930", "4711")
    await lab.says("C GLU 6.5 0940", "4712")
    for said in ("same", "other"):
        assert await lab.answer(said) == ExitCode.REFUSED
    held = str(site.messages()[-1].id)
    await site.labrelay("held", "release", held, *REASON)
    await site.settled()
    assert (lab.causes(), lab.results()) == (["ORDER_MOVED"], ["4711 GLU final 5.5"])
    ran = await site.labrelay("held", "reject", held, *REASON)
    assert (ran.code, lab.causes(), lab.results()) == (ExitCode.OK, [], ["4711 GLU final 5.5"])


async def test_what_corrects_nothing_is_a_dead_letter_as_ever(lab: Lab) -> None:
    await lab.says("F GLU 5.5 0930", "4711")
    assert await lab.says("F GLU 6.5 0940", "4712") == "IDENTITY_CONFLICT"


async def test_the_result_of_a_unique_number_goes_to_the_other_patient(site: RunningSite) -> None:
    lab = Lab(site, "unique")
    await lab.says("F GLU 5.5 0930", "4711")
    assert await lab.says("C GLU 6.5 0940", "4712") == "held"
    assert await lab.answer("both") == ExitCode.REFUSED
    assert await lab.answer("withdraw") == ExitCode.OK
    assert (lab.results(), lab.unlisted()) == (["4712 GLU corrected 6.5"], set())
