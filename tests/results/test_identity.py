"""No patient's result ever takes another's place, whatever analyzers do with their numbers; a correction takes its own.

Each test plays a day in a laboratory against a running site and looks at what the server holds in the evening.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from adapters.codecs.astm.sender import frames_of
from engine.commands.shared.output import ExitCode
from engine.model.process.clock import ManualClock
from tests.support.running import Json, RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks, send_raw, session
from tests.support.waiting import until

MONDAY, TUESDAY = "20260302", "20260303"
MORNING, LATER, EVENING = "0915", "1140", "1730"
NUMBERS = {"patient_system": "urn:citylab:patient", "specimen_system": "urn:citylab:specimen"}


@dataclass
class Result:
    """One result as an analyzer sends it; ``at`` is its local time, to the minute or second."""

    patient: str = "MR-1"
    number: str = "12"
    at: str = MONDAY + MORNING
    value: str = "14.8"
    status: str = "F"
    name: str = ""
    code: str = "HGB"


@dataclass
class Analyzer:
    """An analyzer on one channel of the running site.

    Attributes:
        sent: what it sent, message by message.
    """

    site: RunningSite
    channel: str
    protocol: str
    sent: list[bytes] = field(default_factory=list)

    def message(self, result: Result) -> bytes:
        return hl7(result, len(self.sent) + 1) if self.protocol == "hl7" else e1394(result)

    async def send(self, *results: Result) -> list[int]:
        """Send each result in a message of its own, and wait until all is done. The numbers of the messages."""
        before = len(self.site.messages(self.channel))
        for result in results:
            await self.put_on_the_line(self.message(result))
        await self.site.settled()
        return [view.id for view in self.site.messages(self.channel)[before:]]

    async def put_on_the_line(self, message: bytes) -> None:
        self.sent.append(message)
        port = self.site.port(self.channel)
        if self.protocol == "hl7":
            (answer,) = await send_blocks(port, [message])
            assert lines(answer)["MSA"][1] == "AA"
            return
        played = await AstmAnalyzer(port).play(session(b"".join(frames_of(message, 240, "record"))))
        assert not played.gave_up
        await until(lambda: not self.site.app.parts.sources[self.channel].channel.connections)


def hl7(result: Result, number: int) -> bytes:
    at = result.at
    patient = f"{result.patient}^^^CITYLAB^MR" if result.patient else ""
    return (
        f"MSH|^~\\&|XN|CITYLAB|||{at or MONDAY}||ORU^R01|M{number}|P|2.5\r"
        f"PID|1||{patient}||{result.name}\r"
        f"OBR|1||{result.number}|CBC^Blood count^99L|||{at}||||||||||||||||||{result.status}\r"
        f"OBX|1|NM|{result.code}^Haemoglobin^99L||{result.value}|g/dL|12.0-17.5|N|||{result.status}|||{at}\r"
    ).encode()


def e1394(result: Result) -> bytes:
    return (
        "H|\\^&|||XP-100\r"
        f"P|1|{result.patient}|||{result.name}\r"
        f"O|1|{result.number}||^^^CBC|||||||N||||||||||||||{result.status}\r"
        f"R|1|^^^^{result.code}|{result.value}|g/dL||N||{result.status}||||{result.at}\r"
        "L|1|N\r"
    ).encode()


def two_patients() -> bytes:
    """One E1394 message with two patients, both under number 12."""
    head, *records, end = e1394(Result("MR-1")).splitlines(keepends=True)
    return b"".join([head, *records, *e1394(Result("MR-2", value="9.9")).splitlines(keepends=True)[1:-1], end])


@dataclass(frozen=True)
class Held:
    """One Observation on the server: whose, which value, in which version and status."""

    patient: str
    value: str
    version: int
    status: str


def held(site: RunningSite) -> list[Held]:
    """What the server has, by patient and value."""

    def read(observation: Json) -> Held:
        reference = observation.get("subject", {}).get("reference", "")
        patient = site.sandbox.read("Patient", reference.removeprefix("Patient/")) if reference else None
        number = "" if patient is None else patient.get("identifier", [{"value": "?"}])[0]["value"]
        value, version = observation["valueQuantity"]["value"], int(observation["meta"]["versionId"])
        return Held(number, f"{value:.1f}", version, observation["status"])

    return sorted(map(read, site.sandbox.resources("Observation")), key=lambda one: (one.patient, one.value))


def first(*pairs: tuple[str, str]) -> list[Held]:
    """Results that were written once: (patient, value)."""
    return [Held(patient, value, 1, "final") for patient, value in sorted(pairs)]


CHANNELS = {
    "hl7": hl7_channel(settings=NUMBERS),
    "astm": astm_channel(settings=NUMBERS),
    "hl7-unique": hl7_channel(settings=NUMBERS, specimen_ids="unique"),
    "astm-unique": astm_channel(settings=NUMBERS, specimen_ids="unique"),
}


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as site:
        yield site


@pytest.fixture(params=["hl7", "astm"])
def analyzer(site: RunningSite, request: pytest.FixtureRequest) -> Analyzer:
    return Analyzer(site, request.param, request.param)


@pytest.fixture(params=["hl7", "astm"])
def unique(site: RunningSite, request: pytest.FixtureRequest) -> Analyzer:
    """An analyzer whose channel says that a number is never used twice."""
    return Analyzer(site, f"{request.param}-unique", request.param)


# -- numbers that begin anew ---------------------------------------------------------------------------------------


async def test_a_counter_that_begins_anew_each_day_replaces_nothing(site: RunningSite, analyzer: Analyzer) -> None:
    monday = [Result(f"MR-{n}", str(n), MONDAY + MORNING, f"1{n}.0") for n in (1, 2, 3)]
    tuesday = [Result(f"MR-{n + 3}", str(n), TUESDAY + MORNING, f"1{n}.5") for n in (1, 2, 3)]
    await analyzer.send(*monday, *tuesday)

    assert site.ends() == ["delivered"] * 6
    assert held(site) == first(*((result.patient, result.value) for result in monday + tuesday))
    assert site.sandbox.count("Specimen") == site.sandbox.count("DiagnosticReport") == 6


async def test_the_day_begins_at_midnight_of_the_analyzer(site: RunningSite, analyzer: Analyzer) -> None:
    """Both are the same day in UTC: 23:50 and 00:10 in India."""
    await analyzer.send(Result("MR-1", at=MONDAY + "2350"), Result("MR-2", at=TUESDAY + "0010"))

    assert site.ends() == ["delivered"] * 2
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "14.8"))


async def test_one_number_for_two_patients_on_one_day_needs_a_person(site: RunningSite, analyzer: Analyzer) -> None:
    _, second = await analyzer.send(Result("MR-1", value="14.8"), Result("MR-2", value="9.9", at=MONDAY + LATER))

    assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]
    assert held(site) == first(("MR-1", "14.8"))

    assert (await site.retry(second))["processed"] == 1
    assert site.ends() == ["delivered", "delivered"]
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "9.9"))


async def test_once_accepted_both_patients_are_corrected_without_another_look(
    site: RunningSite, analyzer: Analyzer
) -> None:
    _, second = await analyzer.send(Result("MR-1"), Result("MR-2", value="9.9"))
    await site.retry(second)
    await analyzer.send(Result("MR-1", value="13.2", status="C"), Result("MR-2", value="9.5", status="C"))
    await analyzer.send(Result("MR-3", value="8.8"))

    assert site.ends() == ["delivered"] * 4 + ["IDENTITY_CONFLICT"]
    assert held(site) == [Held("MR-1", "13.2", 2, "corrected"), Held("MR-2", "9.5", 2, "corrected")]


async def test_one_patient_number_for_two_persons_never_overwrites(site: RunningSite, analyzer: Analyzer) -> None:
    """An operator types 1 for each patient."""
    doe, roe = "Doe^Jane||19800412", "Roe^Ann||19910530"
    await analyzer.send(Result("1", name=doe), Result("1", name=roe, value="9.9"))
    assert site.ends() == ["delivered", "held"]
    assert held(site) == first(("1", "14.8"))

    await analyzer.send(Result("1", name="Miller^Jane||19800412", value="13.2", status="C"))
    assert held(site) == [Held("1", "13.2", 2, "corrected")]


async def test_a_patient_counter_that_begins_anew_puts_nothing_on_another_patient(
    site: RunningSite, analyzer: Analyzer
) -> None:
    """Number 1 of Tuesday is another person than number 1 of Monday; the server would find Monday's."""
    doe, roe = "Doe^Jane||19800412", "Roe^Ann||19910530"
    other = Result("1", number="13", at=TUESDAY + MORNING, name=roe, value="9.9")
    _, second = await analyzer.send(Result("1", name=doe), other)
    assert site.ends() == ["delivered", "held"]
    assert held(site) == first(("1", "14.8"))

    # A person has looked: it is one patient, who was registered anew.
    ran = await site.labrelay("held", "answer", str(second), "same", "--reason", "registered anew", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    assert held(site) == first(("1", "14.8"), ("1", "9.9"))
    assert site.sandbox.count("Patient") == 1
    await analyzer.send(Result("1", number="14", at=TUESDAY + MORNING, name=roe, value="10.1"))
    assert site.ends() == ["delivered"] * 3


async def test_a_new_name_or_a_corrected_birth_date_is_the_same_patient(site: RunningSite, analyzer: Analyzer) -> None:
    names = ("Doe^Jane||19800412", "Miller^Jane||19800412", "Miller^Jane||19800421")
    await analyzer.send(*(Result("MR-9", number=str(n), name=name) for n, name in enumerate(names)))
    assert site.ends() == ["delivered"] * 3


async def test_two_patients_under_one_number_in_one_message_stand_side_by_side(site: RunningSite) -> None:
    await Analyzer(site, "astm", "astm").put_on_the_line(two_patients())
    await site.settled()

    assert site.ends() == ["delivered"]
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "9.9"))
    assert site.sandbox.count("DiagnosticReport") == site.sandbox.count("Specimen") == 2


