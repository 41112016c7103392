"""What a receiver of CSV or JSON has after histories of one order: the same rules as for a FHIR server.

Each history is told in HL7 v2 and in ASTM, and goes out as files. A receiver takes them in their order, and the newest
line of a test takes the place of the one before.
"""

import csv
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from tests.results.test_results_in_succession import Lab
from tests.support.large import all_large
from tests.support.running import ASTM, MLLP, RunningSite, channel, make_running_site, running_app
from workbench.sandbox import Sandbox

Json = dict[str, Any]


class Lists(Lab):
    """An analyzer whose results go out as lists."""

    def documents(self) -> list[list[Json]]:
        """The results of each document, in the order in which they went out."""
        found = []
        for path in sorted((self.site.folder / "out").iterdir()):
            body = path.read_text("utf-8")
            if path.suffix == ".json":
                patients = json.loads(body)["patients"]
                found.append([one for patient in patients for order in patient["orders"] for one in order["results"]])
            else:
                found.append(list(csv.DictReader(StringIO(body, newline=""))))
        return found

    def results(self) -> dict[str, str]:
        """Code -> ``final 9.9`` of each result, as the newest document that tells it has it."""
        return {
            one["test"]: f"{one.get('status') or '?'} {one.get('text') or one.get('value') or '-'}"
            for document in self.documents()
            for one in document
        }


@asynccontextmanager
async def laboratory(
    folder: Path, source: str, to: str, large: bool = False, mapping: str = "", **settings: Any
) -> AsyncIterator[Lists]:
    route = {"mapping": mapping or f"{source}-to-{to}", "to": "lis"}
    given = {"settings": settings} if settings else {}
    channels = {source: channel(ASTM if source == "astm" else MLLP, route, **given)}
    make_running_site(folder, channels, {"lis": {"kind": "file", "folder": str(folder / "out")}})
    with all_large(large):
        async with running_app(folder, own_tables=bool(mapping)) as app:
            yield Lists(RunningSite(folder, app, Sandbox()), source, count(1))


# What the analyzer says in turn, a list of messages -> what the receiver has; how the last one ended (the cause where
# it is held); how many documents went out.
ORACLE = [
    pytest.param([["F GLU 9.9 09:30"]], {"GLU": "final 9.9"}, "delivered", 1, id="first"),
    pytest.param([["P GLU 9.1 09:30"], ["F GLU 9.9 09:30"]], {"GLU": "final 9.9"}, "delivered", 2, id="further on"),
    pytest.param([["F GLU 9.9 09:30"], ["P GLU 1.1 09:40"]], {"GLU": "final 9.9"}, "STATUS_BACK", 1, id="status back"),
    pytest.param([["F GLU 9.9 09:30"], ["C GLU 6.0 09:32"]], {"GLU": "corrected 6.0"}, "delivered", 2, id="corrected"),
    pytest.param(
        [["F GLU 9.9 09:30"], ["C GLU 6.0 09:32"], ["F GLU 9.9 09:30"]],
        {"GLU": "corrected 6.0"}, "ECHO", 2, id="memory",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["C GLU 6.0 09:32"], ["F GLU 7.7 09:50"]],
        {"GLU": "corrected 6.0"}, "STATUS_BACK", 2, id="final after corrected",
    ),
    pytest.param(
        [["F GLU 5.5 09:30"], ["F GLU 6.1 10:30"]], {"GLU": "amended 6.1"}, "delivered", 2, id="a changed final"
    ),
    pytest.param(
        [["F GLU 5.5 09:30"], ["F GLU 6.1 10:30"], ["F GLU 6.3 11:30"]],
        {"GLU": "amended 6.3"}, "delivered", 3, id="changed twice",
    ),
    pytest.param(
        [["F GLU 5.5 09:30"], ["F GLU 6.1 10:30"], ["F GLU 6.1 10:30"]],
        {"GLU": "amended 6.1"}, "ECHO", 2, id="the memory of a changed final",
    ),
    pytest.param([["F GLU 5.5 10:00"], ["F GLU 9.9 07:00"]], {"GLU": "final 5.5"}, "OLDER_RESULT", 1, id="older"),
    pytest.param([["F GLU 5.5 09:30"], ["F GLU - 09:40"]], {"GLU": "final 5.5"}, "VALUE_GONE", 1, id="failed rerun"),
    pytest.param([["F GLU 5.5 09:30"], ["X GLU - 09:40"]], {"GLU": "final 5.5"}, "VALUE_GONE", 1, id="cancelled"),
    pytest.param(
        [["F GLU 5.5 09:30"], ["C GLU 6.0 09:40"], ["F GLU 5.5 09:30", "F NA 140 09:45"]],
        {"GLU": "corrected 6.0", "NA": "final 140"}, "delivered", 3, id="memory with a new test",
    ),
    pytest.param(
        [["F GLU 5.5 09:30", "F NA 140 09:30"], ["F GLU 6.1 10:30", "F NA 140 09:30"]],
        {"GLU": "amended 6.1", "NA": "final 140"}, "delivered", 2, id="one of a panel",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("source", "to"), [("hl7", "csv"), ("astm", "json")])
