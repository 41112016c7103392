"""A culture is one unit: a later report takes the place of the one before it as a whole, and says what is gone.

Sub-ids and orders are numbered anew in each report. Each history is told to a running site in three ways: HL7 v2 with
susceptibilities in orders of their own (OBR-26, OBR-29), HL7 v2 with sub-ids (OBX-4), and ASTM.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.succession.judge import judging
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks

Json = dict[str, Any]
Live = dict[str, dict[str, str]]  # organism -> antibiotic -> S, I, R

SETTINGS = {"patient_system": "urn:x:mrn", "head_codes": ["ORG"]}
CHANNELS = {
    "parents": hl7_channel(settings={"patient_system": "urn:x:mrn"}),
    "subids": hl7_channel(settings=SETTINGS),
    "astm": astm_channel(settings=SETTINGS),
}


@dataclass
class Bench:
    """Reports cultures as ``F``, ``ECO AMP=R CIP=S``, ``SAU PEN=R``: the status of all, then each isolate."""

    site: RunningSite
    channel: str
    control_ids: "count[int]" = field(default_factory=lambda: count(1))

    async def says(
        self, status: str, *isolates: str, culture: str = "C1", at: str = "09:30", also: str = "", wait: bool = True,
        first: int = 1,
    ) -> str:  # fmt: skip
        """Send a report and wait until all is quiet (or not); how it ended.

        Args:
            at: when all of it was read. also: a result of the report that is no isolate, as ``GRAM=GNR``.
            first: number of the first isolate (HL7 v2).
        """
        told = [(name, [tested.split("=") for tested in tests]) for name, *tests in map(str.split, isolates)]
        others = [one.split("=") for one in also.split()]
        number, time = next(self.control_ids), f"20260301{at.replace(':', '')}00"
        if self.channel == "astm":
            records = self._astm(number, culture, status, told, others, time)
            played = await AstmAnalyzer(self.site.port("astm")).play(frames(*one_record_a_frame(records)))
            assert not played.gave_up
        else:
            make = self._parents if self.channel == "parents" else self._subids
            (answer,) = await send_blocks(
                self.site.port(self.channel), [make(number, culture, status, told, others, time, first)]
            )
            assert lines(answer)["MSA"][1] == "AA"
        if wait:
            await self.site.settled()
        return self.site.ends()[-1] if wait else ""

    async def adds(self, *results: str, order: str = "C1", code: str = "MORE") -> str:
        """Send results of a culture alone (``C PEN=S``, without a value ``F PEN``) and wait; how it ended.

        Args:
            order, code: of OBR-3 and OBR-4; sub-ids (OBX-4) are 1.
        """
        number, at = next(self.control_ids), "20260301113000"
        told = [(status, *test.split("=")) for status, test in map(str.split, results)]
        if self.channel == "astm":
            header, patient, request = self._astm(number, order, "F", [], [], at).decode().split("\r")[:3]
            records = [header, patient, request.replace("CULT", code)]
            for row, (status, test, *flag) in enumerate(told, 1):
                records.append(f"R|{row}|^^^{test}|{'8' if flag else ''}|||{''.join(flag)}||{status}||||{at}")
            played = await AstmAnalyzer(self.site.port("astm")).play(
                frames(*one_record_a_frame("\r".join([*records, "L|1|N", ""]).encode()))
            )
            assert not played.gave_up
        else:
            segments = [*self._head(number), self._obr(1, order, code, "F")]
            for row, (status, test, *flag) in enumerate(told, 1):
                segments.append(self._obx(row, test, "8" if flag else "", status, at, "1", "".join(flag)))
            (answer,) = await send_blocks(self.site.port(self.channel), ["\r".join([*segments, ""]).encode()])
            assert lines(answer)["MSA"][1] == "AA"
        await self.site.settled()
        return self.site.ends()[-1]

    @staticmethod
    def _head(number: int) -> list[str]:
        return [
            f"MSH|^~\\&|MICRO|LAB|LIS|H|202603011200{number % 60:02}||ORU^R01|M{number}|P|2.5.1",
            "PID|1||4711||Iyer^Meena||19550101|F",
        ]

    @staticmethod
    def _obr(place: int, filler: str, code: str, status: str, result: str = "", parent: str = "") -> str:
        fields = {1: str(place), 3: filler, 4: f"{code}^{code}^L", 7: "20260227080000", 22: "20260301093000"}
        fields |= {24: "MB", 25: "C" if status == "D" else status, 26: result, 29: parent}
        return "OBR|" + "|".join(fields.get(number, "") for number in range(1, 30)).rstrip("|")

    @staticmethod
    def _obx(place: int, code: str, value: str, status: str, at: str, sub: str = "", flag: str = "") -> str:
        kind, said = ("NM", value) if value.isdigit() else ("CWE", f"{value}^{value}^L")
        return f"OBX|{place}|{kind}|{code}^{code}^L|{sub}|{said}|||{flag}|||{status}|||{at}"

    def _parents(
        self, number: int, culture: str, status: str, told: list[Any], others: list[list[str]], at: str, first: int
    ) -> bytes:
        segments = [*self._head(number), self._obr(1, culture, "CULT", status)]
        for place, (name, _) in enumerate(told, first):
            segments.append(self._obx(place, "ORG", name, status, at, sub=str(place)))
        for place, (code, value) in enumerate(others, len(told) + 1):
            segments.append(self._obx(place, code, value, status, at))
        for place, (_, tests) in enumerate(told, first):
            if tests:
                segments.append(
                    self._obr(place + 1, f"{culture}-{place}", "SUSC", status, f"ORG&ORG&L^{place}", f"^{culture}")
                )
                for row, (code, flag) in enumerate(tests, 1):
                    segments.append(self._obx(row, code, "8", status, at, flag=flag))
        return "\r".join([*segments, ""]).encode()

    def _subids(
        self, number: int, culture: str, status: str, told: list[Any], others: list[list[str]], at: str, first: int
    ) -> bytes:
        results = []
        for sub, (name, tests) in enumerate(told, first):
            results.append(("ORG", name, str(sub), ""))
            results += [(code, "8", str(sub), flag) for code, flag in tests]
        results += [(code, value, "", "") for code, value in others]
        obx = [self._obx(row, code, value, status, at, sub=sub, flag=flag)
               for row, (code, value, sub, flag) in enumerate(results, 1)]  # fmt: skip
        return "\r".join([*self._head(number), self._obr(1, culture, "CULT", status), *obx, ""]).encode()

    @staticmethod
    def _astm(number: int, culture: str, status: str, told: list[Any], others: list[list[str]], at: str) -> bytes:
        results = []
        for name, tests in told:
            results.append(("ORG", name, ""))
            results += [(code, "8", flag) for code, flag in tests]
        results = [*((code, value, "") for code, value in others), *results]
        records = [
            f"H|\\^&|{number}||MICRO|||||||P|1|202603011200{number % 60:02}",
            "P|1||4711|||Iyer^Meena||19550101|F",
            f"O|1|{culture}||^^^CULT|R||20260227080000||||N||||||||||||||{status}",
        ]
        for row, (code, value, flag) in enumerate(results, 1):
            records.append(f"R|{row}|^^^{code}|{value}|||{flag}||{status}||||{at}")
        return "\r".join([*records, "L|1|N", ""]).encode()

    def newest(self) -> str:
        """The number of the newest message."""
        return str(self.site.messages()[-1].id)

    # -- what the receiver has -----------------------------------------------------------------------------------

    def live(self) -> Live:
        """The isolates that stand, each with its susceptibilities that stand; of two of one organism both."""
        there = {f"Observation/{one['id']}": one for one in self.site.sandbox.resources("Observation")}
        found: Live = {}
        for one in there.values():
            if _code(one) == "ORG" and one["status"] != "entered-in-error":
                members = [there[member["reference"]] for member in one.get("hasMember", ())]
                name = one["valueCodeableConcept"]["text"] if "valueCodeableConcept" in one else one["valueString"]
                found[f"{name}+" if name in found else name] = {
                    _code(member): _flag(member) for member in members if member["status"] != "entered-in-error"
                }
        return found

    def by_status(self, kind: str = "Observation") -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self.site.sandbox.resources(kind):
            value = one.get("valueCodeableConcept", {}).get("text") or one.get("valueString")
            found.setdefault(one["status"], []).append(value or _code(one))
        return {status: sorted(some) for status, some in found.items()}

    def unlisted(self) -> list[str]:
        """Results that stand, in no report that stands; and what a report lists that does not stand."""
        every = {f"Observation/{one['id']}": one for one in self.site.sandbox.resources("Observation")}
        standing = {name for name, one in every.items() if one["status"] != "entered-in-error"}
        listed = {
            one["reference"]
            for report in self.site.sandbox.resources("DiagnosticReport")
            if report["status"] != "entered-in-error"
            for one in report.get("result", ())
        }
        return sorted(_code(every[name]) for name in standing ^ listed)

    def held(self) -> list[str]:
        return [
            one.cause for view in self.site.messages() for one in self.site.deliveries(view.id) if one.state == "held"
        ]


def _code(one: Json) -> str:
    code: str = one["code"]["coding"][0]["code"] if one["code"].get("coding") else one["code"]["text"]
    return code


def _flag(one: Json) -> str:
    flag = one["interpretation"][0]
    said: str = flag["coding"][0]["code"] if "coding" in flag else flag["text"]
    return said


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as site:
        yield site


@pytest.fixture(params=sorted(CHANNELS))
def bench(request: pytest.FixtureRequest, site: RunningSite) -> Bench:
    return Bench(site, request.param)


BOTH = ("ECO AMP=R CIP=S", "SAU PEN=R")
TWO: Live = {"ECO": {"AMP": "R", "CIP": "S"}, "SAU": {"PEN": "R"}}

# before | after | what stands then | what is withdrawn
TABLE: dict[str, tuple[tuple[str, ...], tuple[str, ...], Live, list[str]]] = {
    "the second alone, numbered anew": (BOTH, BOTH[1:], {"SAU": {"PEN": "R"}}, ["AMP", "CIP", "ECO"]),
    "the first alone": (BOTH, BOTH[:1], {"ECO": {"AMP": "R", "CIP": "S"}}, ["PEN", "SAU"]),
    "one more in front": (BOTH[:1], ("SAU PEN=R", BOTH[0]), TWO, []),
    "one in the place of another": (
        BOTH,
        ("SAU PEN=R", "CAL FLU=S"),
        {"SAU": {"PEN": "R"}, "CAL": {"FLU": "S"}},
        ["AMP", "CIP", "ECO"],
    ),
    "one antibiotic less": (BOTH, ("ECO AMP=R", "SAU PEN=R"), {"ECO": {"AMP": "R"}, "SAU": {"PEN": "R"}}, ["CIP"]),
    "an antibiotic more": (
        ("ECO AMP=R", "SAU PEN=R"),
        BOTH,
        TWO,
        [],
    ),
    "two of one organism, then one": (
        ("ECO AMP=R", "ECO AMP=S"),
        ("ECO AMP=S",),
        {"ECO": {"AMP": "S"}},
        ["AMP", "ECO"],
    ),
}


@pytest.mark.parametrize("row", TABLE)
async def test_a_later_report_takes_the_place_of_the_one_before_it(bench: Bench, row: str) -> None:
    before, after, live, withdrawn = TABLE[row]
    assert await bench.says("F", *before) == "delivered"
    assert await bench.says("F", *after) == "delivered"
    assert (bench.held(), bench.live(), bench.unlisted()) == ([], live, [])
    assert bench.by_status().get("entered-in-error", []) == withdrawn
    assert bench.by_status("DiagnosticReport").get("amended") or not withdrawn


async def test_what_did_not_change_is_no_amended_result(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    await bench.says("F", *BOTH[1:])
    assert bench.by_status() == {"final": ["PEN", "SAU"], "entered-in-error": ["AMP", "CIP", "ECO"]}


async def test_the_same_isolates_in_another_order_are_the_same_report(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    assert await bench.says("F", *BOTH[::-1]) == "ECHO"
    assert (bench.live(), bench.unlisted()) == (TWO, [])


async def test_the_memory_of_an_older_report_withdraws_nothing(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    await bench.says("F", "SAU PEN=R")
    await bench.says("F", "SAU PEN=R", "CAL FLU=S")
    before = bench.live()
    assert await bench.says("F", *BOTH) == "ECHO"
    assert await bench.says("F", "SAU PEN=R") == "ECHO"
    assert bench.live() == before == {"SAU": {"PEN": "R"}, "CAL": {"FLU": "S"}}


async def test_an_isolate_that_comes_back_stands_again(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    await bench.says("F", "SAU PEN=R", at="10:30")
    assert await bench.says("F", *BOTH, at="11:30") == "delivered"
    assert (bench.held(), bench.live(), bench.unlisted()) == ([], TWO, [])


async def test_what_was_seen_first_and_identified_later_is_one_isolate(bench: Bench) -> None:
    await bench.says("P", "GNR")
    assert await bench.says("F", *BOTH, at="10:30") == "delivered"
    assert (bench.live(), bench.unlisted()) == (TWO, [])
    assert set(bench.by_status()) == {"final"}


async def test_another_organism_under_the_same_number_is_said_to_be_amended(bench: Bench) -> None:
    await bench.says("F", "KPN AMP=R")
    assert await bench.says("F", "ECO AMP=S", at="10:30") == "delivered"
    assert bench.live() == {"ECO": {"AMP": "S"}}
    assert bench.by_status() == {"amended": ["AMP", "ECO"]}


@pytest.mark.parametrize("channel", ["parents", "subids"])
async def test_an_isolate_that_comes_alone_behind_another_one_withdraws_nothing(
    site: RunningSite, channel: str
) -> None:
    """It may be one more, of an instrument that sends them one by one; or the first is gone. A person knows."""
    bench = Bench(site, channel)
    await bench.says("F", BOTH[0])
    assert await bench.says("F", BOTH[1], at="10:30", first=2) == "held"
    assert (bench.held(), bench.live()) == (["RESULTS_GONE"], {"ECO": TWO["ECO"]})


async def test_where_isolates_come_one_by_one_each_has_a_report(tmp_path: Path) -> None:
    settings = {**SETTINGS, "one_by_one": "yes"}
    async with running_site(tmp_path, {"subids": hl7_channel(settings=settings)}) as site:
        bench = Bench(site, "subids")
        await bench.says("F", BOTH[0])
        assert await bench.says("F", BOTH[1], at="10:30", first=2) == "delivered"
        assert (bench.held(), bench.live(), bench.unlisted()) == ([], TWO, [])
        assert await bench.says("F", "SAU PEN=S", at="11:30", first=2) == "delivered"
        assert (bench.held(), bench.live(), bench.unlisted()) == ([], {**TWO, "SAU": {"PEN": "S"}}, [])


async def test_another_isolate_under_a_number_that_was_told_takes_the_place_of_all(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    await bench.says("F", "SAU PEN=R", at="10:30")
    assert await bench.says("F", "CAL FLU=S", at="11:30") == "delivered"
    assert (bench.held(), bench.live(), bench.unlisted()) == ([], {"CAL": {"FLU": "S"}}, [])


async def test_a_report_that_goes_back_is_held_and_withdraws_nothing(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    assert await bench.says("P", "ECO", at="10:30") == "held"
    assert (bench.held(), bench.live()) == (["STATUS_BACK"], TWO)


async def test_another_culture_of_the_patient_is_not_touched(bench: Bench) -> None:
    await bench.says("F", "ECO AMP=R", culture="C1")
    await bench.says("F", "SAU PEN=R", culture="C2")
    await bench.says("F", "SAU PEN=S", culture="C2", at="10:30")
    assert (bench.live(), bench.unlisted()) == ({"ECO": {"AMP": "R"}, "SAU": {"PEN": "S"}}, [])
    assert "entered-in-error" not in bench.by_status()


async def test_what_is_no_isolate_and_is_gone_holds_the_report(bench: Bench) -> None:
    await bench.says("F", *BOTH, also="GRAM=GNR")
    assert await bench.says("F", *BOTH, at="10:30") == "held"
    assert (bench.held(), bench.live()) == (["RESULTS_GONE"], TWO)
    ran = await bench.site.labrelay("held", "list", "-o", "json")
    assert "GRAM" in ran.json["held"][0]["why"]
    ran = await bench.site.labrelay("held", "release", bench.newest(), "--reason", "it was taken out", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await bench.site.settled()
    assert bench.by_status()["entered-in-error"] == ["GNR"]
    assert (bench.live(), bench.unlisted()) == (TWO, [])


@pytest.mark.parametrize("channel", ["parents", "subids"])
async def test_an_isolate_that_is_withdrawn_alone_takes_its_susceptibilities(site: RunningSite, channel: str) -> None:
    bench = Bench(site, channel)
    await bench.says("F", "ECO AMP=R CIP=S", "SAU PEN=R")
    assert await bench.says("D", "ECO") == "delivered"
    assert (bench.held(), bench.live()) == ([], {"SAU": {"PEN": "R"}})
    assert bench.by_status()["entered-in-error"] == ["AMP", "CIP", "ECO"]


async def test_a_correction_of_one_susceptibility_lists_no_isolate_that_is_gone(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    await bench.says("F", "SAU PEN=R")
    assert await bench.adds("C PEN=S") == "delivered"
    assert (bench.held(), bench.live(), bench.unlisted()) == ([], {"SAU": {"PEN": "S"}}, [])


async def test_a_correction_of_an_order_of_susceptibilities_lists_none_that_is_gone(site: RunningSite) -> None:
    bench = Bench(site, "parents")
    await bench.says("F", *BOTH)
    await bench.says("F", "ECO AMP=R", "SAU PEN=R")
    assert await bench.adds("C AMP=S", order="C1-1", code="SUSC") == "delivered"
    assert (bench.live(), bench.unlisted()) == ({"ECO": {"AMP": "S"}, "SAU": {"PEN": "R"}}, [])


async def test_a_report_without_susceptibilities_lists_no_isolate_that_is_gone(bench: Bench) -> None:
    """That it is a culture only the one before it shows, where nothing marks an isolate."""
    await bench.says("F", "ECO AMP=R CIP=S", "SAU")
    await bench.says("F", "ECO")
    assert (bench.held(), bench.live(), bench.unlisted()) == ([], {"ECO": {}}, [])


async def test_a_report_that_is_released_with_a_correction_lists_no_isolate_that_is_gone(bench: Bench) -> None:
    """When the correction came the new report was held; so only the send knows that it lists what is corrected."""
    await bench.says("P", *BOTH, also="GRAM=GNR")
    assert await bench.says("F", "SAU PEN=R", at="10:30") == "held"
    assert await bench.adds("C PEN=S", "F AMP") == "held"
    assert bench.held() == ["RESULTS_GONE", "SAMPLE_UNKNOWN"]
    held = [str(one.id) for one in bench.site.messages()[1:]]
    ran = await bench.site.labrelay("held", "release", *held, "--reason", "read again", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await bench.site.settled()
    assert (bench.live(), bench.unlisted()) == ({"SAU": {"PEN": "S"}}, [])


async def test_a_report_in_an_outage_takes_the_place_of_the_one_that_waits(bench: Bench) -> None:
    bench.site.sandbox.faults.down = True
    await bench.says("F", *BOTH, wait=False)
    await bench.says("F", "SAU PEN=R", wait=False)
    bench.site.sandbox.faults.down = False
    await bench.site.settled()
    assert (bench.live(), bench.unlisted()) == ({"SAU": {"PEN": "R"}}, [])


async def test_explain_tells_what_was_withdrawn(bench: Bench) -> None:
    await bench.says("F", *BOTH)
    await bench.says("F", "SAU PEN=R")
    ran = await bench.site.labrelay("messages", "show", bench.newest(), "-o", "json")
    (document,) = ran.json["decided"]
    assert sorted(test for one in document["withdrawn"] for test in one["tests"]) == ["AMP", "CIP", "ORG"]


async def test_the_process_for_large_messages_comes_to_the_same(tmp_path: Path) -> None:
    async with running_site(tmp_path, CHANNELS, large=True) as site:
        bench = Bench(site, "parents")
        await bench.says("F", *BOTH)
        await bench.says("F", "SAU PEN=R")
        assert (bench.live(), bench.unlisted()) == ({"SAU": {"PEN": "R"}}, [])
        assert bench.by_status() == {"final": ["PEN", "SAU"], "entered-in-error": ["AMP", "CIP", "ECO"]}


async def test_what_would_take_too_many_looks_is_held(site: RunningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand isolates are a million pairs; meanwhile nothing is acknowledged."""
    monkeypatch.setattr(judging, "MOST_PAIRS", 800)
    bench = Bench(site, "subids")
    assert await bench.says("F", *(f"A{number}" for number in range(30))) == "delivered"
    assert await bench.says("F", *(f"B{number}" for number in range(30)), at="09:40") == "held"
    (delivery,) = site.deliveries(site.messages()[-1].id)
    assert delivery.cause == "NOT_COMPARED"