async def test_only_who_names_the_letters_accepts_that_a_number_has_two_patients(
    site: RunningSite, analyzer: Analyzer
) -> None:
    _, second = await analyzer.send(Result("MR-1"), Result("MR-2"))

    ran = await site.labrelay("dlq", "retry", "--channel", analyzer.channel, "--yes", "-o", "json")
    await site.settled()
    assert ran.json["done"]["still_dead"] == 1
    assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]

    ran = await site.labrelay("dlq", "retry", "--code", "IDENTITY_CONFLICT", "--yes")
    assert ran.code == ExitCode.REFUSED
    assert "name them" in ran.err
    assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]

    await site.retry(second)
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "14.8"))


async def test_a_retry_by_number_accepts_no_conflict_that_shows_only_now(tmp_path: Path) -> None:
    """A letter that is dead for another reason has shown no person the other patient."""
    async with running_site(tmp_path, {"hl7": hl7_channel(settings=NUMBERS)}) as site:
        analyzer = Analyzer(site, "hl7", "hl7")
        await analyzer.send(Result("MR-1"))
        path = site.folder / "channels/hl7.yaml"
        whole = path.read_text(encoding="utf-8")
        strict = {**yaml.safe_load(whole), "settings": {**NUMBERS, "on_missing": "dead"}}
        path.write_text(yaml.safe_dump(strict), encoding="utf-8")
        await site.app.reload()
        (second,) = await analyzer.send(Result("MR-2", value="9.9"))
        assert site.ends() == ["delivered", "UNMAPPED_CODE"]

        path.write_text(whole, encoding="utf-8")
        await site.app.reload()
        assert (await site.retry(second))["still_dead"] == 1
        assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]
        assert held(site) == first(("MR-1", "14.8"))

        assert (await site.retry(second))["processed"] == 1, "once a person has seen it"
        assert held(site) == first(("MR-1", "14.8"), ("MR-2", "9.9"))


