"""After a mapping fault: the whole list of affected results, as a laboratory has to hand it to the wards.

The oracle is a table of what was sent and what a corrected code table makes of it, written down before the command is
asked.
"""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.rework.lists.affected import _in_csv
from engine.model.content.tested_results import tests_in as results_in
from engine.store.queries.acts import acts_page
from tests.results.test_reprocessing import AGAIN, change_channel, deliver, give_table, message, running
from tests.support.command_line import Ran
from tests.support.running import Json, RunningSite
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

MANY = 12  # more than any command ever named as examples


@dataclass(frozen=True)
class Sent:
    """A result as it was sent, and as the corrected table makes it."""

    message: int
    old: str
    new: str

    @property
    def row(self) -> Json:
        return {
            "message": self.message,
            "outcome": "changed",
            "reason": "",
            "destinations": ["lab-fhir"],
            "change": "changed",
            "specimen": f"F-O{self.message}",
            "code": "HGB",
            "loinc": "718-7",
            "old_loinc": "",
            "old_value": self.old,
            "old_unit": "g/dL",
            "old_status": "final",
            "new_value": self.new,
            "new_unit": "g/L",
        }


SENT = [Sent(number, f"{10 + number}.5", f"{10 + number}5") for number in range(1, MANY + 1)]


@pytest.fixture
async def site(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    async with running(tmp_path, sandbox) as site:
        yield site


async def with_a_fault(site: RunningSite) -> None:
    """Results that were delivered with a table that lacked HGB, and the table that has it."""
    await deliver(site, *(message(one.message, one.old) for one in SENT))
    give_table(site.folder)


def told(rows: list[Json]) -> list[Json]:
    """What the oracle knows of the rows, oldest message first."""
    known = SENT[0].row
    return sorted(({name: row[name] for name in known} for row in rows), key=lambda row: int(row["message"]))


def of_csv(ran: Ran) -> list[Json]:
    lists = ("destinations", "differs")
    rows: list[Json] = list(csv.DictReader(io.StringIO(ran.out)))
    for row in rows:
        row["message"] = int(row["message"])
        row |= {name: row[name].split(", ") for name in lists}
    return rows


async def test_every_affected_result_is_in_the_list_in_every_form(site: RunningSite) -> None:
    await with_a_fault(site)
    expected = [one.row for one in SENT]

    asked = (*AGAIN, "--unmask", "--purpose", "a test")
    document = await site.labrelay(*asked, "-o", "json")
    assert told(document.json["results"]) == expected
    assert document.json["outcomes"] == {"changed": MANY}
    assert told((await site.labrelay(*asked, "-o", "ndjson")).lines) == expected
    as_csv = await site.labrelay(*asked, "-o", "csv")
    assert told(of_csv(as_csv)) == expected
    assert f"{MANY} messages: {MANY} differ" in as_csv.err, "the count is beside the list and not in it"
    people = (await site.labrelay(*asked, "--results")).out.splitlines()
    assert len([line for line in people if "718-7" in line]) == MANY
    for one in SENT:
        (line,) = [line.split() for line in people if f"F-O{one.message} " in line]
        assert line[0] == str(one.message)
        assert line[-6:-3] == [one.old, "g/dL", "final"]
        assert line[-3:-1] == [one.new, "g/L"]


async def test_the_list_without_unmask_names_tests_and_no_person(site: RunningSite) -> None:
    await with_a_fault(site)
    ran = await site.labrelay(*AGAIN, "-o", "json")

    rows = ran.json["results"]
    assert len(rows) == MANY
    assert {row["code"] for row in rows} == {"HGB"}
    assert {row["old_unit"] for row in rows} == {"g/dL"}
    assert {(row["specimen"], row["old_value"], row["new_value"]) for row in rows} == {("***", "***", "***")}
    tokens = {row["message"]: row["patient"] for row in rows}
    assert len(set(tokens.values())) == MANY, "each patient has a token of their own"
    for one in SENT:
        assert f"47{one.message}" not in tokens.values()
        assert f"F-O{one.message}" not in ran.out
    assert acts_page(site.journal) == []


async def test_two_results_of_one_patient_have_one_token(site: RunningSite) -> None:
    await deliver(site, message(1, "14.8", "O1", "P1"), message(2, "13.1", "O2", "P1"), message(3))
    give_table(site.folder)
    rows = (await site.labrelay(*AGAIN, "-o", "json")).json["results"]

    token = {row["message"]: row["patient"] for row in rows}
    assert token[1] == token[2] != token[3]


async def test_what_was_replaced_since_is_in_the_list_too(site: RunningSite) -> None:
    """The older value was read by people, although a correction has taken its place."""
    await deliver(site, message(1, "14.8", "O1", "P1"), message(2, "15.2", "O1", "P1", "C"))
    give_table(site.folder)
    rows = (await site.labrelay(*AGAIN, "--unmask", "--purpose", "a test", "-o", "json")).json["results"]

    assert [(row["message"], row["outcome"], row["old_value"], row["new_value"]) for row in rows] == [
        (2, "changed", "15.2", "152"),
        (1, "superseded", "14.8", "148"),
    ]


async def test_what_would_not_be_delivered_any_more_is_in_the_list(site: RunningSite) -> None:
    await deliver(site, message(1))
    change_channel(site.folder, settings={"on_missing": "dead"})
    rows = (await site.labrelay(*AGAIN, "--unmask", "--purpose", "a test", "-o", "json")).json["results"]

    expected = [("HGB", "14.8"), ("COL", "yellow")]
    for destination in ("lab-fhir", "archive"):  # a Bundle, and the HL7 v2 message as it came
        mine = [row for row in rows if row["destinations"] == [destination]]
        assert [(row["code"], row["old_value"]) for row in mine] == expected
    assert {(row["outcome"], row["reason"], row["change"], row["new_value"]) for row in rows} == {
        ("dead", "UNMAPPED_CODE", "removed", None)
    }
    assert len(rows) == 4


async def test_a_message_that_cannot_be_compared_is_in_the_list(site: RunningSite) -> None:
    await site.sandbox.pause()
    await send_blocks(site.port("lab"), [message(1)])
    await until(lambda: len(site.deliveries(1)) == 2)
    give_table(site.folder)
    ran = await site.labrelay(*AGAIN, "-o", "json")

    assert [(row["message"], row["outcome"], row["code"]) for row in ran.json["results"]] == [(1, "unsettled", "")]


async def test_a_list_that_ends_in_a_refusal_is_a_whole_document(site: RunningSite) -> None:
    await deliver(site, message(1))
    give_table(site.folder)
    assert (await site.labrelay("reload")).code == ExitCode.OK
    ran = await site.labrelay(*AGAIN, "--apply", "--reason", "x", "-o", "json")

    assert ran.code == ExitCode.REFUSED
    assert (len(ran.json["results"]), ran.json["apply"]) == (1, None)


def test_results_of_hl7_documents_are_listed_too() -> None:
    body = message(1).replace(b"|HGB^Hemoglobin^L|", b"|HGB^Hemoglobin^L^718-7^Hemoglobin^LN|")
    found = results_in(body, lambda number: f"<{number}>")

    assert [(one.code, one.loinc, one.value, one.unit, one.status) for one in found] == [
        ("HGB", "718-7", "14.8", "g/dL", "F"),
        ("COL", "", "yellow", "", "F"),
    ]
    assert {(one.patient, one.specimen) for one in found} == {("<471>", "F-O1")}
    assert results_in(b"code;value\nHGB;14.8\n", str) == []


async def test_messages_are_found_by_the_tests_of_their_documents(site: RunningSite, tmp_path: Path) -> None:
    other = message(3).replace(b"HGB^Hemoglobin^L", b"718-7^Hemoglobin^LN")
    await deliver(site, message(1), message(2).replace(b"HGB", b"PLT"), other)

    async def found(*options: str) -> list[int]:
        return [row["id"] for row in (await site.labrelay("messages", "list", "-o", "ndjson", *options)).lines]

    assert await found("--test-code", "HGB") == [1]
    assert await found("--test-code", "PLT") == [2]
    assert await found("--test-code", "COL") == [3, 2, 1]
    assert await found("--test-code", "COL", "--limit", "1") == [3]
    assert await found("--test-code", "COL", "--before", "3") == [2, 1]
    assert await found("--loinc", "718-7") == [3]
    assert await found("--loinc", "718-7", "--test-code", "HGB") == []
    assert await found("--id", "1", "--id", "2", "--test-code", "HGB") == [1]
    path = tmp_path / "found.csv"
    assert (await site.labrelay("messages", "export", "--test-code", "PLT", "--to", str(path))).code == ExitCode.OK
    assert {row["id"] for row in csv.DictReader(path.read_text().splitlines())} == {"2"}
    assert acts_page(site.journal) == [], "nothing of a content is shown"


async def test_a_message_whose_documents_tell_no_results_is_found_by_what_was_received(site: RunningSite) -> None:
    change_channel(site.folder, routes=[{"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-to-json", "to": "archive"}])
    assert (await site.labrelay("reload")).code == ExitCode.OK
    await deliver(site, message(1), message(2).replace(b"HGB", b"PLT"))
    await send_blocks(site.port("lab"), [message(3).replace(b"ORU^R01", b"ZZZ^Z01")])  # dead: no route takes it
    await site.settled()
    ids = [view.id for view in site.messages()]

    async def found(code: str) -> list[int]:
        return [
            row["id"] for row in (await site.labrelay("messages", "list", "-o", "ndjson", "--test-code", code)).lines
        ]

    assert await found("HGB") == [ids[2], ids[0]]
    assert await found("PLT") == [ids[1]]
    assert await found("WBC") == []


def test_results_of_e1394_messages_are_read_too() -> None:
    body = b"H|\\^&|||XN|||||||P|1\rP|1||4711||Doe\rO|1|S77||^^^CBC\rR|1|^^^WBC|8.13|10*3/uL||N||F\rR|2|^^^RBC|-4.5\r"
    first, second = results_in(body, lambda number: f"<{number}>")
    assert (first.code, first.value, first.unit, first.status) == ("WBC", "8.13", "10*3/uL", "F")
    assert (first.patient, first.specimen, second.code, second.value) == ("<4711>", "S77", "RBC", "-4.5")


@pytest.mark.parametrize(("value", "cell"), [("-4.5", "-4.5"), ("+1", "+1"), ("=1+2", "'=1+2"), ("-2+3", "'-2+3")])
def test_a_number_with_a_sign_stays_one_in_a_spreadsheet_and_a_formula_becomes_none(value: str, cell: str) -> None:
    assert _in_csv(value) == cell


async def test_what_waits_and_what_was_delivered_are_two(site: RunningSite) -> None:
    await deliver(site, message(1))
    await site.sandbox.pause()
    await send_blocks(site.port("lab"), [message(2)])
    await until(lambda: len(site.deliveries(2)) == 2 and site.deliveries(2)[0].state == "delivered")

    async def found(state: str) -> list[int]:
        ran = await site.labrelay("messages", "list", "-o", "ndjson", "--state", state)
        return [row["id"] for row in ran.lines]

    assert (await found("mapped"), await found("waiting"), await found("delivered")) == ([2, 1], [2], [1])
    await site.sandbox.start()
    await site.settled()
    assert (await found("waiting"), await found("delivered")) == ([], [2, 1])
