"""A code is corrected on the page: drafted, checked at its field, previewed, put in force under a name, taken back."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import pytest

from engine.actions.declaring import Verb
from engine.actions.pause_resume import Switches
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import verbs_of
from engine.config.load import Site as Configuration
from engine.config.load import load_site
from engine.diagnostics.packs import suggested
from engine.features.codes.rows import list_corrections
from engine.features.codes.service.correcting import MOST_WAITING
from engine.mapping.code_tables.suggestions import Suggestion
from engine.model.message import Unmapped
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.model.routes import ChannelRoutes
from engine.model.site.corrections import Correction, in_force
from engine.runtime.build import build_site
from engine.store.journal import Journal
from engine.store.operations import record_outcome
from engine.store.queries.acts import acts_page
from tests.results.test_reprocessing import message
from tests.support import access
from tests.support.access import HTML, Browser, Site
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.journals import store
from tests.support.running import hl7_channel, make_running_site
from tests.support.status_server import Element

ROW, DO, MADE = "/codes/row?lang=en", "/codes/row/do?lang=en", "/codes/corrections?lang=en"
DEADLINE_S = 120
GOOD = {"cell-loinc": "718-7", "cell-type": "NM", "cell-ucum": "g/dL"}


@dataclass
class Lab:
    """The site behind the page, without a daemon: what it maps with follows the journal."""

    folder: Path
    journal: Journal = None  # type: ignore[assignment]  # known once the page runs
    gate: Event = field(default_factory=Event)  # set: a look goes on
    _built: tuple[int, Mapping[str, ChannelRoutes]] = (-1, {})

    def made(self) -> list[Correction]:
        return list_corrections(self.journal)

    def __post_init__(self) -> None:
        self.gate.set()

    def loaded(self) -> Configuration:
        assert self.gate.wait(DEADLINE_S)
        return replace(load_site(self.folder), corrections=in_force(self.made()))

    def routes(self) -> Mapping[str, ChannelRoutes]:
        version = len(self.made())
        if self._built[0] != version:
            built = build_site(self.loaded(), identity_key=bytes(32), clock=SystemClock())
            self._built = version, {name: one.routes for name, one in built.channels.items()}
        return self._built[1]

    def suggestions(self, channel: str) -> Sequence[Suggestion]:
        return suggested(load_site(self.folder), channel)

    def verbs(self, journal: Journal) -> dict[str, Verb]:
        self.journal = journal
        site = RunningSite(
            acts=Acts(journal, channels=self.routes),
            switches=Switches(journal),
            data=journal.path.parent,
            loaded=self.loaded,
        )
        return dict(verbs_of(site))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(
        make_running_site(tmp_path / "site", {"lab": hl7_channel()}, {"lab-fhir": {"kind": "file", "folder": "out"}})
    )


@pytest.fixture
async def here(tmp_path: Path, lab: Lab) -> AsyncIterator[Site]:
    more = {"channels": lab.routes, "suggestions": lab.suggestions}
    async with access.site(tmp_path / "var", verbs=lab.verbs, **more) as made:
        for one in await store(made.journal, message(1), message(2), channel="lab"):
            gaps = (Unmapped("analytes", "HGB", "g/dL", "Haemoglobin"), *(Unmapped("analytes", evil) for evil in EVIL))
            await made.journal.run(record_outcome.record, one.id, Outcome("filtered", unmapped=gaps))
        yield made


@pytest.fixture
async def engineer(here: Site) -> AsyncIterator[Browser]:
    async with here.browser() as browser:
        await browser.log_in("engineer")
        yield browser


def offers(page: Element) -> list[str]:
    return [one.attributes["href"] for one in page.all("a", class_="offer")]


async def drafted(browser: Browser) -> tuple[Element, dict[str, str]]:
    """The empty form of hemoglobin's gap, and its fields."""
    _, page = await browser.get("/codes?lang=en")
    href = next(one.one("a").attributes["href"] for one in page.all("th") if one.text.startswith("HGB"))
    status, page = await browser.get(href)
    assert status == 200
    return page, await filled(page, -1)