async def test_a_dismissed_message_keeps_no_number(site: RunningSite, analyzer: Analyzer) -> None:
    site.sandbox.faults.next = ["422"]
    _, second = await analyzer.send(Result("MR-1"), Result("MR-2"))
    assert site.ends() == ["REFUSED", "IDENTITY_CONFLICT"]

    ran = await site.labrelay("dlq", "dismiss", str(second), "--reason", "wrong tube", "--yes")
    assert ran.code == 0
    await analyzer.send(Result("MR-1", value="13.1"))
    assert site.ends() == ["REFUSED", "IDENTITY_CONFLICT", "delivered"]
    assert held(site) == first(("MR-1", "13.1"))


async def test_without_a_number_two_patients_of_one_day_are_no_conflict(site: RunningSite, analyzer: Analyzer) -> None:
    await analyzer.send(Result("MR-1", number=""), Result("MR-2", number="", value="9.9"))

    assert site.ends() == ["delivered"] * 2
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "9.9"))


async def test_without_any_time_the_day_of_receipt_counts(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 3, 2, 3, 0, tzinfo=UTC))
    async with running_site(tmp_path, {"astm": astm_channel(settings=NUMBERS)}, clock=clock) as site:
        analyzer = Analyzer(site, "astm", "astm")
        await analyzer.send(Result("MR-1", at=""), Result("MR-2", at="", value="9.9"))
        clock.advance(86_400)
        await analyzer.send(Result("MR-3", at="", value="8.8"), Result("MR-1", at="", value="13.3"))

        assert site.ends() == ["delivered", "IDENTITY_CONFLICT", "delivered", "IDENTITY_CONFLICT"]
        assert held(site) == first(("MR-1", "14.8"), ("MR-3", "8.8"))


