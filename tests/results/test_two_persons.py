"""Two people never become one Patient, with anything in the place of a patient number.

Each test plays a laboratory against a running site and looks at what the server holds in the end.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.codecs.astm.sender import frames_of
from engine.commands.shared.output import ExitCode
from engine.store.queries.letters import held_deliveries
from tests.support.running import MLLP, Json, RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks, session
from tests.support.waiting import until

CHANNELS = {"hl7": hl7_channel(), "astm": astm_channel()}  # nothing is said of their patient numbers
NUMBERS = {"patient_system": "urn:citylab:patient"}
DAY, NEXT_DAY = "20260302", "20260303"


def oru(
    control: str,
    patient: str,
    name: str,
    filler: str,
    value: str,
    *,
    day: str = DAY,
    birth: str = "",
    sex: str = "F",
    test: str = "GLU",
) -> bytes:
    at = f"{day}0915{int(control[-2:]):02}"
    return (
        f"MSH|^~\\&|AN|LAB|LIS|H|{at}||ORU^R01|{control}|P|2.5.1\r"
        f"PID|1||{patient}||{name}||{birth}|{sex}\r"
        f"OBR|1||{filler}|CHEM^Chemistry^99L|||{at}|||||||||||||||{at}||LAB|F\r"
        f"OBX|1|NM|{test}^{test}^99L||{value}|mmol/L|||||F|||{at}\r"
    ).encode()


def e1394(*records: str) -> bytes:
    return "".join(f"{record}\r" for record in ("H|\\^&|||AU-480", *records, "L|1|N")).encode()


def person(number: int, patient: str, name: str, tube: str, value: str, *, field: int = 3, day: str = DAY) -> list[str]:
    """Records of a patient with one result; the patient number stands in ``field`` of the P record."""
    numbers = {3: f"{patient}||", 4: f"|{patient}|", 5: f"||{patient}"}[field]
    return [
        f"P|{number}|{numbers}|{name}||19700101|F",
        f"O|1|{tube}||^^^GLU|||||||N||||||||||||||F",
        f"R|1|^^^GLU|{value}|mmol/L||N||F||||{day}091500",
    ]


async def send(site: RunningSite, *messages: bytes) -> None:
    """Send messages, HL7 or ASTM, one after the other, and wait until all is done."""
    for message in messages:
        if message.startswith(b"MSH"):
            (answer,) = await send_blocks(site.port("hl7"), [message])
            assert lines(answer)["MSA"][1] == "AA"
        else:
            played = await AstmAnalyzer(site.port("astm")).play(session(b"".join(frames_of(message, 240, "record"))))
            assert not played.gave_up
            await until(lambda: not site.app.parts.sources["astm"].channel.connections)
    await site.settled()


def people(site: RunningSite) -> dict[str, list[str]]:
    """Who has which values on the server: family name of the Patient, or the id of one without; '' for none."""
    found: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for observation in site.sandbox.resources("Observation"):
        reference = observation.get("subject", {}).get("reference", "")
        patient: Json = site.sandbox.read("Patient", reference.removeprefix("Patient/")) or {} if reference else {}
        name = patient.get("name", [{}])[0].get("family", reference)
        assert names.setdefault(name, reference) == reference, "two Patients with one family name"
        found.setdefault(name, []).append(f"{observation['valueQuantity']['value']}")
    return {name: sorted(values) for name, values in found.items()}


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS, patient_numbers=None) as site:
        yield site


@pytest_asyncio.fixture
async def lasting(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as site:
        yield site


def identifiers(site: RunningSite) -> set[str]:
    """The systems of all numbers that Patients on the server have."""
    return {one["system"] for patient in site.sandbox.resources("Patient") for one in patient.get("identifier", ())}


OWN = {"urn:labrelay:id"}


@pytest.mark.parametrize(
    "number", ["?", "??", "*", "_", "#", "--", "X", "XXX", "N.A.", "NOID", "NO ID", "(none)", "UNKNOW", "TEMP"]
)
async def test_what_stands_for_no_number_makes_no_two_persons_one(site: RunningSite, number: str) -> None:
    await send(
        site,
        oru("M01", f"{number}^^^LAB^MR", "ALPHA^ANU", "101", "5.5"),
        oru("M02", f"{number}^^^LAB^MR", "BETA^RAVI", "102", "22.5"),
        e1394(*person(1, number, "GAMMA^INDU", "103", "3.1", field=4)),
        e1394(*person(1, number, "DELTA^OM", "104", "9.1", field=4)),
    )

    assert people(site) == {"ALPHA": ["5.5"], "BETA": ["22.5"], "GAMMA": ["3.1"], "DELTA": ["9.1"]}


async def test_the_number_of_the_tube_in_the_place_of_the_patients_names_no_patient(site: RunningSite) -> None:
    """The operator scans the tube twice; the accession number is used again next year."""
    await send(
        site,
        oru("M01", "S17^^^LAB^MR", "ALPHA^ANU", "S17", "5.5", day="20250302"),
        oru("M02", "S17^^^LAB^MR", "BETA^RAVI", "S17", "22.5", day="20260302"),
        e1394(*person(1, "S18", "GAMMA^INDU", "S18", "3.1", day="20250302")),
        e1394(*person(1, "S18", "DELTA^OM", "S18", "9.1", day="20260302")),
    )

    assert people(site) == {"ALPHA": ["5.5"], "BETA": ["22.5"], "GAMMA": ["3.1"], "DELTA": ["9.1"]}


async def test_a_patient_record_without_a_number_does_not_inherit_the_one_before(site: RunningSite) -> None:
    nameless = person(2, "", "", "104", "9.1")
    await send(site, e1394(*person(1, "4711", "GAMMA^INDU", "103", "3.1"), "P|2", *nameless[1:]))

    assert people(site) == {"GAMMA": ["3.1"], "": ["9.1"]}


# -- counters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["1", "1^^^LAB^MR"])  # templates of analyzers fill CX.4 with a constant
async def test_a_number_of_which_nothing_is_said_names_no_patient_beyond_its_order(
    site: RunningSite, number: str
) -> None:
    await send(
        site,
        oru("M01", number, "SHARMA^ANITA", "101", "5.5"),
        oru("M02", number, "VERMA^ROHIT", "102", "22.5", day=NEXT_DAY),
        oru("M03", number, "KUMAR^ANIL", "103", "4.4", birth="19600203", sex="M"),
        oru("M04", number, "DAS^SUNITA", "104", "8.8", birth="19950817"),
        e1394(*person(1, "1", "PILLAI^ASHA", "105", "3.1")),
        e1394(*person(1, "1", "IYER^KAVYA", "106", "9.1", day=NEXT_DAY)),
    )

    assert people(site) == {
        "SHARMA": ["5.5"],
        "VERMA": ["22.5"],
        "KUMAR": ["4.4"],
        "DAS": ["8.8"],
        "PILLAI": ["3.1"],
        "IYER": ["9.1"],
    }
    assert identifiers(site) == OWN


async def test_two_people_of_one_family_name_under_a_counter_are_two(site: RunningSite) -> None:
    await send(
        site,
        oru("M01", "2", "KUMAR^ANIL", "101", "5.5", birth="19600203", sex="M"),
        oru("M02", "2", "KUMAR^SUNITA", "102", "22.5", birth="19950817"),
    )

    assert len(site.sandbox.resources("Patient")) == 2


async def test_whose_numbers_they_are_does_not_say_that_they_last(tmp_path: Path) -> None:
    """`patient_system` says whose, and MSH-4 in `namespaces` does not speak of patients."""
    settings = {"settings": {"patient_system": "urn:city:patient"}}
    channels = {"hl7": {**CHANNELS["hl7"], **settings}, "astm": {**CHANNELS["astm"], **settings}}
    async with running_site(tmp_path, channels, namespaces={"LAB": "urn:city:lab"}, patient_numbers=None) as site:
        await send(
            site,
            oru("M01", "1", "SHARMA^ANITA", "101", "5.5"),
            oru("M02", "1", "VERMA^ROHIT", "102", "22.5", day=NEXT_DAY),
            e1394(*person(1, "1", "PILLAI^ASHA", "105", "3.1")),
        )

        assert people(site) == {"SHARMA": ["5.5"], "VERMA": ["22.5"], "PILLAI": ["3.1"]}
        assert identifiers(site) == OWN


async def test_an_authority_of_the_site_says_that_its_numbers_last(tmp_path: Path) -> None:
    async with running_site(tmp_path, CHANNELS, namespaces={"HOSP": "urn:city:patient"}, patient_numbers=None) as site:
        await send(
            site,
            oru("M01", "4711^^^HOSP^MR", "SHARMA^ANITA", "101", "5.5"),
            oru("M02", "4711^^^HOSP^MR", "SHARMA^ANITA", "102", "6.5", day=NEXT_DAY),
            oru("M03", "4711^^^LAB^MR~8^^^HOSP^PI", "VERMA^ROHIT", "103", "7.5", day=NEXT_DAY, sex="M"),
        )

        assert people(site) == {"SHARMA": ["5.5", "6.5"], "VERMA": ["7.5"]}
        found = sorted(one["value"] for patient in site.sandbox.resources("Patient") for one in patient["identifier"])
        assert found == ["4711", "8"]


async def test_a_corrected_spelling_makes_no_other_patient(site: RunningSite) -> None:
    await send(
        site,
        oru("M01", "1", "CHOWDHURY^LAXMI", "101", "5.5"),
        oru("M02", "1", "CHAUDHARI^LAKSHMI", "101", "5.5"),
        e1394(*person(1, "1", "SHARMA^ANITA", "105", "3.1")),
        e1394(*person(1, "1", "SHARMA^ANEETA", "105", "3.3")),
    )

    assert people(site) == {"CHOWDHURY": ["5.5"], "SHARMA": ["3.3"]}


async def test_two_persons_under_one_order_of_a_counter_are_a_conflict(site: RunningSite) -> None:
    await send(
        site,
        oru("M01", "1", "SHARMA^ANITA", "101", "5.5"),
        oru("M02", "1", "SHARMA^SUNITA", "101", "22.5"),
        e1394(*person(1, "1", "KUMAR^ANIL", "105", "3.1")),
        e1394(*person(1, "1", "KUMAR^SUNIL", "105", "9.1")),
    )

    assert people(site) == {"SHARMA": ["5.5"], "KUMAR": ["3.1"]}


async def test_a_counter_without_an_order_number_is_known_by_its_message(site: RunningSite) -> None:
    await send(
        site,
        oru("M01", "1", "SHARMA^ANITA", "", "5.5"),
        oru("M02", "1", "VERMA^ROHIT", "", "22.5", sex="M"),
    )

    assert len(site.sandbox.resources("Patient")) == 2


# -- numbers that last -----------------------------------------------------------------------------------------------


async def answer(site: RunningSite, message: int, said: str, code: ExitCode = ExitCode.OK) -> Json:
    ran = await site.labrelay("held", "answer", str(message), said, "--reason", "compared", "--yes", "-o", "json")
    assert ran.code == code, ran.err
    await site.settled()
    done: Json = ran.json["done"]
    return done


CONFLICTS = [
    (("SHARMA^ANITA", "", "F"), ("VERMA^ROHIT", "", "M")),
    (("KUMAR^ANIL", "19600203", "M"), ("KUMAR^SUNITA", "19950817", "F")),
    (("KUMAR^ANIL", "", ""), ("KUMAR^SUNIL", "", "")),
    (("IYER^MEENA", "19550412", "F"), ("KHAN^IMRAN", "20010530", "M")),
    (("SHARMA^ANITA", "19900101", "F"), ("SHARMA^B/O ANITA", "", "F")),
]


@pytest.mark.parametrize(("one", "other"), CONFLICTS)
async def test_another_person_under_a_number_that_lasts_is_held(
    lasting: RunningSite, one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    def result(who: tuple[str, str, str], number: int, value: str) -> bytes:
        name, birth, sex = who
        return oru(f"M0{number}", "4711", name, f"10{number}", value, birth=birth, sex=sex)

    await send(lasting, result(one, 1, "5.5"), result(other, 2, "22.5"), result(one, 3, "6.6"))

    assert lasting.ends() == ["delivered", "held", "delivered"]
    assert [held.reason for held in held_deliveries(lasting.journal)] == ["IDENTITY_CONFLICT"]
    assert [f"{found['valueQuantity']['value']}" for found in lasting.sandbox.resources("Observation")] == [
        "5.5",
        "6.6",
    ]


@pytest.mark.parametrize("large", [False, True])
async def test_another_person_gets_a_patient_of_their_own_from_then_on(tmp_path: Path, large: bool) -> None:
    iyer, khan = ("IYER^MEENA", "19550412"), ("KHAN^IMRAN", "20010530")

    def result(who: tuple[str, str], number: int, value: str) -> bytes:
        return oru(f"M0{number}", "4711", who[0], f"10{number}", value, birth=who[1], sex="")

    async with running_site(tmp_path, CHANNELS, large=large) as site:
        await send(site, result(iyer, 1, "5.5"), result(khan, 2, "22.5"), result(khan, 3, "23.5"))
        assert site.ends() == ["delivered", "held", "held"]

        assert (await answer(site, 3, "other"))["processed"] == 2
        assert people(site) == {"IYER": ["5.5"], "KHAN": ["22.5", "23.5"]}
        await send(site, result(khan, 4, "24.5"), result(iyer, 5, "6.6"))
        assert people(site) == {"IYER": ["5.5", "6.6"], "KHAN": ["22.5", "23.5", "24.5"]}
        (own,) = [one for one in site.sandbox.resources("Patient") if one["name"][0]["family"] == "KHAN"]
        assert {one["system"] for one in own["identifier"]} == OWN

    async with running_site(tmp_path, CHANNELS, large=large) as site:  # the answer is remembered
        await send(site, result(khan, 6, "25.5"))
        assert people(site) == {"KHAN": ["25.5"]}
        assert identifiers(site) == OWN


@pytest.mark.parametrize("status", ["P", "F"])
async def test_another_person_under_the_same_order_number_takes_no_result_from_the_first(
    lasting: RunningSite, status: str
) -> None:
    """Nor do the first one's later results close theirs."""

    def result(number: int, name: str, value: str, status: str = "F") -> bytes:
        told = oru(f"M0{number}", "4711", name, "101", value, birth={"IYER^MEENA": "19550412"}.get(name, "20010530"))
        return told.replace(b"|LAB|F\r", f"|LAB|{status}\r".encode()).replace(
            b"|||||F|||", f"|||||{status}|||".encode()
        )

    await send(lasting, result(1, "IYER^MEENA", "5.5", status), result(2, "KHAN^IMRAN", "22.5"))
    await send(lasting, result(3, "IYER^MEENA", "5.6", "C"))
    assert lasting.ends() == ["delivered", "held", "delivered"]

    assert (await answer(lasting, 2, "other"))["processed"] == 1
    assert people(lasting) == {"IYER": ["5.6"], "KHAN": ["22.5"]}
    await send(lasting, result(4, "KHAN^IMRAN", "22.9", "C"), result(5, "IYER^MEENA", "5.7", "C"))
    assert people(lasting) == {"IYER": ["5.7"], "KHAN": ["22.9"]}


