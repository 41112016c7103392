"""Corrections of code tables: the model that says which row decides, and a running site that follows it.

files        key -> term                        change at any time, without us
corrections  (key, term or none, undone)        added, never changed; the version is their number
decides      the newest correction of a key, where it has a term; else the files
disagrees    a correction in force, of whose key the files say something else than when it was made
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import aiohttp
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.commands.shared.output import ExitCode
from engine.config.load import Site, load_site
from engine.features.codes import rows as corrections
from engine.features.codes.rows import list_corrections
from engine.features.codes.service import corrections as acting
from engine.features.codes.service.correcting import MOST_WAITING, Correcting, Previews
from engine.mapping.loading import load, load_tables
from engine.model.errors import IntegrityError, OccupiedError, RefusedError
from engine.model.site.corrections import Correction, RowChange, in_force
from engine.runtime.app import App
from engine.runtime.build import BuiltSite, build_site
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from tests.results.test_reprocessing import message
from tests.support.examples import examples
from tests.support.journals import opened
from tests.support.large import all_large
from tests.support.running import QUICK, RunningSite, hl7_channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.sites import make_site
from tests.support.waiting import until
from workbench.sandbox import Sandbox

DEADLINE_S = 120
TERMS = ("718-7", "2345-7", "2160-0", "1751-7")
KEYS = tuple({"code": code, "unit_in": unit} for code, unit in (("A", ""), ("B", ""), ("A", "g/L"), ("C", "*")))
HEADER = "code,unit_in,loinc,type\n"
LANGUAGE = """\
mapping: results
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
bundle: transaction
tables:
  analytes: {csv: tables/mine.csv, key: [code, unit_in]}
steps:
  - create: Organization
    when: =MSH-4.1
    key: =MSH-4.1
    request: create_if_none
    body:
      name: =lookup('analytes', MSH-4.1, MSH-4.2).display