# -- nobody is named -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "times",
    [
        pytest.param((MONDAY + "091500", TUESDAY + "091500"), id="two days"),
        pytest.param((MONDAY + "091500", MONDAY + "091501"), id="two seconds"),
        pytest.param((MONDAY + "0915", MONDAY + "0915"), id="one minute"),
        pytest.param((MONDAY, MONDAY), id="one day and no time"),
        pytest.param(("", ""), id="no time at all"),
    ],
)
async def test_one_number_without_a_patient_is_two_results(
    site: RunningSite, analyzer: Analyzer, times: tuple[str, str]
) -> None:
    await analyzer.send(*(Result("", at=at, value=value) for at, value in zip(times, ("14.8", "9.9"), strict=True)))

    assert site.ends() == ["delivered"] * 2
    assert [(one.value, one.version) for one in held(site)] == [("14.8", 1), ("9.9", 1)]


async def test_people_known_by_name_alone_are_never_taken_for_each_other(site: RunningSite, analyzer: Analyzer) -> None:
    await analyzer.send(Result("", name="Rao^Meera"), Result("", name="Rao^Asha", value="9.9", at=TUESDAY + MORNING))

    assert site.ends() == ["delivered"] * 2
    assert [one.version for one in held(site)] == [1, 1]
    assert site.sandbox.count("Patient") == 2


async def test_whether_a_result_of_nobody_is_that_of_somebody_a_person_is_asked(
    site: RunningSite, analyzer: Analyzer
) -> None:
    await analyzer.send(Result("", value="9.9"), Result("MR-1"))

    assert site.ends() == ["delivered", "held"]
    assert held(site) == [Held("", "9.9", 1, "final")]


# -- corrections and older results ---------------------------------------------------------------------------------


async def test_a_correction_is_a_new_version_of_the_same_result(site: RunningSite, analyzer: Analyzer) -> None:
    await analyzer.send(Result(), Result(value="13.2", status="C"))

    assert site.ends() == ["delivered"] * 2
    assert held(site) == [Held("MR-1", "13.2", 2, "corrected")]
    assert site.sandbox.count("DiagnosticReport") == 1


async def test_a_session_with_other_tests_of_an_order_takes_nothing_out_of_its_report(site: RunningSite) -> None:
    """A rerun of one test brings only that; what the report of the whole count says is its new result as well."""
    analyzer = Analyzer(site, "astm", "astm")
    whole = e1394(Result()).replace(b"L|1|N", b"R|2|^^^^PLT|250|10*9/L||N||F||||202603020915\rL|1|N")
    for message in (whole, e1394(Result(value="13.9"))):
        await analyzer.put_on_the_line(message)
    await site.settled()
    reports = sorted(len(report["result"]) for report in site.sandbox.resources("DiagnosticReport"))
    assert reports == [1, 2]
    assert held(site) == [Held("MR-1", "13.9", 2, "amended"), Held("MR-1", "250.0", 1, "final")]


