"""What a patient's app shows of a report after several documents of it: the newest issue, which says what it changes.

The receiver goes by Bundle.identifier and shows the highest ``meta.versionId`` alone. Documents are files here.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from tests.documents.test_abdm_documents import SETTINGS
from tests.support.large import all_large
from tests.support.running import MLLP, RunningSite, channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from workbench.sandbox import Sandbox

Json = dict[str, Any]


class Lab:
    """A laboratory system that sends whole reports as ``F GLU 9.9 09:30``, several results in one."""

    def __init__(self, site: RunningSite, folder: Path) -> None:
        self.site, self.folder, self._numbers = site, folder, count(1)

    async def says(self, *results: str, issued: str = "", status: str = "", finished: bool = False) -> str:
        """Send a report and wait until all is quiet; how it ended.

        Args:
            issued: OBR-22 as hour and minute, else later each time. status: OBR-25, else that of the first result.
        """
        number = next(self._numbers)
        at = f"20260301{issued.replace(':', '')}00" if issued else f"202603011{number:02}000"
        state = status or (results[0][0] if results else "F")
        obr = f"OBR|1||2603010042|24323-8^Panel^LN|||20260301091500|||||||20260301093000||||||||{at}||CH|{state}"
        segments = [
            f"MSH|^~\\&|LIS|CITYLAB|||20260301{120000 + number}+0530||ORU^R01^ORU_R01|{number}|P|2.5.1",
            "PID|1||MR-1001^^^CITYLAB^MR~91123456789015^^^NDHM^HIN||Rao^Meera||19840219|F",
            obr,
        ]
        for place, (state, code, value, time) in enumerate(map(str.split, results), 1):
            said = "" if value == "-" else value
            measured = f"20260301{time.replace(':', '')}00"
            segments.append(f"OBX|{place}|NM|{code}^{code}^L||{said}|mmol/L|||||{state}|||{measured}")
        if finished:
            segments.append("OBX|9|ED|PDF^Report^L||^application^PDF^Base64^JVBERi0xLjQK||||||F")
        (answer,) = await send_blocks(self.site.port("lis"), ["\r".join([*segments, ""]).encode()])
        assert lines(answer)["MSA"][1] == "AA"
        await self.site.settled()
        return self.site.ends()[-1]

    def documents(self) -> list[Json]:
        return [json.loads(path.read_bytes()) for path in sorted(self.folder.glob("*.json"))]

    def shown(self) -> Json:
        """The issue that a receiver shows."""
        assert len({one["identifier"]["value"] for one in self.documents()}) == 1
        versions = [int(one["meta"]["versionId"]) for one in self.documents()]
        assert len(set(versions)) == len(versions), "no two issues of one number"
        return max(self.documents(), key=lambda one: int(one["meta"]["versionId"]))

    def results(self) -> dict[str, str]:
        """Test -> ``final 9.9`` of each result that is shown."""
        return {
            one["code"]["text"]: f"{one['status']} {one.get('valueQuantity', {}).get('value', '-')}"
            for one in of(self.shown(), "Observation")
        }

    def statuses(self) -> tuple[str, str]:
        """Of the Composition and of the report that are shown."""
        shown = self.shown()
        return of(shown, "Composition")[0]["status"], of(shown, "DiagnosticReport")[0]["status"]

    def held(self) -> list[str]:
        return [
            one.cause for view in self.site.messages() for one in self.site.deliveries(view.id) if one.state == "held"
        ]


def of(bundle: Json, kind: str) -> list[Json]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


@asynccontextmanager
async def laboratory(folder: Path, large: bool = False, **route: Any) -> AsyncIterator[Lab]:
    out = folder / "out"
    channels = {"lis": channel(MLLP, {"mapping": "abdm-report", "to": "abdm", **route}, settings=SETTINGS)}
    make_running_site(folder, channels, {"abdm": {"kind": "file", "folder": str(out)}})
    with all_large(large):
        async with running_app(folder) as app:
            yield Lab(RunningSite(folder, app, Sandbox()), out)


# What the laboratory says in turn, a list of reports -> what is shown; statuses of Composition and report; how the last
# one ended (the cause where it is held); how many documents went out.
ORACLE = [
    pytest.param([["F GLU 9.9 09:30"]], {"GLU": "final 9.9"}, ("final", "final"), "delivered", 1, id="first"),
    pytest.param(
        [["P GLU 9.1 09:30"], ["F GLU 9.9 09:40"]], {"GLU": "final 9.9"}, ("final", "final"), "delivered", 2,
        id="further on",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["P GLU 1.1 09:40"]], {"GLU": "final 9.9"}, ("final", "final"), "STATUS_BACK", 1,
        id="a preliminary one behind a final one",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["F GLU 6.0 09:40"]], {"GLU": "amended 6.0"}, ("amended", "amended"), "delivered", 2,
        id="a changed final one",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["C GLU 6.0 09:40"]], {"GLU": "corrected 6.0"}, ("amended", "corrected"), "delivered", 2,
        id="corrected by the sender",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["C GLU 6.0 09:40"], ["F GLU 9.9 09:30"]],
        {"GLU": "corrected 6.0"}, ("amended", "corrected"), "ECHO", 2, id="sent again behind its correction",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["F GLU 9.9 09:30"]], {"GLU": "final 9.9"}, ("final", "final"), "ECHO", 1, id="sent again"
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["F GLU 6.0 09:40"], ["F GLU 6.2 09:50"]],
        {"GLU": "amended 6.2"}, ("amended", "amended"), "delivered", 3, id="changed twice",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["D GLU 9.9 09:30"], ["F GLU 9.9 09:35"]],
        {"GLU": "entered-in-error 9.9"}, ("entered-in-error",) * 2, "WITHDRAWN_BEFORE", 2, id="withdrawn",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["F GLU - 09:40"]], {"GLU": "final 9.9"}, ("final", "final"), "VALUE_GONE", 1,
        id="a failed rerun",
    ),
    pytest.param(
        [["F GLU 9.9 10:30"], ["F GLU 6.0 07:40"]], {"GLU": "final 9.9"}, ("final", "final"), "OLDER_RESULT", 1,
        id="an older one",
    ),
    pytest.param(
        [["P GLU 9.9 09:30"], ["F GLU 9.9 09:30", "F NA 140 09:30"]],
        {"GLU": "final 9.9", "NA": "final 140"}, ("final", "final"), "delivered", 2, id="grown",
    ),
    pytest.param(
        [["F GLU 9.9 09:30", "F NA 140 09:30"], ["F GLU 6.0 09:40", "F NA 140 09:30"]],
        {"GLU": "amended 6.0", "NA": "final 140"}, ("amended", "amended"), "delivered", 2, id="one of two is changed",
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["F NA 140 09:30"]], {"GLU": "final 9.9"}, ("final", "final"), "RESULTS_GONE", 1,
        id="another test alone would take the first away",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("told", "expected", "statuses", "ended", "documents"), ORACLE)
async def test_the_issue_that_is_shown_has_the_last_word_of_each_result(
    tmp_path: Path,
    told: list[list[str]],
    expected: dict[str, str],
    statuses: tuple[str, str],
    ended: str,
    documents: int,
) -> None:
    async with laboratory(tmp_path) as lab:
        for results in told:
            withdrawn = results[0].startswith("D")
            end = await lab.says(*results, status="C" if withdrawn else "")
        assert (lab.held()[-1:] or [end]) == [ended]
        assert (lab.results(), lab.statuses()) == (expected, statuses)
        assert len(lab.documents()) == documents


async def test_the_number_of_the_issue_rises_where_the_time_of_issue_stays(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        for value in ("9.9", "6.0", "6.2"):
            await lab.says(f"F GLU {value} 09:30", issued="10:15")
        assert lab.results() == {"GLU": "amended 6.2"}
        assert [int(one["meta"]["versionId"]) - 20260301044500 for one in lab.documents()] == [0, 1, 2]


async def test_a_finished_document_is_said_to_be_amended_too(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        await lab.says("F GLU 9.9 09:30", finished=True)
        await lab.says("F GLU 6.0 09:40", finished=True)
        assert of(lab.shown(), "DocumentReference")[0]["docStatus"] == "amended"


async def test_a_held_issue_that_a_person_releases_is_the_one_that_is_shown(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        await lab.says("F GLU 9.9 09:30", issued="10:15")
        await lab.says("P GLU 1.1 09:40", issued="10:15")
        number = str(lab.site.messages()[-1].id)
        ran = await lab.site.labrelay("held", "release", number, "--reason", "asked the laboratory", "--yes")
        assert ran.code == 0, ran.err
        await lab.site.settled()
        assert lab.results() == {"GLU": "preliminary 1.1"}


async def test_reprocessing_and_explaining_know_what_was_decided(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        for value in ("9.9", "6.0"):
            await lab.says(f"F GLU {value} 09:30", issued="10:15")
        ran = await lab.site.labrelay("reprocess", "--channel", "lis", "--since", "1d", "-o", "json")
        assert ran.json["outcomes"] == {"unchanged": 2}, ran.err
        number = str(lab.site.messages()[-1].id)
        told = await lab.site.labrelay("explain", number, "--show-values", "--purpose", "a test", "-o", "json")
        (message,) = told.json["messages"]
        values = {one["path"]: one["value"] for one in message["values"]}
        shown = lab.shown()
        assert values["Bundle[1].meta.versionId"] == shown["meta"]["versionId"]
        assert values["Composition[1].status"] == "amended"
        assert values["Observation[1].status"] == "amended"


async def test_the_process_for_large_messages_settles_documents_just_so(tmp_path: Path) -> None:
    async with laboratory(tmp_path, large=True) as lab:
        await lab.says("F GLU 9.9 09:30")
        await lab.says("F GLU 6.0 09:40")
        assert await lab.says("P GLU 1.1 09:50") == "held"
        assert (lab.results(), lab.statuses()) == ({"GLU": "amended 6.0"}, ("amended", "amended"))


async def test_a_document_that_is_released_late_is_not_hidden_behind_a_newer_one(tmp_path: Path) -> None:
    """Its receiver would show one of both; so a person has to have all of it sent again."""
    async with laboratory(tmp_path, hold=[{"when": "=code == 'GLU'", "reason": "look at each"}]) as lab:
        assert await lab.says("F GLU 9.9 09:30", "F NA 140 09:30") == "held"
        assert await lab.says("F K 4.4 09:30") == "delivered"
        ran = await lab.site.labrelay("held", "release", "1", "--reason", "it is right", "--yes")
        await lab.site.settled()
        assert (ran.code, lab.held(), lab.results()) == (ExitCode.PARTLY, ["OVERTAKEN"], {"K": "final 4.4"})
