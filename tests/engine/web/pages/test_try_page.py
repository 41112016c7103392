"""A mapping is tried on the page: the result is explained, nothing kept, and an end to what it may take."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from engine.commands.shared.trying import BUSY, SiteTrials
from engine.model.message import FormatOptions, MapContext
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes, Route
from tests.support import access, shipped
from tests.support.access import Site
from tests.support.filled_journal import CANARY, CHANNEL, DELIVERED, fill_journal
from tests.support.revealed import Known
from tests.support.sites import make_site

MESSAGE = (
    "MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|C1|P|2.5\nPID|1||77^^^HOSP^MR||ZEBRA^ANITA\n"
    "OBR|1|O1|F1|CBC\nOBX|1|NM|XYZZY^Odd^L||14.1|g/dL|||||F\n"
)
MAPPING = "hl7-results"


class Trials:
    """The trials of a page; the site of a test has a channel of the name that the journal has."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.trials = SiteTrials(folder, within_s=60.0)

    async def __call__(self, *asked: Any) -> Any:
        self.asked.append(asked)
        return await self.trials(*asked)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    folder = tmp_path / "site"
    make_site(folder)
    return Trials(folder)


@pytest.fixture
async def here(tmp_path: Path, known: Known, trials: Trials) -> AsyncIterator[Site]:
    data = tmp_path / "data"
    await asyncio.to_thread(fill_journal, data, ManualClock())
    route = Route(when=None, program=shipped.program(MAPPING), to=("archive",))
    routes = ChannelRoutes(
        channel=CHANNEL, message_format=hl7v2, media_type="", options=FormatOptions(), routes=(route,),
        context=MapContext(),
    )  # fmt: skip
    async with access.site(data, verbs=known.verbs, channels=lambda: {CHANNEL: routes}, trial=trials) as made:
        await made.add("both", "engineer", sees_patients=True)
        yield made


async def tried(here: Site, person: str = "engineer", **typed: str) -> tuple[int, Any]:
    async with here.browser() as browser:
        await browser.log_in(person)
        return await browser.send("/try?lang=en", **typed)


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_a_pasted_message_is_mapped_and_explained_and_nothing_is_kept(
    here: Site, known: Known, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = here.journal.last_id
    with caplog.at_level(logging.DEBUG):
        status, page = await tried(here, message=MESSAGE, mapping=MAPPING)
    assert status == 200
    result = page.one("main").one("section").text
    assert "14.1" in result
    assert "lab.yaml:" in result
    assert "XYZZY" in page.one("main").one("section").all("ul")[0].text
    assert "ZEBRA" not in caplog.text
    assert here.journal.last_id == before + 1  # the log-in
    assert await asyncio.to_thread(files_with, tmp_path, b"ZEBRA") == []
    assert known.reveals() == []


async def test_an_edited_text_takes_the_place_of_the_file_and_its_faults_are_said(here: Site, trials: Trials) -> None:
    _, page = await tried(here, message=MESSAGE, mapping=MAPPING, text="mapping: hl7-results\nnonsense: [\n")
    assert f"{MAPPING}.yaml:" in page.one("main").one("section").text
    assert trials.asked[-1][2] == "mapping: hl7-results\nnonsense: [\n"


@pytest.mark.parametrize("name", ["/etc/passwd.yaml", "../lab.yaml", "no-such", "tables/loinc.csv"])
async def test_a_mapping_is_never_a_path(here: Site, trials: Trials, name: str) -> None:
    await tried(here, message=MESSAGE, mapping=name)
    assert trials.asked[-1][1] == ""


@pytest.mark.parametrize(("typed", "says"), [
    ({}, "Paste a message"), ({"message": "x", "text": "mapping: a"}, "Choose the mapping"),
    ({"message": "x" * 300_000}, "too large"),
    ({"message": "x", "mapping": MAPPING, "text": "x" * 200_000}, "too large"),
])  # fmt: skip
async def test_what_cannot_be_tried_is_said(here: Site, trials: Trials, typed: dict[str, str], says: str) -> None:
    status, page = await tried(here, **typed)
    assert (status, trials.asked) == (400, [])
    assert says in page.one("main").one("p", role="alert").text


async def test_a_message_of_the_journal_needs_a_purpose_and_leave_to_see_it(here: Site, known: Known) -> None:
    status, page = await tried(here, stored=str(DELIVERED), purpose="a call", mapping=MAPPING)
    assert (status, known.reveals()) == (403, [])
    assert CANARY not in page.text
    status, page = await tried(here, "both", stored=str(DELIVERED), purpose="", mapping=MAPPING)
    assert (status, known.reveals()) == (400, [])
    assert CANARY not in page.text
    status, page = await tried(here, "both", stored=str(DELIVERED), purpose="a call", mapping=MAPPING)
    assert (status, known.reveals()) == (200, [("both", DELIVERED, "a call")])
    assert CANARY in page.text


async def test_one_trial_at_a_time_and_an_end_to_its_time(tmp_path: Path) -> None:
    make_site(tmp_path / "site")
    trials = SiteTrials(tmp_path / "site", within_s=0.01)
    first, second = await asyncio.gather(
        trials("", MAPPING, "", MESSAGE, "utf-8"), trials("", MAPPING, "", MESSAGE, "utf-8")
    )
    assert second == {"trouble": BUSY}
    assert "took longer" in first["trouble"]
    assert "took longer" in (await trials("", "", "", MESSAGE, "utf-8"))["trouble"], "the place is free again"