async def test_a_late_session_with_other_tests_is_no_older_version(site: RunningSite, analyzer: Analyzer) -> None:
    """The first session was dead when the second was delivered; once it is tried again, its results arrive too."""
    site.sandbox.faults.next = ["422"]
    early, _ = await analyzer.send(Result(), Result(code="PLT", value="250"))
    assert site.ends() == ["REFUSED", "delivered"]
    assert (await site.retry(early))["requeued"] == 1
    assert site.ends() == ["delivered"] * 2
    assert held(site) == first(("MR-1", "14.8"), ("MR-1", "250.0"))


async def test_a_rerun_is_a_new_version_of_the_same_result(site: RunningSite, analyzer: Analyzer) -> None:
    await analyzer.send(Result(), Result(value="13.2", at=MONDAY + LATER))

    assert held(site) == [Held("MR-1", "13.2", 2, "amended")]


async def test_an_older_result_never_overwrites_a_correction(site: RunningSite, analyzer: Analyzer) -> None:
    site.sandbox.faults.next = ["422"]
    older, _ = await analyzer.send(Result(), Result(value="13.2", status="C"))
    assert site.ends() == ["REFUSED", "delivered"]

    assert (await site.retry(older))["requeued"] == 1
    assert site.ends() == ["superseded", "delivered"]
    ran = await site.labrelay("replay", str(older), "--reason", "looked at", "--yes")
    assert ran.code == ExitCode.FAILED, "what was superseded is left out"
    assert held(site) == [Held("MR-1", "13.2", 1, "corrected")]


async def test_a_replay_of_the_newest_result_is_a_repeat_and_of_an_older_one_nothing(
    site: RunningSite, analyzer: Analyzer
) -> None:
    older, newer = await analyzer.send(Result(), Result(value="13.2", status="C"))
    await site.replay(older, newer)

    assert [delivery.state for delivery in site.deliveries(older)] == ["delivered", "superseded"]
    assert [delivery.state for delivery in site.deliveries(newer)] == ["delivered", "delivered"]
    assert len({delivery.key for delivery in site.deliveries(newer)}) == 1
    assert held(site) == [Held("MR-1", "13.2", 3, "corrected")]


async def test_another_patients_newer_result_supersedes_nothing(site: RunningSite, analyzer: Analyzer) -> None:
    """One number, two patients, accepted by a person; then the first one's dead letter is retried."""
    site.sandbox.faults.next = ["422"]
    first_id, second_id = await analyzer.send(Result("MR-1"), Result("MR-2", value="9.9"))
    await site.retry(second_id)
    assert site.ends() == ["REFUSED", "delivered"]

    await site.retry(first_id)
    assert site.ends() == ["delivered", "delivered"]
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "9.9"))


async def test_a_later_result_of_nobody_supersedes_nothing(site: RunningSite, analyzer: Analyzer) -> None:
    """Without a patient the time says which result it is: another time is another result, maybe of somebody else."""
    site.sandbox.faults.next = ["422"]
    older, _ = await analyzer.send(Result("", at=MONDAY + "091500"), Result("", at=MONDAY + "114000", value="9.9"))
    assert site.ends() == ["REFUSED", "delivered"]

    await site.retry(older)
    assert site.ends() == ["delivered", "delivered"]
    assert [(one.value, one.version) for one in held(site)] == [("14.8", 1), ("9.9", 1)]


async def test_an_older_result_that_is_tried_again_never_overwrites_a_correction_where_no_order_is_kept(
    tmp_path: Path,
) -> None:
    clock = ManualClock(datetime(2026, 3, 2, 6, 0, tzinfo=UTC))  # results are received after they were measured
    channel = astm_channel(settings=NUMBERS)
    channel["routes"][0]["order"] = "none"
    async with running_site(tmp_path, {"astm": channel}, clock=clock) as site:
        site.sandbox.faults.next = ["503"]
        analyzer = Analyzer(site, "astm", "astm")
        await analyzer.put_on_the_line(analyzer.message(Result()))
        await until(lambda: not site.sandbox.faults.next)
        await analyzer.put_on_the_line(analyzer.message(Result(value="13.2", status="C")))
        await until(lambda: site.ends()[1:] == ["delivered"])
        clock.advance(60)
        site.app.parts.delivery_workers["lab-fhir"].wake()
        await site.settled()

        assert site.ends() == ["superseded", "delivered"]
        assert held(site) == [Held("MR-1", "13.2", 1, "corrected")]