@pytest.mark.parametrize(("told", "expected", "ended", "documents"), ORACLE)
async def test_the_receiver_has_the_last_word_of_each_result(
    tmp_path: Path,
    told: list[list[str]],
    expected: dict[str, str],
    ended: str,
    documents: int,
    source: str,
    to: str,
) -> None:
    async with laboratory(tmp_path, source, to) as lab:
        for results in told:
            end = await lab.says(*results)
        assert (lab.held()[-1:] or [end]) == [ended]
        assert lab.results() == expected
        assert len(lab.documents()) == documents


@pytest.mark.parametrize(("source", "to"), [("astm", "csv"), ("hl7", "json")])
async def test_the_same_holds_the_other_way_round_and_for_large_messages(tmp_path: Path, source: str, to: str) -> None:
    async with laboratory(tmp_path, source, to, large=True) as lab:
        await lab.says("F GLU 5.5 09:30")
        await lab.says("F GLU 6.1 10:30")
        assert await lab.says("P GLU 1.1 10:40") == "held"
        assert await lab.says("F GLU 5.5 09:30") == "ECHO"
        assert lab.results() == {"GLU": "amended 6.1"}


async def test_what_was_withdrawn_does_not_come_back(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "hl7", "csv") as lab:
        await lab.says("F GLU 5.5 09:30")
        await lab.says("D GLU 5.5 09:30")
        assert await lab.says("P GLU 7.7 09:50") == "held"
        assert (lab.held(), lab.results()) == (["WITHDRAWN_BEFORE"], {"GLU": "entered-in-error 5.5"})


async def test_lines_without_a_header_and_with_another_delimiter_are_read_too(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "hl7", "csv", csv_header="no", csv_delimiter=";") as lab:
        await lab.says("F GLU 5.5 09:30", "F NA 140 09:30")
        await lab.says("F GLU 6.1 10:30", "F NA 140 09:30")
        first, second = sorted((tmp_path / "out").iterdir())
        assert [line.split(";")[5] for line in first.read_text().splitlines()] == ["GLU", "NA"]
        (line,) = second.read_text().splitlines()
        assert (line.split(";")[8], line.split(";")[12]) == ("6.1", "amended")


async def test_another_patient_day_or_test_is_another_result(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "hl7", "csv") as lab:
        assert await lab.says("F GLU 5.5 09:30") == "delivered"
        assert await lab.says("F GLU 6.1 09:30", day="02") == "delivered"
        assert await lab.says("F GLU 6.2 09:30", order="S2", patient="4712") == "delivered"
        assert [one["status"] for document in lab.documents() for one in document] == ["final"] * 3


async def test_an_order_number_that_another_patient_has_today_is_noticed(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "hl7", "json") as lab:
        await lab.says("F GLU 5.5 09:30")
        assert await lab.says("F GLU 6.1 09:40", patient="4712") == "IDENTITY_CONFLICT"