async def test_the_same_person_goes_on_under_the_number(lasting: RunningSite) -> None:
    await send(
        lasting,
        oru("M01", "4711", "IYER^MEENA", "101", "5.5", birth="19550412"),
        oru("M02", "4711", "KHAN^MEHER", "102", "6.6", birth="19800101"),
        oru("M03", "4711", "KHAN^MEHER", "103", "7.7", birth="19800101"),
    )
    assert lasting.ends() == ["delivered", "held", "held"]

    assert (await answer(lasting, 2, "same"))["processed"] == 2
    assert people(lasting) == {"IYER": ["5.5", "6.6", "7.7"]}
    ran = await lasting.labrelay("held", "answer", "2", "same", "--reason", "again", "--yes")
    assert ran.code != ExitCode.OK
    assert "message 2 is not held for its patient number" in ran.err


async def test_two_persons_under_one_order_of_a_counter_are_told_apart(site: RunningSite) -> None:
    await send(
        site,
        oru("M01", "1", "SHARMA^ANITA", "101", "5.5"),
        oru("M02", "1", "VERMA^SUNITA", "101", "22.5"),
    )
    assert site.ends() == ["delivered", "held"]

    assert (await answer(site, 2, "other"))["processed"] == 1
    assert people(site) == {"SHARMA": ["5.5"], "VERMA": ["22.5"]}
    assert identifiers(site) == OWN


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("same", {"IYER": ["22.5", "5.5"], "DAS": ["6.6"]}),
        ("other", {"IYER": ["5.5"], "DAS": ["6.6"], "KHAN": ["22.5"]}),
    ],
)
async def test_an_order_number_and_a_patient_number_in_doubt_are_two_questions(
    lasting: RunningSite, said: str, expected: dict[str, list[str]]
) -> None:
    """The answer to one of them is never the answer to the other, and each is asked once."""
    await send(
        lasting,
        oru("M01", "4711", "IYER^MEENA", "101", "5.5", birth="19550412"),
        oru("M02", "4712", "DAS^ROHIT", "102", "6.6", birth="19800101"),
        oru("M03", "4711", "KHAN^IMRAN", "102", "22.5", birth="20010530"),
    )
    assert lasting.ends() == ["delivered", "delivered", "IDENTITY_CONFLICT"]

    await lasting.retry(3)
    assert lasting.ends() == ["delivered", "delivered", "held"]
    assert people(lasting) == {"IYER": ["5.5"], "DAS": ["6.6"]}
    (asked,) = held_deliveries(lasting.journal)
    assert "message 1 used the same patient number" in asked.detail

    assert (await answer(lasting, 3, said))["processed"] == 1
    assert people(lasting) == expected


