"""Documents of one order number, as a receiver keeps them that knows each by its Composition.identifier (FHIR R4: it
stays through all versions of a document, and every other document has another one), or by Bundle.identifier as apps do.

    issues of one report                    one identifier: the newest issue is shown, also once it is withdrawn
    the number of another day               another report, of the same patient or another one
    two analyzers                           a report each, with corrections of its own
    a correction that names another time    its report's next issue, once a person has let it go
"""

import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.documents.test_abdm_documents import SETTINGS
from tests.support.running import MLLP, RunningSite, channel, running_site
from tests.support.senders import lines, send_blocks

Json = dict[str, Any]
MEERA, RAVI = "MR-1001^^^CITYLAB^MR||Rao^Meera||19840219|F", "MR-2002^^^CITYLAB^MR||Nair^Ravi||19790708|M"
PDF = "ED|PDF^Report^L||^application^PDF^Base64^JVBERi0xLjQK||||||F"
SEEN = {**SETTINGS, "abha": "later"}


class Lab:
    """A laboratory whose order numbers begin anew each day; each report has one result of order 17."""

    def __init__(self, site: RunningSite) -> None:
        self.site, self._count = site, 0

    async def says(
        self, *told: str, day: int = 1, measured: int | None = 0, who: str = MEERA, at: str = "an1", pdf: bool = False
    ) -> str:
        """Send a report, as ``F GLU 9.9``, or of another order as ``F K 4.4 18``; how it ended.

        Args:
            day: of its issue, from 1 March. measured: that of OBR-7 and OBX-14; 0: that of the issue; None: they are
                empty.
        """
        self._count += 1
        time = "" if measured is None else f"{_day(measured or day)}091500"
        issued = f"{_day(day)}1{self._count:02}000"
        records = [f"MSH|^~\\&|LIS|CITYLAB|||{issued}+0530||ORU^R01^ORU_R01|{self._count}|P|2.5.1", f"PID|1||{who}"]
        for place, one in enumerate(told, 1):
            state, code, value, order = [*one.split(), "17"][:4]
            said = "C" if state in "CD" else state
            records.append(f"OBR|{place}||{order}|PANEL^Panel^L|||{time}|||||||||||||||{issued}||CH|{said}")
            result = f"NM|{code}^{code}^L||{value}|mmol/L|||||{state}|||{time}"
            records.append(f"OBX|1|{PDF if pdf else result}")
        (answer,) = await send_blocks(self.site.port(at), ["\r".join([*records, ""]).encode()])
        assert lines(answer)["MSA"][1] == "AA"
        await self.site.settled()
        return self.site.ends()[-1]

    async def releases(self) -> None:
        number = str(self.site.messages()[-1].id)
        ran = await self.site.labrelay("held", "release", number, "--reason", "asked the laboratory", "--yes")
        assert ran.code == 0, ran.err
        await self.site.settled()

    def documents(self) -> list[Json]:
        found = [json.loads(path.read_bytes()) for path in (self.site.folder / "out").glob("*.json")]
        return sorted(found, key=lambda one: int(one["meta"]["versionId"]))

    def shown(self, by: str = "Composition") -> list[tuple[str, str]]:
        """Of each document its newest issue: the patient's name, and status, test and value of its result."""
        kept = {_identifier(one, by): one for one in self.documents()}
        return sorted((_only(one, "Patient")["name"][0]["family"], _result(one)) for one in kept.values())


def _day(number: int) -> str:
    return f"{date(2026, 3, 1) + timedelta(days=number - 1):%Y%m%d}"


def _identifier(bundle: Json, by: str) -> str:
    held = bundle if by == "Bundle" else _only(bundle, by)
    return json.dumps(held["identifier"], sort_keys=True)


def _result(bundle: Json) -> str:
    """Of a finished document alone, the status."""
    results = _all(bundle, "Observation")
    said = [f"{one['status']} {one['code']['text']} {one['valueQuantity']['value']}" for one in results]
    return ", ".join(said) or str(_only(bundle, "DocumentReference")["docStatus"])


def _only(bundle: Json, kind: str) -> Json:
    (found,) = _all(bundle, kind)
    return found


def _all(bundle: Json, kind: str) -> list[Json]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    keys = {"an1": {}, "an2": {}, "unique": {"specimen_ids": "unique"}}
    route = {"mapping": "abdm-report", "to": "abdm"}
    analyzers = {one: channel(MLLP, route, settings=SEEN, **more) for one, more in keys.items()}
    async with running_site(tmp_path, analyzers, {"abdm": {"kind": "file", "folder": str(tmp_path / "out")}}) as site:
        yield Lab(site)


def both(lab: Lab) -> list[tuple[str, str]]:
    """What each kind of receiver shows."""
    shown = lab.shown("Composition")
    assert lab.shown("Bundle") == shown
    return shown


async def test_issues_of_one_report_are_one_document(lab: Lab) -> None:
    for told in ("P GLU 9.1", "F GLU 9.9", "C GLU 6.0"):
        assert await lab.says(told) == "delivered"
    assert both(lab) == [("Rao", "corrected GLU 6.0")]
    assert await lab.says("D GLU 6.0", day=2, measured=1) == "delivered"
    assert both(lab) == [("Rao", "entered-in-error GLU 6.0")]
    assert _only(lab.documents()[-1], "Composition")["status"] == "entered-in-error"