async def filled(page: Element, which: int) -> dict[str, str]:
    """The fields of a form of the page as they are."""
    form = page.one("main").all("form")[which]
    return {one.attributes["name"]: one.attributes.get("value", "") for one in form.all("input")} | {
        one.attributes["name"]: "" for one in form.all("select")
    }


async def looked(browser: Browser, **cells: str) -> tuple[int, Element]:
    _, fields = await drafted(browser)
    return await browser.post(ROW, {**fields, **cells})


async def test_from_the_gap_to_the_row_in_force_and_back(here: Site, lab: Lab, engineer: Browser) -> None:
    page, fields = await drafted(engineer)
    assert (fields["cell-code"], fields["cell-unit_in"], fields["cell-loinc"]) == ("HGB", "g/dL", "")
    assert "The analyzer calls it Haemoglobin" in page.text
    status, page = await looked(engineer, **GOOD, **{"cell-note": "asked Dr. Rao"})
    assert status == 200
    assert "loinc=718-7" in page.text
    assert "Observation.code.coding.code" in page.text
    assert "Another document 2" in page.text
    assert "Canary" not in page.text
    assert lab.made() == []  # nothing is done by looking

    confirm = await filled(page, 0)
    status, page = await engineer.post(DO, {**confirm, "reason": "the maker's list", "act": "make"})
    link = page.one("main").one("p", role="status").one("a")
    assert link.attributes["href"].startswith("/affected?channel=lab")
    (made,) = lab.made()
    assert (made.by, made.reason, made.cells["loinc"]) == ("engineer", "the maker's list", "718-7")
    assert made.cells["display"] == "Hemoglobin [Mass/volume] in Blood"
    assert next((act.actor, act.verb) for act in acts_page(lab.journal)) == ("engineer", "table-set")

    _, page = await engineer.get("/codes?lang=en")
    assert not [one for one in page.all("th") if one.text.startswith("HGB")]
    status, page = await engineer.get(MADE)
    assert "in force" in page.text
    words = ("the maker's list", "asked Dr. Rao")
    assert all(one in page.text for one in words)
    async with here.browser() as viewer:  # words of people are for those who do the work
        await viewer.log_in("viewer")
        _, seen = await viewer.get(MADE)
        assert ("engineer" in seen.text, "loinc=718-7" in seen.text) == (True, True)
        assert not any(one in seen.text for one in words)
    undo = next(one for one in offers(page) if "undo" in one)
    status, page = await engineer.get(undo)
    assert "as the files say" in page.text
    await engineer.post("/codes/undo?lang=en", {**await filled(page, 0), "reason": "not so", "act": "make"})
    assert [(one.undoes, dict(one.cells)) for one in lab.made()][1] == (1, {})
    await drafted(engineer)  # the code is in the list again


WRONG = [
    ({"cell-loinc": "718-8"}, "cell-loinc", "check digit"),
    ({"cell-loinc": "99999-5"}, "cell-loinc", "compare it at loinc.org"),
    ({**GOOD, "cell-ucum": "10*9/L"}, "cell-loinc", "is a term for mass/volume"),
    ({**GOOD, "cell-ucum": "g/dLx"}, "cell-ucum", "is no UCUM unit"),
    ({**GOOD, "cell-factor": "ten"}, "cell-factor", "is no decimal"),
    ({**GOOD, "cell-code": "*"}, "cell-code", "would match anything"),
    ({}, "cell-loinc", "does not say what the code means"),
    ({**GOOD, "cell-note": "a‮b"}, "cell-note", "visible characters"),
]


@pytest.mark.parametrize(("cells", "field", "said"), WRONG)
async def test_an_error_is_at_its_field(
    engineer: Browser, lab: Lab, cells: dict[str, str], field: str, said: str
) -> None:
    status, page = await looked(engineer, **cells)
    assert status == 400
    assert said in page.one("span", id=f"{field}-wrong").text
    wrong = page.one("main").one(id=field)
    hints = [f"{field}-hint"] * len(page.all("span", id=f"{field}-hint"))
    assert wrong.attributes["aria-describedby"].split() == [f"{field}-wrong", *hints], "a screen reader reads both"
    assert not page.all("button", value="make")
    assert lab.made() == []