@pytest.mark.parametrize("said", ["same", "other"])
async def test_an_accepted_order_number_counts_no_more_where_numbers_have_become_unique(
    lasting: RunningSite, said: str
) -> None:
    """Both results would be one there; those of one patient are one by their order and its day."""
    await send(
        lasting,
        oru("M01", "4711", "IYER^MEENA", "101", "5.5", birth="19550412"),
        oru("M02", "4712", "DAS^ROHIT", "102", "6.6", birth="19800101"),
        oru("M03", "4711", "KHAN^IMRAN", "102", "22.5", birth="20010530"),
    )
    await lasting.retry(3)
    assert lasting.ends() == ["delivered", "delivered", "held"]
    path = lasting.folder / "channels" / "hl7.yaml"
    path.write_text(f"{path.read_text(encoding='utf-8')}\nspecimen_ids: unique\n", encoding="utf-8")
    await lasting.app.reload()
    await send(lasting, oru("M04", "4712", "DAS^ROHIT", "102", "7.7", birth="19800101"))

    assert (await answer(lasting, 3, said, ExitCode.PARTLY))["still_dead"] == 1
    assert people(lasting) == {"IYER": ["5.5"], "DAS": ["7.7"]}
    assert lasting.ends() == ["delivered", "delivered", "IDENTITY_CONFLICT", "delivered"]