"""
keys, terms = st.sampled_from(range(len(KEYS))), st.sampled_from(TERMS)


@dataclass
class Expected:
    """The model."""

    files: dict[int, str] = field(default_factory=dict)
    made: list[tuple[int, str, str]] = field(default_factory=list)  # key, term or "", what the files said

    def newest(self, key: int) -> tuple[str, str]:
        return next(((term, covers) for one, term, covers in reversed(self.made) if one == key), ("", ""))

    def decides(self, key: int) -> str:
        return self.newest(key)[0] or self.files.get(key, "")

    def doubted(self, key: int, term: str) -> bool:
        """Whether another code has this term with this unit."""
        code, unit = KEYS[key]["code"], KEYS[key]["unit_in"]
        others = (other for other, one in enumerate(KEYS) if one["code"] != code and one["unit_in"] == unit)
        return bool(term) and any(self.decides(other) == term for other in others)

    def disagree(self) -> set[int]:
        found = set()
        for key in range(len(KEYS)):
            term, covers = self.newest(key)
            if term and covers != self.files.get(key, ""):
                found.add(key)
        return found


class Tables(RuleBasedStateMachine):
    """A site without a daemon: every look reads the files and the journal anew, as `check` does."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.site_folder = Path(self.folder.name)
        (self.site_folder / "mappings/tables").mkdir(parents=True)
        self.expected = Expected()
        self.write()
        make_site(self.site_folder, mapping=LANGUAGE)
        self.journal: Journal = opened(self.site_folder / "var")

    def write(self) -> None:
        rows = [
            f"{KEYS[key]['code']},{KEYS[key].get('unit_in', '')},{term},\n" for key, term in self.expected.files.items()
        ]
        (self.site_folder / "mappings/tables/mine.csv").write_text("".join([HEADER, *rows]))

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()

    @property
    def files(self) -> Site:
        return load_site(self.site_folder)

    def made(self) -> list[Correction]:
        return list_corrections(self.journal)

    def add(self, change: RowChange, version: int) -> bool:
        """As a person does it who has seen ``version``; False: refused."""
        found = acting.examined(self.files, self.made(), change)
        if found.problems:
            return False
        self.journal.run_alone(lambda batch: corrections.add(batch, found.change, "asha", version=version))
        return True

    @rule(key=keys, term=st.sampled_from((*TERMS, "")))
    def set(self, key: int, term: str) -> None:
        cells = {"loinc": term} if term else {}
        now = self.expected.newest(key)[0]
        nothing_changes = term == now if term else not now
        nothing_changes = nothing_changes and bool(term) == bool(now)
        change = RowChange(channel="haematology", table="analytes", key=KEYS[key], cells=cells, reason="why")
        if self.expected.doubted(key, term):
            assert not self.add(change, len(self.expected.made))
            change = replace(change, cells={**cells, "meant": "yes"})
        assert self.add(change, len(self.expected.made)) is not nothing_changes
        if not nothing_changes:
            self.expected.made.append((key, term, self.expected.files.get(key, "")))

    @precondition(lambda self: self.expected.made)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(1, len(self.expected.made)))
        key, _, _ = self.expected.made[version - 1]
        of_key = [at for at, one in enumerate(self.expected.made, 1) if one[0] == key]
        try:
            change = acting.undone(self.made(), version, "wrong")
        except RefusedError:
            assert of_key[-1] != version
            return
        assert of_key[-1] == version
        before = self.expected.made[of_key[-2] - 1][1] if len(of_key) > 1 else ""
        assert self.add(change, len(self.expected.made))
        self.expected.made.append((key, before, self.expected.files.get(key, "")))

    @precondition(lambda self: self.expected.made)
    @rule(key=keys, term=terms, behind=st.integers(1, 3))
    def two_at_once(self, key: int, term: str, behind: int) -> None:
        """The second of two who have seen the same version is refused."""
        change = RowChange(channel="haematology", table="analytes", key=KEYS[key], cells={"loinc": term}, reason="x")
        with pytest.raises(RefusedError, match="have changed meanwhile"):
            self.journal.run_alone(
                lambda batch: corrections.add(batch, change, "ravi", version=len(self.expected.made) - behind)
            )

    @rule(key=keys, term=st.sampled_from((*TERMS, "")))
    def files_change(self, key: int, term: str) -> None:
        self.expected.files.pop(key, None)
        if term:
            self.expected.files[key] = term
        self.write()

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = opened(self.site_folder / "var")

    @invariant()
    def one_row_decides(self) -> None:
        if not hasattr(self, "journal"):
            return
        made, files = self.made(), self.files
        assert [one.version for one in made] == list(range(1, len(self.expected.made) + 1))
        site = Site(**{**_fields(files), "corrections": in_force(made)})
        table = load_tables("results", site.mapping_path(), tables=site.tables_of(site.channels["haematology"]))
        for number, key in enumerate(KEYS):
            row = table["analytes"].find((key["code"], "L" if key.get("unit_in") == "*" else key.get("unit_in", "")))
            assert (row.code if row is not None else None) == (self.expected.decides(number) or None), key
        unlike = acting.disagreements(files, made)
        assert {KEYS.index(dict(one.key)) for one, *_ in unlike} == self.expected.disagree()
        changed = any(self.expected.newest(key)[0] for key in range(len(KEYS)))
        assert (site.hash != files.hash) is changed


def _fields(site: Site) -> dict[str, object]:
    return {name: getattr(site, name) for name in Site.__dataclass_fields__}


Tables.TestCase.settings = settings(max_examples=examples(12), stateful_step_count=14, deadline=None)
TestTables = Tables.TestCase


# -- a running site ----------------------------------------------------------------------------------------------------

HGB = {"code": "HGB", "unit_in": "g/dL"}
RIGHT = {"loinc": "718-7", "type": "NM", "ucum": "g/dL"}


def row(cells: dict[str, str], reason: str = "the maker's list", key: dict[str, str] = HGB) -> RowChange:
    return RowChange(channel="lab", table="analytes", key=key, cells=cells, reason=reason)


def correcting(app: App) -> Correcting:
    return Correcting(app.journal, lambda: app.parts.built.site, app)


async def correct(app: App, cells: dict[str, str], *, version: int, by: str = "asha") -> Correction:
    return await correcting(app).make(lambda made: row(cells), by, version=version)