async def test_reprocessing_finds_no_difference_and_explain_tells_what_was_decided(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "hl7", "csv") as lab:
        await lab.says("F GLU 5.5 09:30", "F NA 140 09:30")
        await lab.says("F GLU 6.1 10:30", "F NA 140 09:30")
        ran = await lab.site.labrelay("reprocess", "--channel", "hl7", "--since", "1d", "-o", "json")
        assert ran.json["outcomes"] == {"unchanged": 2}, ran.err
        told = await lab.site.labrelay("explain", str(lab.site.messages()[-1].id), "-o", "json")
        decided = told.json["messages"][0]["decided"]
        assert [(one["tests"], one["status"], one["sender"]) for one in decided["statuses"]] == [
            (["GLU"], "amended", "final")
        ]
        assert [one["tests"] for one in decided["left_out"]] == [["NA"]]


async def test_an_order_whose_tests_came_one_by_one_is_sent_again_whole(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "hl7", "csv") as lab:
        await lab.says("F GLU 5.5 09:30")
        await lab.says("F NA 140 09:40")
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        await lab.site.replay(*(one.id for one in lab.site.messages()))
        assert lab.results() == {"GLU": "final 5.5", "NA": "final 140"}


# -- mappings of a site's own ------------------------------------------------------------------------------------------

OWN = """
mapping: own
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: csv
import: [labrelay/hl7v2]
{results}
steps:
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            do:
              - row: {{patient: =PID-3.1, tube: =OBR-3.1, test: =OBX-3.1, text: =OBX-5, at: =OBX-14{column}}}
"""
FIELDS = "patient: patient, order: tube, test: test, value: text, time: at"


def own(folder: Path, results: str, column: str = "") -> None:
    (folder / "mappings").mkdir()
    (folder / "mappings" / "own.yaml").write_text(OWN.format(results=results, column=column), "utf-8")


async def test_a_list_without_a_status_holds_what_it_cannot_say(tmp_path: Path) -> None:
    own(tmp_path, f"results: {{{FIELDS}}}")
    async with laboratory(tmp_path, "hl7", "csv", mapping="own") as lab:
        await lab.says("F GLU 5.5 09:30")
        assert await lab.says("F GLU 6.1 10:30") == "held"
        assert await lab.says("F GLU 5.5 09:30") == "ECHO"
        assert lab.held() == ["CHANGE_UNSAID"]
        assert [document[0]["text"] for document in lab.documents()] == ["5.5"]


async def test_a_status_in_letters_of_table_0085_stays_one(tmp_path: Path) -> None:
    own(tmp_path, f"results: {{{FIELDS}, status: state}}", ", state: =OBX-11")
    async with laboratory(tmp_path, "hl7", "csv", mapping="own") as lab:
        await lab.says("F GLU 5.5 09:30")
        await lab.says("F GLU 6.1 10:30")
        assert await lab.says("P GLU 7.0 11:30") == "held"
        assert [(document[0]["state"], document[0]["text"]) for document in lab.documents()] == [
            ("F", "5.5"),
            ("C", "6.1"),
        ]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ("", "own.yaml:5:5: the results of this list are not compared with those that were sent before"),
        ("results: none", ""),
        (f"results: {{{FIELDS}}}", ""),
        ("results: {order: tube, test: test}", "own.yaml:7:10: results: lacks 'value'"),
        (f"results: {{{FIELDS}, state: x}}", "results: has no key 'state'"),
        ("results: {order: tube, test: code, value: text}", "results: names 'code', and no row has such a column"),
        (
            "results: some",
            "own.yaml:7:10: results: is a map, as {order: specimen, test: test, value: value, ...}, or none",
        ),
    ],
)
async def test_check_says_whether_a_list_is_compared(tmp_path: Path, results: str, said: str) -> None:
    own(tmp_path, results)
    channels = {"hl7": channel(MLLP, {"mapping": "own", "to": "lis"})}
    make_running_site(tmp_path, channels, {"lis": {"kind": "file", "folder": str(tmp_path / "out")}})
    async with laboratory(tmp_path / "other", "hl7", "csv") as lab:
        ran = await lab.site.labrelay("--site", str(tmp_path), "check")
    told = ran.out + ran.err
    assert (said in told) if said else ("results:" not in told), told
    assert (ran.code == ExitCode.OK) == (not said or "not compared" in said), told