# -- the same bytes again ------------------------------------------------------------------------------------------


async def test_bytes_sent_again_because_the_answer_was_lost_are_delivered_once(
    site: RunningSite, analyzer: Analyzer
) -> None:
    for number, at in enumerate((MORNING, LATER)):  # the channel is known by then
        await analyzer.send(Result(patient=f"MR-{number + 7}", number=f"{number + 7}", at=MONDAY + at))
    message = analyzer.message(Result(at=MONDAY + EVENING))
    for _ in range(3):
        await analyzer.put_on_the_line(message)
    await site.settled()

    assert site.ends() == ["delivered"] * 3 + ["REPEAT", "REPEAT"]
    assert held(site) == first(("MR-1", "14.8"), ("MR-7", "14.8"), ("MR-8", "14.8"))
    assert list(site.sandbox.deliveries().values()) == [1, 1, 1]


async def test_bytes_of_which_nothing_was_delivered_are_no_repeat(site: RunningSite, analyzer: Analyzer) -> None:
    """The server refuses, a person closes the letter, the cause is mended, and the analyzer sends its result again."""
    site.sandbox.faults.next = ["422"]
    message = analyzer.message(Result())
    await analyzer.put_on_the_line(message)
    await site.settled()
    (view,) = site.messages()
    assert site.end_of(view.id) == "REFUSED"

    ran = await site.labrelay("dlq", "dismiss", str(view.id), "--reason", "will be sent again", "--yes")
    assert ran.code == 0
    await analyzer.put_on_the_line(message)
    await site.settled()
    assert site.ends() == ["dismissed", "held"], "a person has decided against these bytes"
    ran = await site.labrelay("held", "release", str(site.messages()[-1].id), "--reason", "mended", "--yes")
    assert ran.code == 0
    await site.settled()
    assert held(site) == first(("MR-1", "14.8"))


async def test_a_letter_retried_after_its_bytes_came_again_is_superseded(site: RunningSite, analyzer: Analyzer) -> None:
    site.sandbox.faults.next = ["422"]
    message = analyzer.message(Result())
    for _ in range(2):
        await analyzer.put_on_the_line(message)
        await site.settled()
    assert site.ends() == ["REFUSED", "delivered"]

    await site.retry(site.messages()[0].id)
    assert site.ends() == ["superseded", "delivered"]
    assert held(site) == first(("MR-1", "14.8"))


async def test_a_sender_that_hangs_up_before_its_answer_and_sends_again_is_delivered_once(site: RunningSite) -> None:
    message = hl7(Result(), 1)
    wire = b"\x0b" + message + b"\x1c\r"
    _, writer = await asyncio.open_connection("127.0.0.1", site.port("hl7"))
    writer.write(wire)
    await writer.drain()
    writer.transport.abort()
    await until(lambda: len(site.messages("hl7")) == 1)
    answer = await send_raw(site.port("hl7"), wire)
    await site.settled()

    assert b"MSA|AA|M1\r" in answer
    assert site.ends() == ["delivered", "REPEAT"]
    assert held(site) == first(("MR-1", "14.8"))


async def test_a_last_frame_sent_again_is_one_message(site: RunningSite) -> None:
    """The ACK of the frame with the L record was lost: the analyzer repeats that frame, then ends."""
    frames = frames_of(e1394(Result()), 240, "record")
    played = await AstmAnalyzer(site.port("astm")).play(session(b"".join([*frames, frames[-1]])))
    await until(lambda: bool(site.messages("astm")))
    await site.settled()

    assert played.acknowledged == len(frames) + 1
    assert site.ends() == ["delivered"]


async def test_a_document_whose_answer_was_lost_is_sent_again_and_kept_once(
    site: RunningSite, analyzer: Analyzer
) -> None:
    site.sandbox.faults.next = ["lost"]
    await analyzer.send(Result())

    assert list(site.sandbox.deliveries().values()) == [2]
    assert [(one.patient, one.value) for one in held(site)] == [("MR-1", "14.8")]
    assert site.sandbox.count("Patient") == 1