@pytest.fixture(params=[False, True], ids=["small", "large"])
async def site(request: pytest.FixtureRequest, tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    destinations = {
        "lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK},
    }
    make_running_site(tmp_path, {"lab": hl7_channel()}, destinations)
    with all_large(request.param):
        async with running_app(tmp_path) as app:
            yield RunningSite(tmp_path, app, sandbox)


def codes(site: RunningSite, message: int) -> list[str]:
    """The systems of the codes of a message's hemoglobin."""
    return sorted(
        coding.get("system", "local")
        for entry in site.bundles(message)[-1]["entry"]
        if entry["resource"].get("valueQuantity")
        for coding in entry["resource"]["code"]["coding"]
    )


async def send(site: RunningSite, *numbers: int) -> int:
    """The number of the last message's row."""
    for number in numbers:
        await send_blocks(site.port("lab"), [message(number)])
    await site.settled()
    return site.messages("lab")[-1].id


async def test_a_correction_decides_from_the_next_message_on_and_is_taken_back(site: RunningSite) -> None:
    app = site.app
    before = app.parts.built.site.hash
    assert "http://loinc.org" not in codes(site, await send(site, 1))
    made = await correct(app, RIGHT, version=0)
    assert (made.version, made.by, made.reason, made.covers) == (1, "asha", "the maker's list", {})
    assert made.cells["display"] == "Hemoglobin [Mass/volume] in Blood"
    assert app.parts.built.site.hash != before
    assert app.journal.upkeep.config_hash == app.parts.built.site.hash[:12]
    assert "http://loinc.org" in codes(site, await send(site, 2))

    undo = await correcting(app).make(partial(acting.undone, version=1, reason="not so"), "ravi", version=1)
    assert (undo.version, undo.undoes, undo.cells) == (2, 1, {})
    assert app.parts.built.site.hash == before
    assert "http://loinc.org" not in codes(site, await send(site, 3))
    acts = [(act.actor, act.verb, act.what["reason"]) for act in acts_page(app.journal)]
    assert acts == [("ravi", "table-undo", "not so"), ("asha", "table-set", "the maker's list")]


async def test_of_two_who_have_seen_the_same_tables_one_is_refused(site: RunningSite) -> None:
    found = await asyncio.gather(
        correct(site.app, RIGHT, version=0, by="asha"),
        correct(site.app, {**RIGHT, "note": "mine"}, version=0, by="ravi"),
        return_exceptions=True,
    )
    assert sorted(type(one) for one in found if isinstance(one, Exception)) == [RefusedError]
    assert [one.version for one in list_corrections(site.app.journal)] == [1]


async def test_a_message_is_mapped_with_one_version(site: RunningSite) -> None:
    """Messages flow in while a code gets its term, loses it, and gets it again."""
    sending = asyncio.create_task(send(site, *range(1, 41)))
    version = 0
    while not sending.done() and version < 12:
        made = await correct(site.app, {} if version % 2 else RIGHT, version=version)
        version = made.version
    await sending
    assert len(site.ends("lab")) == 40
    with_term = _with_term(site)
    for view in site.messages("lab"):
        mapping = site.trace(view.id).mapping
        assert (mapping in with_term) is ("http://loinc.org" in codes(site, view.id)), (view.id, mapping)


def _with_term(site: RunningSite) -> set[str]:
    """The mappings, as messages name them, that have the corrections of each odd version."""
    found, compiled = set(), []
    made = list_corrections(site.app.journal)
    for version in range(1, len(made) + 1):
        above = in_force(made[:version]).sheets
        if above and above not in compiled:  # it comes back again and again
            compiled.append(above)
            loaded = site.app.parts.built.site
            program = load("hl7-results", loaded.mapping_path(), tables={"analytes": (above["lab"]["analytes"],)})
            found.add(f"{program.name}@{program.content_hash[:12]}")
    return found


async def test_a_damaged_correction_does_not_keep_results_from_flowing(tmp_path: Path, sandbox: Sandbox) -> None:
    make_running_site(tmp_path, {"lab": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}})
    async with running_app(tmp_path) as app:
        await correct(app, RIGHT, version=0)
        await correcting(app).make(
            lambda made: row({"loinc": "789-8", "note": "x"}, key={"code": "RBC"}), "x", version=1
        )
    with closing(sqlite3.connect(tmp_path / "var" / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE correction SET text = zeroblob(60), act = 0 WHERE version = 2")
        connection.commit()
    async with running_app(tmp_path, own_tables=True) as app:
        site = RunningSite(tmp_path, app, sandbox)
        assert "http://loinc.org" in codes(site, await send(site, 1))
        with pytest.raises(IntegrityError):  # which row decides is unknown: none is added
            await correct(app, {}, version=2)
        (alarm,) = app.observer.take().alarms
        assert "cannot be read: 2. They are not in force" in alarm


async def test_a_damaged_correction_does_not_bring_the_wrong_one_back(tmp_path: Path, sandbox: Sandbox) -> None:
    make_running_site(tmp_path, {"lab": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}})
    async with running_app(tmp_path) as app:
        await correct(app, {"loinc": "2345-7", "type": "NM", "ucum": "g/dL", "meant": "yes"}, version=0)
        await correct(app, RIGHT, version=1)
        before = app.parts.built.site.hash
    with closing(sqlite3.connect(tmp_path / "var" / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE correction SET text = zeroblob(60) WHERE version = 2")
        connection.commit()
    async with running_app(tmp_path, own_tables=True) as app:
        assert app.parts.built.site.hash == before
        assert "718-7" in app.parts.built.site.corrections.sheets["lab"]["analytes"].text
        assert app.observer.take().alarms == ()


@pytest.mark.parametrize("daemon", [True, False])
async def test_a_file_that_is_saved_while_it_is_compiled_comes_not_into_force_with_a_correction(
    tmp_path: Path, sandbox: Sandbox, daemon: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved_meanwhile(build: Callable[..., BuiltSite]) -> Callable[..., BuiltSite]:
        def work(*given: Any, **more: Any) -> BuiltSite:
            file = tmp_path / "mappings" / "saved.csv"
            file.parent.mkdir(exist_ok=True)
            file.write_text("code,loinc\n")
            return build(*given, **more)

        return work

    make_running_site(tmp_path, {"lab": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}})
    async with running_app(tmp_path) as app:
        before = app.parts.built.site
        if daemon:
            monkeypatch.setattr(app, "build", saved_meanwhile(app.build))
        else:
            monkeypatch.setattr("engine.features.codes.service.correcting.build_site", saved_meanwhile(build_site))
        made = Correcting(app.journal, lambda: before, app if daemon else None)
        with pytest.raises(RefusedError, match=r"mappings/saved\.csv"):
            await made.make(lambda known: row(RIGHT), "asha", version=0)
        assert list_corrections(app.journal) == []
        assert app.parts.built.site is before


# -- rows of the files beside the one that is corrected --------------------------------------------------------------

OPTIONAL = LANGUAGE.replace("unit_in]}", "unit_in], optional_key: [device, specimen]}").replace(
    "MSH-4.2).", "MSH-4.2, MSH-4.3, MSH-4.4)."
)
FILE = """\
code,unit_in,device,specimen,loinc,type,note
HGB,g/dL,,,718-7,,
HGB,g/dL,,UR,725-2,,
HGB,g/L,,UR,725-2,,
GLU,mg/dL,,,2345-7,,
GLU,mmol/L,,,14749-6,,
K,mmol/L,XN,UR,2828-2,,
MODE,,,,,none,
"""
HGB_UR, GLU_MOL, K_XN_UR = "HGB,g/dL,*,UR", "GLU,mmol/L,*,*", "K,mmol/L,XN,UR"
BLOOD, SUGAR, POTASSIUM = (
    {"code": code, "unit_in": unit} for code, unit in (("HGB", "g/dL"), ("GLU", "mg/dL"), ("K", "mmol/L"))
)
TAKEN = [
    (BLOOD, {"loinc": "718-7", "digits": "0"}, {HGB_UR}),
    (BLOOD, {"note": "gone"}, {HGB_UR}),
    (BLOOD, {"loinc": "725-2"}, set()),  # the urine's row says the same
    (BLOOD, {}, set()),  # as the files say
    ({**BLOOD, "specimen": "UR"}, {"loinc": "718-7"}, set()),  # its own row, below the usual one
    ({**BLOOD, "specimen": "CSF"}, {"loinc": "2345-7"}, set()),
    ({**BLOOD, "device": "XN"}, {"loinc": "718-7"}, {HGB_UR}),  # urine on this device
    ({**POTASSIUM, "specimen": "UR"}, {"loinc": "2823-3"}, {K_XN_UR}),
    ({**POTASSIUM, "device": "AU"}, {"loinc": "2823-3"}, set()),
    (SUGAR, {"loinc": "2345-7", "digits": "0"}, set()),  # another unit is another row
    (SUGAR, {"type": "none"}, {GLU_MOL}),  # but for `none`, in a correction or in a file
    ({"code": "MODE", "unit_in": "1"}, {"loinc": "718-7"}, {"MODE,,*,*"}),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "mappings/tables").mkdir(parents=True)
    (tmp_path / "mappings/tables/mine.csv").write_text(FILE)
    return make_site(tmp_path, mapping=OPTIONAL)


def table_row(key: dict[str, str], cells: dict[str, str]) -> RowChange:
    return RowChange(channel="haematology", table="analytes", key=key, cells=cells, reason="why")


@pytest.mark.parametrize(("key", "cells", "taken"), TAKEN)
def test_other_rows_of_the_files_are_taken_away_knowingly(
    files: Path, key: dict[str, str], cells: dict[str, str], taken: set[str]
) -> None:
    found = acting.examined(load_site(files), [], table_row(key, cells))
    assert set(found.change.beside) == taken
    doubts = [one for one in found.problems if "also takes the place" in one.text]
    assert all(one.doubt for one in doubts)
    assert {name for name in taken if name in " ".join(one.text for one in doubts)} == taken
    assert bool(doubts) is bool(taken)
    if taken:
        sure = acting.examined(load_site(files), [], table_row(key, {**cells, "meant": "yes"}))
        assert (sure.problems, set(sure.change.beside)) == ((), taken)


@pytest.mark.parametrize(
    ("key", "term", "doubted"),
    [
        ({"code": "SGOT", "unit_in": "U/L"}, "1742-6", True),  # the neighbour's term
        ({"code": "SGPT", "unit_in": "U/L"}, "1742-6", True),  # of a correction
        ({"code": "SGOT", "unit_in": "ukat/L"}, "1742-6", False),  # another unit
        ({"code": "sg-pt1", "unit_in": "U/L"}, "1742-6", False),  # another spelling
        ({"code": "1742-6", "unit_in": "U/L"}, "1742-6", True),
        ({"code": "SGOT", "unit_in": "U/L"}, "1920-8", False),
    ],
)
def test_a_term_of_another_code_is_doubted(files: Path, key: dict[str, str], term: str, doubted: bool) -> None:
    if key["code"] == "SGPT":
        other = acting.examined(load_site(files), [], table_row({"code": "ALT", "unit_in": "U/L"}, {"loinc": term}))
        values = {name: getattr(other.change, name) for name in ("channel", "table", "key", "cells")}
        made = [Correction(version=1, act=1, at_us=0, by="asha", **values)]
    else:
        made = []
        (files / "mappings/tables/mine.csv").write_text(f"{FILE}SGPT1,U/L,,,1742-6,,\n")
    site = load_site(files)
    texts = [one.text for one in acting.examined(site, made, table_row(key, {"loinc": term})).problems]
    assert any("is the code of" in text for text in texts) is doubted
    sure = acting.examined(site, made, table_row(key, {"loinc": term, "meant": "yes"}))
    assert not sure.problems
    assert not acting.examined(site, made, replace(table_row(key, {"loinc": term}), undoes=1)).problems


def test_of_many_rows_some_are_named(files: Path) -> None:
    rows = [f"NA,mmol/L,,S{number},2951-2,,\n" for number in range(7)]
    (files / "mappings/tables/mine.csv").write_text("".join([FILE, *rows]))
    found = acting.examined(load_site(files), [], table_row({"code": "NA", "unit_in": "mmol/L"}, {"loinc": "2955-3"}))
    (problem,) = found.problems
    assert "NA,mmol/L,*,S4 (2951-2), and 2 more; " in problem.text


@pytest.mark.parametrize(
    ("added", "taken"),
    [
        ("HGB,g/dL,,CSF,20509-6,,\n", {"HGB,g/dL,*,CSF"}),
        ("HGB,g/dL,,CSF,718-7,,\n", set()),  # says the same
        ("HGB,g/L,,CSF,20509-6,,\n", set()),
    ],
)
def test_a_row_that_a_file_gets_later_is_shown(files: Path, added: str, taken: set[str]) -> None:
    change = acting.examined(load_site(files), [], table_row(BLOOD, {"loinc": "718-7", "meant": "yes"})).change
    assert set(change.beside) == {HGB_UR}
    values = {name: getattr(change, name) for name in ("channel", "table", "key", "cells", "covers", "beside")}
    made = [Correction(version=1, act=1, at_us=0, by="asha", **values)]
    assert acting.disagreements(load_site(files), made) == []
    (files / "mappings/tables/mine.csv").write_text(FILE + added)
    found = acting.disagreements(load_site(files), made)
    assert [set(one.taken) for one in found] == ([taken] if taken else [])


async def test_the_system_page_names_files_that_are_not_reloaded(tmp_path: Path, sandbox: Sandbox) -> None:
    destinations = {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}}
    make_running_site(tmp_path, {"lab": hl7_channel()}, destinations, web="127.0.0.1:0")
    async with running_app(tmp_path) as app:
        assert app.page is not None

        async def shown() -> str:
            address = f"http://127.0.0.1:{app.page.port}/system?lang=en"
            async with aiohttp.ClientSession() as client, client.get(address) as answer:
                return await answer.text()

        assert "Files changed" not in await shown()
        with (tmp_path / "channels" / "lab.yaml").open("a") as file:
            file.write("# a remark\n")
        text = await shown()
        assert ("Files changed since the last reload" in text, "channels/lab.yaml" in text) == (True, True)
        await app.reload()
        assert "Files changed" not in await shown()


async def test_previews_are_made_one_at_a_time_also_after_a_caller_left() -> None:
    previews, begun, goes_on = Previews(), Event(), Event()
    running: list[int] = []
    at_once: list[int] = []

    def work() -> None:
        running.append(1)
        at_once.append(len(running))
        begun.set()
        assert goes_on.wait(DEADLINE_S)
        running.pop()

    looks = [asyncio.ensure_future(previews.run(work)) for _ in range(1 + MOST_WAITING)]
    assert await asyncio.to_thread(begun.wait, DEADLINE_S)
    with pytest.raises(OccupiedError):
        await previews.run(work)
    looks[0].cancel()
    looks[1].cancel()
    await asyncio.wait(looks[:2])
    another = asyncio.ensure_future(previews.run(work))  # in the place of the one that waited
    goes_on.set()
    await asyncio.gather(another, *looks[2:])
    assert at_once == [1] * (1 + MOST_WAITING)


async def test_a_correction_ends_a_reprocessing_with_the_rows_before_it(tmp_path: Path, sandbox: Sandbox) -> None:
    """A wrong row is corrected while results are sent again with it: run again, each result has the right one."""
    make_running_site(tmp_path, {"lab": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}})
    again = ("reprocess", "--channel", "lab", "--since", "1h", "--apply", "--reason", "x", "--yes")
    async with running_app(tmp_path) as app:
        site = RunningSite(tmp_path, app, sandbox)
        numbers = range(1, 7)
        await send(site, *numbers)
        await correct(app, {**RIGHT, "loinc": "2345-7", "note": "x"}, version=0)
        sending = asyncio.create_task(site.labrelay(*again, "--rate", "0.5"))
        await until(lambda: len(site.bundles(1)) == 2)
        await correct(app, RIGHT, version=1)
        ran = await sending
        assert ran.code == ExitCode.PARTLY, ran.err
        assert "stopped, for the configuration changed" in ran.out
        await site.settled()
        assert len(site.bundles(numbers[-1])) == 1, "it was sent with the wrong row"

        ran = await site.labrelay(*again)
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        in_force = app.parts.built.site.hash[:12]
        for number in numbers:
            assert "718-7" in str(site.bundles(number)[-1])
            assert "2345-7" not in str(site.bundles(number)[-1])
            assert site.trace(number).config == in_force
