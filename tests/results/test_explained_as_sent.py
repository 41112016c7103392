"""`labrelay explain NUMBER` and `messages show` tell the ids and statuses of the document that was stored.

The oracle is the stored document itself, and where nothing was stored, that nothing is said to have gone out.
"""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from tests.results.test_results_in_succession import CHANNELS, Lab
from tests.results.test_two_persons import answer, oru, send
from tests.support.running import RunningSite, hl7_channel, running_site
from tests.support.senders import lines, send_blocks
from tests.support.values import mentions

Json = dict[str, Any]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as site:
        yield site


@pytest.fixture(params=["hl7", "astm"])
def lab(request: pytest.FixtureRequest, site: RunningSite) -> Lab:
    return Lab(site, request.param, count(1))


def stored_values(bundle: Json) -> dict[str, str]:
    """JSON pointer -> value as text, of every value of a document."""
    found: dict[str, str] = {}

    def walk(value: Any, pointer: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, f"{pointer}/{name}")
        elif isinstance(value, list):
            for at, inner in enumerate(value):
                walk(inner, f"{pointer}/{at}")
        else:
            found[pointer] = str(value).lower() if isinstance(value, bool) else str(value)

    walk(bundle, "")
    return found


def row(site: RunningSite, number: int) -> int:
    """The row of the first, second ... message: frames have rows, too."""
    return site.messages()[number - 1].id


async def explained(site: RunningSite, number: int, *more: str) -> Json:
    """What `explain` says of the first, second ... message."""
    number = row(site, number)
    ran = await site.labrelay("explain", str(number), "--show-values", "--purpose", "a test", "-o", "json", *more)
    assert ran.code == ExitCode.OK, ran.err
    (told,) = ran.json["messages"]
    return told  # type: ignore[no-any-return]


async def as_stored(site: RunningSite, number: int) -> Json:
    """What `explain` decides of a message, once every value that it shows is that of the stored document."""
    told = await explained(site, number)
    bundle = stored(site, number)[-1]
    assert {one["pointer"]: one["value"] for one in told["values"]} == stored_values(bundle)
    return told["decided"]  # type: ignore[no-any-return]


def stored(site: RunningSite, number: int) -> list[Json]:
    return site.bundles(row(site, number))


async def shown(site: RunningSite, number: int) -> list[str]:
    """The lines of `messages show` about what was decided."""
    ran = await site.labrelay("messages", "show", str(row(site, number)))
    assert ran.code == ExitCode.OK, ran.err
    return [line.split(None, 1)[1] for line in ran.out.splitlines() if line.startswith("  decided ")]