async def test_a_doubt_is_confirmed_by_a_tick(engineer: Browser) -> None:
    status, page = await looked(engineer, **{"cell-loinc": "99999-5"})
    assert (status, len(page.all("input", name="cell-meant"))) == (400, 1)
    status, page = await looked(engineer, **{"cell-loinc": "99999-5", "cell-meant": "yes"})
    assert status == 200
    assert (await filled(page, 0))["cell-meant"] == "yes"


async def test_the_term_of_another_code_is_doubted(engineer: Browser) -> None:
    other = {"cell-code": "HGB2", **GOOD}
    status, page = await looked(engineer, **other)  # of no other code yet
    await engineer.post(DO, {**await filled(page, 0), "reason": "the maker's list", "act": "make"})
    status, page = await looked(engineer, **GOOD)
    assert status == 400
    said = page.one("span", id="cell-loinc-wrong").text
    assert "LOINC 718-7 is the code of HGB2, too" in said
    assert "tick the box below" in said
    assert "write yes" not in said
    status, page = await looked(engineer, **GOOD, **{"cell-meant": "yes"})
    assert status == 200
    status, page = await looked(engineer, **{**other, "cell-unit_in": "g/L", "cell-ucum": "g/L"})
    assert status == 200, "the same code with another unit"


async def test_the_usual_types_come_first_and_numbers_have_hints(engineer: Browser) -> None:
    _, page = await looked(engineer, **{**GOOD, "cell-type": "CE"})
    assert [one.attributes["value"] for one in page.all("option")][:4] == ["", "NM", "ST", "none"]
    (chosen,) = [one for one in page.all("option") if "selected" in one.attributes]
    assert chosen.attributes["value"] == "CE"
    for name in ("factor", "offset", "unit"):
        assert page.one("input", id=f"cell-{name}").attributes["aria-describedby"] == f"cell-{name}-hint"
        assert "Empty:" in page.one("span", id=f"cell-{name}-hint").text


async def test_two_at_once(here: Site, lab: Lab, engineer: Browser) -> None:
    _, first = await looked(engineer, **GOOD)
    async with here.browser() as other:
        await other.log_in("admin")
        _, second = await looked(other, **GOOD, **{"cell-note": "mine"})
        await other.post(DO, {**await filled(second, 0), "reason": "x", "act": "make"})
    status, page = await engineer.post(DO, {**await filled(first, 0), "reason": "x", "act": "make"})
    assert (status, "have changed meanwhile" in page.text) == (403, True)
    assert [one.by for one in lab.made()] == ["admin"]


@pytest.mark.parametrize("person", ["viewer", "operator"])
async def test_who_may_not_change_sees_the_list_alone(here: Site, person: str) -> None:
    async with here.browser() as browser:
        await browser.log_in(person)
        _, page = await browser.get("/codes?lang=en")
        assert offers(page) == []
        assert not page.all("form", action="/codes/row")
        assert (await browser.get(MADE))[0] == 200
        assert (await browser.get("/codes/row?gap=1"))[0] == 403
        assert (await browser.get("/codes/undo?correction=1"))[0] == 403


async def test_texts_of_devices_are_shown_as_signs(engineer: Browser) -> None:
    _, page = await engineer.get("/codes?lang=en")
    for number in range(1, len(EVIL) + 2):
        href = f"/codes/row?gap={number}"
        async with engineer.client.get(href) as answer:
            assert answer.status == (200 if f"{href}&lang=en" in offers(page) else 404)
            text = await answer.text()
        assert [one for one in FORBIDDEN if one in text] == []


async def test_what_is_not_there(engineer: Browser) -> None:
    for address in ("/codes/row?gap=999", "/codes/row?correction=9", "/codes/row?channel=none&code=A"):
        assert (await engineer.get(address))[0] == 404
    assert (await engineer.get("/codes/undo?correction=9&lang=en"))[0] == 403