@pytest.mark.parametrize("said", ["same", "other"])
async def test_an_answer_gives_no_unique_number_to_another_patient(tmp_path: Path, said: str) -> None:
    """While the question waited, the number was used for a third person, of whom the answer says nothing."""
    async with running_site(tmp_path, {"hl7": hl7_channel(specimen_ids="unique")}) as site:
        await send(
            site,
            oru("M01", "4711", "IYER^MEENA", "101", "5.5", birth="19550412"),
            oru("M02", "4711", "KHAN^IMRAN", "102", "22.5", birth="20010530"),
            oru("M03", "4712", "DAS^ROHIT", "102", "6.6", birth="19800101"),
        )
        assert site.ends() == ["delivered", "held", "delivered"]

        assert (await answer(site, 2, said, ExitCode.PARTLY))["still_dead"] == 1
        assert people(site) == {"IYER": ["5.5"], "DAS": ["6.6"]}
        assert site.ends() == ["delivered", "IDENTITY_CONFLICT", "delivered"]


async def test_a_retry_of_all_accepts_no_order_number_of_a_person_who_was_told_apart(lasting: RunningSite) -> None:
    iyer, khan = ("IYER^MEENA", "19550412"), ("KHAN^IMRAN", "20010530")
    await send(
        lasting,
        oru("M01", "4711", iyer[0], "101", "5.5", birth=iyer[1]),
        oru("M02", "4711", khan[0], "102", "6.6", birth=khan[1]),
        oru("M03", "4712", "DAS^ROHIT", "103", "7.7", birth="19800101"),
    )
    await answer(lasting, 2, "other")
    await send(lasting, oru("M04", "4711", khan[0], "103", "22.5", birth=khan[1]))
    assert lasting.ends() == ["delivered"] * 3 + ["IDENTITY_CONFLICT"]

    ran = await lasting.labrelay("dlq", "retry", "--channel", "hl7", "--yes", "-o", "json")
    assert ran.json["done"]["still_dead"] == 1
    assert people(lasting)["KHAN"] == ["6.6"]