def names(bundle: Json, kind: str) -> list[str]:
    return [f"{kind}/{one['resource']['id']}" for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


async def test_the_first_the_changed_and_the_remembered_result(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30")
    await lab.says("F GLU 6.1 10:30")
    assert await lab.says("F GLU 5.5 09:30") == "ECHO"
    assert await as_stored(lab.site, 1) is None
    decided = await as_stored(lab.site, 2)
    (name,) = names(stored(lab.site, 2)[0], "Observation")
    (one,) = [one for one in decided["statuses"] if one["resource"] == name]
    assert (one["status"], one["sender"], one["tests"]) == ("amended", "final", ["GLU"])
    assert "was accepted before" in one["why"]
    remembered = await explained(lab.site, 3)
    assert "(ECHO)" in remembered["decided"]["not_sent"]
    assert stored(lab.site, 3) == []
    assert {one["value"] for one in remembered["values"] if one["path"] == "Observation[1].id"} == {
        name.partition("/")[2]
    }
    assert await shown(lab.site, 1) == []
    assert "1 result goes out as amended" in await shown(lab.site, 2)
    assert await shown(lab.site, 3) == ["not sent: it says nothing that was not accepted before (ECHO)"]


async def test_a_person_reads_both_statuses_and_why(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30")
    await lab.says("F GLU 6.1 10:30")
    ran = await lab.site.labrelay("explain", str(row(lab.site, 2)))
    (name,) = names(stored(lab.site, 2)[0], "Observation")
    assert (
        f"  status: {name} (GLU) goes out as amended, and not as the sender's final:"
        " a final result with other content was accepted before"
    ) in ran.out.splitlines()
    assert "amended in place of the sender's final: a final result with other content was accepted before" in ran.out
    assert not mentions(ran.out, "6.1")


async def test_results_that_were_left_out_are_named_and_numbers_are_those_that_a_server_gives(lab: Lab) -> None:
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30")
    await lab.says("F GLU 5.5 09:30", "F UREA 4.0 09:30", "F NA 140 09:45")
    decided = await as_stored(lab.site, 2)
    first = stored(lab.site, 1)[0]
    assert sorted(one["resource"] for one in decided["left_out"]) == sorted(names(first, "Observation"))
    assert sorted(one["tests"] for one in decided["left_out"]) == [["GLU"], ["UREA"]]
    assert await shown(lab.site, 2) == ["2 results left out: accepted before just so (ECHO)"]
    entries = [entry["resource"]["resourceType"] for entry in stored(lab.site, 2)[0]["entry"]]
    place = f"Bundle.entry[{entries.index('Observation')}].resource.valueQuantity.value"
    told = await explained(lab.site, 2, "--field", place)
    assert [(one["path"], one["value"]) for one in told["values"]] == [("Observation[1].valueQuantity.value", "140")]
    assert told["values"][0]["sources"][0].partition("[")[2][:1] == "3"  # the third result of the message


async def test_a_correction_has_the_id_of_what_it_corrects(lab: Lab) -> None:
    await lab.says("F GLU 5.5 23:30", day="01")
    await lab.says("C GLU 6.0 07:30", day="02")
    decided = await as_stored(lab.site, 2)
    (name,) = names(stored(lab.site, 1)[0], "Observation")
    assert name.partition("/")[2] in {one["id"] for one in decided["corrects"]}
    assert any("the id of what it corrects" in line for line in await shown(lab.site, 2))


def panels(number: int, *told: str) -> bytes:
    """A message with a panel for each of ``told``: its place, its code, status, test and value."""
    segments = [
        f"MSH|^~\\&|AN|LAB|LIS|H|2026030112000{number}||ORU^R01|M{number}|P|2.5.1",
        "PID|1||4711||Iyer^Meena||19550101|F",
    ]
    for place, panel, status, test, value in map(str.split, told):
        at = f"2026030109{30 + number}00"
        segments += [
            f"OBR|{place}||S1|{panel}^{panel}^L|||{at}|||||||||||||||{at}||LAB|{status}",
            f"OBX|1|NM|{test}^{test}^L||{value}|mmol/L|||||{status}|||{at}",
        ]
    return "\r".join([*segments, ""]).encode()


async def test_a_report_of_another_message_that_is_written_anew(site: RunningSite) -> None:
    """The correction comes under another panel: the report that lists the first result is not in its message."""
    for message in (panels(1, "1 P1 F GLU 5.5", "2 P2 F UREA 4.0"), panels(2, "2 P3 C UREA 4.4")):
        (answer,) = await send_blocks(site.port("hl7"), [message])
        assert lines(answer)["MSA"][1] == "AA"
        await site.settled()
    decided = await as_stored(site, 2)
    (anew,) = decided["reports"]
    first, second = stored(site, 1)[0], stored(site, 2)[0]
    assert anew["resource"] in set(names(first, "DiagnosticReport")) & set(names(second, "DiagnosticReport"))
    assert (anew["status"], anew["sender"], anew["tests"]) == ("corrected", "final", ["P2"])
    assert "1 report of other messages written anew" in await shown(site, 2)
    ran = await site.labrelay("explain", str(row(site, 2)))
    assert f"report: {anew['resource']} (P2) goes out as corrected" in ran.out
    assert "Iyer" not in ran.out


async def test_equal_bytes_have_ids_of_their_own(site: RunningSite) -> None:
    """Nothing shows that the second is a repeat: the time of its receipt is in its ids."""
    message = b"MSH|^~\\&|AN|LAB|LIS|H|||ORU^R01|1|P|2.5.1\rPID|1\rOBR|1||7|HIV^HIV^L\rOBX|1|ST|HIV^HIV^L||NEG||||||F\r"
    for _ in range(2):
        (answer,) = await send_blocks(site.port("hl7"), [message])
        assert lines(answer)["MSA"][1] == "AA"
        await site.settled()
    assert site.messages()[1].equal_to == row(site, 1)
    assert stored(site, 1) != stored(site, 2)
    for number in (1, 2):
        assert await as_stored(site, number) is None


async def test_another_person_of_a_number_is_mapped_as_that_person(site: RunningSite) -> None:
    await send(
        site,
        oru("M01", "4711", "IYER^MEENA", "101", "5.5", birth="19550412"),
        oru("M02", "4711", "KHAN^IMRAN", "102", "22.5", birth="20010530"),
    )
    await answer(site, row(site, 2), "other")
    for number in (1, 2):
        assert await as_stored(site, number) is None


@pytest.mark.parametrize(
    ("patient", "name", "status", "cause"),
    [("4711", "DAS^RAVI", "F", "IDENTITY_CONFLICT"), ("4712", "DAS^RAVI", "C", "ORDER_MOVED")],
)
async def test_under_a_number_given_again_a_result_has_its_own_ids_also_while_a_person_is_asked_whose_it_is(
    tmp_path: Path, patient: str, name: str, status: str, cause: str
) -> None:
    async with running_site(tmp_path, {"hl7": hl7_channel(specimen_ids="unique")}) as site:
        await send(
            site,
            oru("M01", "4711", "IYER^MEENA", "101", "5.5", day="20240110"),
            oru("M02", "4711", "IYER^MEENA", "101", "9.5", day="20241208"),
        )
        ran = await site.labrelay("held", "release", str(row(site, 2)), "--reason", "a new tube", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        asked = oru("M03", patient, name, "101", "7.7", day="20241208").replace(b"|F||", f"|{status}||".encode())
        await send(site, asked)
        assert [(one.state, one.cause) for one in site.deliveries(row(site, 3))] == [("held", cause)]
        decided = await as_stored(site, 3)
        ids = {one["id"] for one in decided["apart"]}
        assert ids >= {one.partition("/")[2] for one in names(stored(site, 3)[0], "Observation")}


async def test_files_are_mapped_as_if_nothing_was_known_and_it_is_said_once(site: RunningSite, tmp_path: Path) -> None:
    file = tmp_path / "two.hl7"
    file.write_bytes(panels(1, "1 P1 F GLU 5.5") + panels(2, "1 P1 F GLU 6.6"))
    ran = await site.labrelay("map", str(file), "--channel", "hl7")
    assert (ran.code, ran.err.count("as if nothing was known of")) == (ExitCode.OK, 1)
    quiet = await site.labrelay("map", str(file), "--channel", "hl7", "--quiet")
    assert (quiet.code, quiet.err) == (ExitCode.OK, "")
    (one, other) = (await site.labrelay("explain", str(file), "--channel", "hl7", "-o", "json")).json["messages"]
    assert ("decided" in one, "decided" in other) == (False, False)