@pytest.mark.parametrize("who", [MEERA, RAVI], ids=["the same patient", "another one"])
async def test_the_number_of_the_next_day_is_of_another_document(lab: Lab, who: str) -> None:
    await lab.says("F GLU 9.9")
    await lab.says("F GLU 4.4", day=2, who=who)
    name = who.split("^^^")[1].split("||")[1].partition("^")[0]
    assert both(lab) == sorted([("Rao", "final GLU 9.9"), (name, "final GLU 4.4")])
    await lab.says("C GLU 6.0", day=2, measured=1)
    assert both(lab) == sorted([("Rao", "corrected GLU 6.0"), (name, "final GLU 4.4")])
    await lab.says("D GLU 4.4", day=3, measured=2, who=who)
    assert both(lab) == sorted([("Rao", "corrected GLU 6.0"), (name, "entered-in-error GLU 4.4")])


async def test_two_analyzers_have_a_document_each(lab: Lab) -> None:
    await lab.says("F GLU 9.9")
    assert await lab.says("F K 4.4", at="an2") == "delivered"
    assert both(lab) == [("Rao", "final GLU 9.9"), ("Rao", "final K 4.4")]
    await lab.says("C K 4.0", at="an2")
    await lab.says("C GLU 6.0")
    assert both(lab) == [("Rao", "corrected GLU 6.0"), ("Rao", "corrected K 4.0")]


async def test_a_correction_that_names_no_time_is_of_the_document_that_it_corrects(lab: Lab) -> None:
    await lab.says("F GLU 9.9", measured=None)
    if await lab.says("C GLU 6.0", day=2, measured=None) == "held":
        await lab.releases()
    assert both(lab) == [("Rao", "corrected GLU 6.0")]


async def test_a_correction_of_the_day_is_of_the_document_that_it_corrects(lab: Lab) -> None:
    """The day was typed wrongly."""
    await lab.says("F GLU 9.9", day=3)
    if await lab.says("C GLU 6.0", day=3, measured=2) == "held":
        await lab.releases()
    assert both(lab) == [("Rao", "corrected GLU 6.0")]


async def test_a_preliminary_report_after_midnight_is_of_its_document(lab: Lab) -> None:
    await lab.says("P GLU 9.1", measured=None)
    if await lab.says("F GLU 9.9", day=2, measured=None) == "held":
        await lab.releases()
    assert both(lab) == [("Rao", "final GLU 9.9")]


@pytest.mark.parametrize("who", [MEERA, RAVI], ids=["the same patient", "another one"])
async def test_a_finished_document_alone_is_known_just_so(lab: Lab, who: str) -> None:
    await lab.says("F PDF -", pdf=True)
    await lab.says("C PDF -", day=2, measured=1, pdf=True)
    assert both(lab) == [("Rao", "amended")]
    await lab.says("F PDF -", day=2, pdf=True, who=who)
    assert both(lab) == sorted([("Rao", "amended"), ("Rao" if who == MEERA else "Nair", "final")])


async def test_what_is_decided_of_a_document_is_so_when_it_is_made_again(lab: Lab) -> None:
    await lab.says("F GLU 9.9", measured=None)
    await lab.says("C GLU 6.0", day=2, measured=None)
    ran = await lab.site.labrelay("reprocess", "--channel", "an1", "--since", "1d", "-o", "json")
    assert ran.json["outcomes"] == {"unchanged": 2}, ran.err
    number = str(lab.site.messages()[-1].id)
    told = await lab.site.labrelay("explain", number, "--show-values", "--purpose", "a test", "-o", "json")
    (message,) = told.json["messages"]
    values = {one["path"]: one["value"] for one in message["values"]}
    shown = lab.documents()[-1]
    assert values["Bundle[1].identifier.value"] == shown["identifier"]["value"]
    assert values["Composition[1].identifier.value"] == _only(shown, "Composition")["identifier"]["value"]
    assert values["Observation[1].status"] == "corrected"


@pytest.mark.parametrize("who", [MEERA, RAVI], ids=["the same patient", "another one"])
@pytest.mark.parametrize("pdf", [False, True], ids=["results", "a finished document"])
async def test_a_unique_number_that_is_given_again_is_of_another_document(lab: Lab, who: str, pdf: bool) -> None:
    await lab.says("F GLU 9.9", at="unique", pdf=pdf)
    if await lab.says("F GLU 4.4", day=61, who=who, at="unique", pdf=pdf) == "held":
        await lab.releases()
    said = ("final", "final") if pdf else ("final GLU 9.9", "final GLU 4.4")
    assert both(lab) == sorted([("Rao", said[0]), ("Rao" if who == MEERA else "Nair", said[1])])
    await lab.says("C GLU 4.0", day=62, measured=61, who=who, at="unique", pdf=pdf)
    said = ("final", "amended") if pdf else ("final GLU 9.9", "corrected GLU 4.0")
    assert both(lab) == sorted([("Rao", said[0]), ("Rao" if who == MEERA else "Nair", said[1])])
    ran = await lab.site.labrelay("reprocess", "--channel", "unique", "--since", "1d", "-o", "json")
    assert ran.json["outcomes"] == {"unchanged": 3}, ran.err


async def test_a_report_that_corrects_a_result_of_another_document_waits(lab: Lab) -> None:
    """The other one would stay as it was."""
    await lab.says("F GLU 9.9")
    await lab.says("F K 4.4 18")
    assert await lab.says("C GLU 6.0", "C K 4.0 18") == "held"
    assert both(lab) == [("Rao", "final GLU 9.9"), ("Rao", "final K 4.4")]


async def test_a_correction_of_one_order_of_a_report_does_not_stand_beside_it(lab: Lab) -> None:
    await lab.says("F GLU 9.9", "F K 4.4 18")
    assert await lab.says("C K 4.0 18") == "held"
    assert await lab.says("C GLU 6.0", "F K 4.4 18") == "delivered"
    assert both(lab) == [("Rao", "corrected GLU 6.0, final K 4.4")]