async def test_a_row_of_a_table_is_overridden(lab: Lab, engineer: Browser) -> None:
    """The wrong LOINC of a file is corrected without a gap."""
    tables = lab.folder / "mappings" / "tables"
    tables.mkdir(parents=True)
    (tables / "analytes.csv").write_text(
        "code,unit_in,loinc,type,ucum,source\nHGB,g/dL,20509-6,NM,g/dL,typed by hand\n"
    )
    status, page = await engineer.get("/codes/row?channel=lab&code=HGB&lang=en")
    assert (status, "typed by hand" in page.text) == (200, True)
    fields = await filled(page, -1) | GOOD | {"cell-unit_in": "g/dL"}
    status, page = await engineer.post(ROW, fields)
    assert (status, "loinc=20509-6" in page.text) == (200, True)
    await engineer.post(DO, {**await filled(page, 0), "reason": "wrong all week", "act": "make"})
    (made,) = lab.made()
    assert made.covers["loinc"] == "20509-6"


async def test_of_many_previews_some_wait_and_more_are_refused(lab: Lab, engineer: Browser) -> None:
    _, fields = await drafted(engineer)

    async def look() -> tuple[int, str, str]:
        async with engineer.client.post(ROW, data={**fields, **GOOD}, headers=HTML) as answer:
            return answer.status, answer.headers.get("Retry-After", ""), await answer.text()

    lab.gate.clear()
    looks = {asyncio.ensure_future(look()) for _ in range(MOST_WAITING + 2)}
    try:
        (refused,), others = await asyncio.wait(looks, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        status, retry_after, text = refused.result()
        assert (status, retry_after) == (503, "5")
        assert "Other corrections are looked at just now; try again in a few seconds." in text
        assert "718-7" in text  # the draft stays
    finally:
        lab.gate.set()
    assert [one[0] for one in await asyncio.gather(*others)] == [200] * (MOST_WAITING + 1)


async def test_rows_of_a_specimen_are_not_taken_away_unseen(lab: Lab, engineer: Browser) -> None:
    tables = lab.folder / "mappings" / "tables"
    tables.mkdir(parents=True)
    (tables / "analytes.csv").write_text(
        "code,unit_in,specimen,loinc,type,ucum\nHGB,g/dL,,20509-6,NM,g/dL\nHGB,g/dL,UR,725-2,NM,g/dL\n"
    )
    status, page = await engineer.get("/codes/row?channel=lab&code=HGB&lang=en")
    fields = await filled(page, -1) | GOOD | {"cell-unit_in": "g/dL"}
    assert (status, fields["cell-specimen"], "cell-device" in fields) == (200, "", False)
    status, page = await engineer.post(ROW, fields)
    said = page.one("span", id="cell-code-wrong").text
    assert (status, "HGB,g/dL,*,UR (725-2)" in said) == (400, True)
    status, page = await engineer.post(ROW, {**fields, "cell-meant": "yes"})
    assert status == 200
    assert "Rows of the files that are not used any more: HGB,g/dL,*,UR (725-2)" in page.text
    status, page = await engineer.post(ROW, {**fields, "cell-specimen": "BLD"})
    assert (status, "not used any more" in page.text) == (200, False)


# -- suggestions -----------------------------------------------------------------------------------------------------

OF_A_PACK = """\
channel: chem
analyzer: roche-cobas-c311
timezone: UTC
source: {kind: astm, listen: "127.0.0.1:0"}
routes: [{mapping: astm-results, to: lab-fhir}]
"""
CHEM = "/codes/row?lang=en&channel=chem&"


@pytest.fixture
def of_a_pack(lab: Lab) -> Lab:
    (lab.folder / "channels" / "chem.yaml").write_text(OF_A_PACK, encoding="utf-8")
    return lab


async def test_a_suggestion_fills_the_draft_and_nothing_else(of_a_pack: Lab, engineer: Browser) -> None:
    _, page = await engineer.get(f"{CHEM}code=158/&unit=U/l")
    text = page.one("main").text
    assert "suggested by the maker's list (unconfirmed)" in text
    assert "ALP2S is ACN 158" in text
    fields = await filled(page, -1)
    assert (fields["cell-code"], fields["cell-unit_in"], fields["cell-loinc"]) == ("158/", "U/l", "")

    status, page = await engineer.get(offers(page)[0])
    assert status == 200
    assert "The draft is filled from a suggestion. Nothing is in force yet." in page.text
    fields = await filled(page, -1)
    assert (fields["cell-loinc"], fields["cell-ucum"]) == ("6768-6", "U/L")
    assert fields["cell-note"].startswith("suggested: Roche method sheet ALP2")
    assert of_a_pack.made() == []  # a link does nothing

    status, page = await engineer.post(ROW, {**fields, "cell-type": "NM"})
    assert status == 200
    assert "loinc=6768-6" in page.text
    assert "suggested by the maker's list (unconfirmed)" in page.one("main").text
    assert of_a_pack.made() == []  # nor does a look
    status, page = await engineer.post(DO, {**await filled(page, 0), "reason": "our test list", "act": "make"})
    (made,) = of_a_pack.made()
    assert (made.channel, made.cells["loinc"], made.by) == ("chem", "6768-6", "engineer")


async def test_candidates_are_for_a_person_to_choose(of_a_pack: Lab, engineer: Browser) -> None:
    _, page = await engineer.get(f"{CHEM}code=253/&unit=mg/l")
    assert len(offers(page)) == 2
    found = {(await filled((await engineer.get(href))[1], -1))["cell-loinc"] for href in offers(page)}
    assert found == {"14957-5", "1754-1"}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("code=158/&unit=mg/dl", "For another unit: U/l"),
        ("code=412/&unit=g/l", "none: the source does not lead to one"),
        ("code=687/&unit=U/l", "Nothing is suggested for this code."),
    ],
)
async def test_what_does_not_fit_is_not_offered(of_a_pack: Lab, engineer: Browser, asked: str, says: str) -> None:
    status, page = await engineer.get(f"{CHEM}{asked}")
    assert (status, offers(page)) == (200, [])
    assert says in page.one("main").text