def adt(event: str, number: str, name: str, birth: str, merged: str = "") -> bytes:
    mrg = f"MRG|{merged}\r" if merged else "PV1|1|I\r"
    return (
        f"MSH|^~\\&|HIS|HOSP|LIS|H|{DAY}||ADT^{event}|{event}-{number}-{name}|P|2.5.1\r"
        f"EVN|{event}|{DAY}\rPID|1||{number}||{name}||{birth}|F\r{mrg}"
    ).encode()


async def test_the_register_says_who_bears_a_number(tmp_path: Path) -> None:
    his = {"source": MLLP, "routes": [{"mapping": "hl7-patients", "to": "lab-fhir"}], "settings": NUMBERS}
    channels = {"hl7": hl7_channel(settings=NUMBERS), "his": his}
    async with running_site(tmp_path, channels) as site:

        async def register(message: bytes) -> None:
            (answer,) = await send_blocks(site.port("his"), [message])
            assert lines(answer)["MSA"][1] == "AA"
            await site.settled()

        await register(adt("A08", "4711", "IYER^MEENA", "19550412"))
        await send(site, oru("M01", "4711", "IYER^MEENA", "101", "5.5"), oru("M02", "4711", "KHAN^SARA", "102", "22.5"))
        assert site.ends("hl7") == ["delivered", "held"]

        await register(adt("A08", "4711", "KHAN^SARA", "20010530"))
        await send(site, oru("M03", "4711", "KHAN^SARA", "103", "7.7"), oru("M04", "4711", "IYER^MEENA", "104", "6.6"))
        assert site.ends("hl7") == ["delivered", "held", "delivered", "held"]

        await register(adt("A40", "4711", "KHAN^SARA", "20010530", merged="4712"))
        await send(site, oru("M05", "4712", "KHAN^SARA", "105", "8.8"), oru("M06", "4712", "DAS^RADHA", "106", "9.9"))
        assert site.ends("hl7")[4:] == ["delivered", "held"]


async def test_patients_are_not_updated_by_a_counter(tmp_path: Path) -> None:
    his = {"source": MLLP, "routes": [{"mapping": "hl7-patients", "to": "lab-fhir"}]}
    async with running_site(tmp_path, {"his": his}, patient_numbers=None) as site:
        await send_blocks(site.port("his"), [adt("A08", "4711", "IYER^MEENA", "19550412")])
        await site.settled()
        assert site.ends() == ["NO_IDENTITY"]


async def test_a_marriage_is_delivered_and_shown_until_a_person_has_confirmed_it(lasting: RunningSite) -> None:
    await send(
        lasting, oru("M01", "4711", "SHARMA^ANITA", "101", "5.5"), oru("M02", "4711", "VERMA^ANITA", "102", "6.6")
    )
    assert lasting.ends() == ["delivered", "delivered"]
    listed = await lasting.labrelay("held", "persons", "-o", "json")
    assert [(one["message"], one["before"]) for one in listed.json["persons"]] == [(2, 1)]

    await answer(lasting, 2, "same")
    assert (await lasting.labrelay("held", "persons", "-o", "json")).json["persons"] == []