async def test_one_control_id_with_other_bytes_is_delivered_and_flagged(site: RunningSite) -> None:
    for result in (Result("MR-1", "1"), Result("MR-2", "2", value="9.9")):
        await send_blocks(site.port("hl7"), [hl7(result, 7)])
    await site.settled()

    assert site.ends() == ["delivered"] * 2
    assert [view.same_id_other_bytes for view in site.messages()] == [False, True]
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "9.9"))


# -- two channels --------------------------------------------------------------------------------------------------


async def test_two_channels_that_speak_of_one_patient_share_the_patient(tmp_path: Path) -> None:
    channels = {"hl7": hl7_channel(settings=NUMBERS), "astm": astm_channel(settings=NUMBERS)}
    async with running_site(tmp_path, channels, namespaces={"CITYLAB": "urn:citylab:patient"}) as site:
        analyzers = [Analyzer(site, "hl7", "hl7"), Analyzer(site, "astm", "astm")]
        await asyncio.gather(*(
            one.put_on_the_line(one.message(Result(number=number, value=value, code=code)))
            for one, number, value, code in zip(analyzers, "12", ("14.8", "9.9"), ("HGB", "GLU"), strict=True)
        ))  # fmt: skip
        await site.settled()

        assert site.ends() == ["delivered"] * 2
        assert site.sandbox.count("Patient") == 1
        assert held(site) == first(("MR-1", "14.8"), ("MR-1", "9.9"))


async def test_one_number_on_two_channels_is_two_specimens(site: RunningSite) -> None:
    await Analyzer(site, "hl7", "hl7").send(Result("MR-1"))
    await Analyzer(site, "astm", "astm").send(Result("MR-2", value="9.9"))

    assert site.ends() == ["delivered"] * 2
    assert held(site) == first(("MR-1", "14.8"), ("MR-2", "9.9"))


# -- numbers that are never used twice -----------------------------------------------------------------------------


async def test_a_unique_number_is_one_result_whatever_the_day(site: RunningSite, unique: Analyzer) -> None:
    await unique.send(Result(), Result(at=TUESDAY + MORNING, value="13.2"))

    assert held(site) == [Held("MR-1", "13.2", 2, "amended")]


async def test_a_unique_number_for_another_patient_is_a_conflict_whatever_the_day(
    site: RunningSite, unique: Analyzer
) -> None:
    _, second = await unique.send(Result("MR-1"), Result("MR-2", at=TUESDAY + MORNING, value="9.9"))

    assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]
    # Here nobody can accept it: one result would take the other's place.
    assert (await site.retry(second))["still_dead"] == 1
    assert held(site) == first(("MR-1", "14.8"))


@pytest.mark.parametrize("patients", [("MR-1", "MR-2"), ("", "")])
async def test_a_unique_number_that_is_absent_is_not_unique(
    site: RunningSite, unique: Analyzer, patients: tuple[str, str]
) -> None:
    await unique.send(
        *(Result(who, number="", value=value) for who, value in zip(patients, ("14.8", "9.9"), strict=True))
    )

    assert site.ends() == ["delivered"] * 2
    assert sorted((one.value, one.version) for one in held(site)) == [("14.8", 1), ("9.9", 1)]


async def test_a_unique_number_of_two_patients_in_one_message_is_a_conflict(site: RunningSite) -> None:
    await Analyzer(site, "astm-unique", "astm").put_on_the_line(two_patients())
    await site.settled()

    assert site.ends() == ["IDENTITY_CONFLICT"]


async def test_a_unique_number_is_one_of_the_whole_site(tmp_path: Path) -> None:
    """Ids of unique numbers do not hold the channel, and so a conflict is noticed between channels, too."""
    unique = astm_channel(settings=NUMBERS, specimen_ids="unique")
    async with running_site(tmp_path, {"a": unique, "b": unique}) as site:
        await Analyzer(site, "a", "astm").send(Result("MR-1"))
        await Analyzer(site, "b", "astm").send(Result("MR-2", value="9.9"))

        assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]
        assert held(site) == first(("MR-1", "14.8"))