async def test_a_line_of_another_code_or_unit_fills_nothing(of_a_pack: Lab, engineer: Browser) -> None:
    _, page = await engineer.get(f"{CHEM}code=158/&unit=U/l")
    (href,) = offers(page)
    for other in (
        href.replace("158", "683"),
        href.replace("unit=U%2Fl", "unit=mg%2Fdl"),
        re.sub(r"suggested=\d+", "suggested=9999", href),
    ):
        assert other != href
        _, page = await engineer.get(other)
        assert (await filled(page, -1))["cell-loinc"] == ""


async def test_an_analyzer_without_a_pack_has_no_suggestions(engineer: Browser) -> None:
    page, _ = await drafted(engineer)
    assert "Nothing is suggested for this code." in page.one("main").text


async def test_the_list_says_where_a_source_suggests_a_meaning(here: Site, of_a_pack: Lab, engineer: Browser) -> None:
    for one in await store(here.journal, message(3), channel="chem"):
        gaps = (Unmapped("analytes", "158/", "U/l"), Unmapped("analytes", "687/", "U/l"))
        await here.journal.run(record_outcome.record, one.id, Outcome("filtered", unmapped=gaps))
    _, page = await engineer.get("/codes?lang=en&channel=chem")
    told = {one.text.split()[0]: "a source suggests a meaning" in one.text for one in page.all("th", class_="name")}
    assert told == {"158/": True, "687/": False}


async def test_suggestions_that_cannot_be_read_are_said_and_stop_nothing(of_a_pack: Lab, engineer: Browser) -> None:
    own = of_a_pack.folder / "analyzers" / "roche-cobas-c311"
    shutil.copytree(Path(__file__).parents[5] / "analyzers" / "roche-cobas-c311", own)
    (own / "suggestions.csv").write_text("code,loinc\n158/,6768-6\n", encoding="utf-8")
    status, page = await engineer.get(f"{CHEM}code=158/&unit=U/l")
    assert (status, offers(page)) == (200, [])
    assert "cannot be read; labrelay check says why" in page.one("main").text.replace("`", "")
    assert (await filled(page, -1))["cell-code"] == "158/"
