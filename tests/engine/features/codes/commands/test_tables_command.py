"""`labrelay tables` beside a running daemon and without one, and the verbs that read its corrections."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import changed_files
from engine.features.codes.lists import missing_now
from engine.features.codes.rows import list_corrections
from engine.features.codes.service import missing_codes
from engine.store.core.connecting import JOURNAL_NAME, read_vault
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import Gap, list_unmapped
from engine.store.recovery.backups import decisions
from tests.results.test_reprocessing import message
from tests.support.command_line import Ran, labrelay
from tests.support.running import QUICK, RunningSite, hl7_channel, make_running_site, running_app
from tests.support.senders import send_blocks
from workbench.sandbox import Sandbox

SET = ("tables", "set", "lab", "code=HGB", "unit_in=g/dL", "loinc=718-7", "type=NM", "ucum=g/dL")
WHY = ("--reason", "the maker's list", "--yes")


@pytest.fixture
async def site(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    make_running_site(tmp_path, {"lab": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}})
    async with running_app(tmp_path) as app:
        made = RunningSite(tmp_path, app, sandbox)
        await send_blocks(made.port("lab"), [message(1), message(2)])
        await made.settled()
        yield made


def mapped(folder: Path, file: Path) -> str:
    ran = labrelay("map", str(file), "--channel", "lab", site=folder)
    assert ran.code == ExitCode.OK, ran.err
    return ran.out


def hash_of(folder: Path) -> str:
    found: str = labrelay("check", "-o", "json", site=folder).json["config_hash"]
    return found


async def test_set_history_undo(site: RunningSite, tmp_path: Path) -> None:
    file = tmp_path / "one.hl7"
    file.write_bytes(message(3))
    first = hash_of(site.folder)
    assert "718-7" not in mapped(site.folder, file)

    seen = await site.labrelay(*SET, "--reason", "x", "--dry-run", "-o", "json")
    assert seen.code == ExitCode.OK, seen.err
    assert (seen.json["preview"]["messages"], seen.json["preview"]["changed"], seen.json["preview"]["all"]) == (
        2,
        2,
        True,
    )
    assert "Observation.code.coding" in {one["element"] for one in seen.json["preview"]["changes"]} | {
        one["element"].rpartition(".")[0] for one in seen.json["preview"]["changes"]
    }
    assert "Canary" not in seen.out
    assert (await site.labrelay("tables", "list", "-o", "json")).json["corrections"] == []  # it was a dry run

    made = await site.labrelay(*SET, *WHY, "-o", "json")
    assert (made.code, made.json["version"]) == (ExitCode.OK, 1)
    assert "718-7" in mapped(site.folder, file)
    assert hash_of(site.folder) != first
    assert site.app.parts.built.site.hash == hash_of(site.folder)
    exported = await site.labrelay("tables", "export")
    assert '"HGB","g/dL","718-7","Hemoglobin [Mass/volume] in Blood","NM","g/dL","correction 1"' in exported.out

    undone = await site.labrelay("tables", "undo", "1", *WHY, "-o", "json")
    assert (undone.code, undone.json["undoes"]) == (ExitCode.OK, 1)
    assert hash_of(site.folder) == first
    history = (await site.labrelay("tables", "history", "code=HGB", "-o", "json")).json["corrections"]
    assert [(one["version"], one["undoes"], one["reason"]) for one in history] == [
        (2, 1, "the maker's list"),
        (1, None, "the maker's list"),
    ]
    again = await site.labrelay("tables", "undo", "1", *WHY)
    assert (again.code, "take that back first" in again.err) == (ExitCode.REFUSED, True)


async def missing(site: RunningSite) -> tuple[list[int], list[str], int, int]:
    """What the to-do list, `gaps`, the API's view and the strip say is missing."""
    site.app.observer.expire()
    todo = (await site.labrelay("todo", "list", "-o", "json")).json["todo"]
    gaps = (await site.labrelay("gaps", "-o", "json")).json["gaps"]
    counted = [one["count"] for one in todo if one["key"] == "unmapped/lab"]
    listed = missing_now(list_unmapped(site.app.journal), site.app.parts.routes())
    return counted, [one["code"] for one in gaps], len(listed), site.app.observer.take().unmapped_total


async def test_codes_of_an_analyzer_that_is_gone_wait_for_no_person(site: RunningSite) -> None:
    assert (await missing(site))[0] == [2]
    channel = site.folder / "channels" / "lab.yaml"
    text = channel.read_text()
    channel.write_text(text.replace("channel: lab", "channel: ward"))
    channel.rename(channel.with_name("ward.yaml"))
    await site.app.reload()

    assert await missing(site) == ([], [], 0, 0)
    asked = await site.labrelay("gaps", "--channel", "lab", "-o", "json")
    assert [one["code"] for one in asked.json["gaps"]] == ["COL", "HGB"], "who asks for it gets it"

    channel.with_name("ward.yaml").unlink()
    channel.write_text(text)
    await site.app.reload()
    assert (await missing(site))[:2] == ([2], ["COL", "HGB"])


async def test_a_code_with_a_row_waits_for_no_person_any_more(site: RunningSite, opened: list[int]) -> None:
    once = await missing(site)
    assert once == ([2], ["COL", "HGB"], 2, 2)
    assert (await site.labrelay(*SET, *WHY)).code == ExitCode.OK
    assert await missing(site) == ([1], ["COL"], 1, 1)
    await send_blocks(site.port("lab"), [message(3)])
    await site.settled()
    assert await missing(site) == ([1], ["COL"], 1, 1)
    assert (await site.labrelay("tables", "undo", "1", *WHY)).code == ExitCode.OK
    assert await missing(site) == once
    opened.clear()
    for _ in range(3):
        assert site.app.observer.take().unmapped_total == 2
    assert opened == []  # no text is opened again for a snapshot
    await send_blocks(site.port("lab"), [message(4).replace(b"HGB", b"HGX")])
    await site.settled()
    assert site.app.observer.take().unmapped_total == 3
    assert opened == [1]  # the new one alone


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each look for a snapshot has opened."""
    found: list[int] = []

    def seen(reader: Reader, channel: str | None = None, *, after: int = 0) -> list[Gap]:
        gaps = list_unmapped(reader, channel, after=after)
        found.append(len(gaps))
        return gaps

    monkeypatch.setattr(missing_codes, "list_unmapped", seen)
    return found


WRONG = [
    (("loinc=718-8",), "loinc: the check digit"),
    (("loinc=hello",), "loinc: 'hello' has not the form"),
    (("loinc=99999-5",), "does not have LOINC 99999-5"),
    (("loinc=718-7", "ucum=10*9/L"), "loinc: LOINC 718-7 is a term for mass/volume"),
    (("loinc=2345-7", "display=C reactive protein"), "the row calls it C reactive protein"),
    (("loinc=718-7", "ucum=g/dLx"), "ucum: 'g/dLx' is no UCUM unit"),
    (("loinc=718-7", "factor=ten"), "factor: factor 'ten' is no decimal"),
    (("lionc=718-7",), "table analytes has no column lionc"),
    (("display=Hemoglobin",), "does not say what the code means"),
    (("loinc=718-7", "note=a\x1bb"), "visible characters"),
]


@pytest.mark.parametrize(("cells", "said"), WRONG)
async def test_a_wrong_row_is_refused_with_its_column(site: RunningSite, cells: tuple[str, ...], said: str) -> None:
    ran = await site.labrelay("tables", "set", "lab", "code=HGB", "unit_in=g/dL", *cells, *WHY)
    assert (ran.code, said in ran.out + ran.err) == (ExitCode.FAILED, True), ran.out + ran.err
    assert list_corrections(site.journal) == []


async def test_who_is_sure_may_write_what_is_doubted(site: RunningSite) -> None:
    ran = await site.labrelay("tables", "set", "lab", "code=HGB", "unit_in=g/dL", "loinc=99999-5", "meant=yes", *WHY)
    assert ran.code == ExitCode.OK, ran.out + ran.err


async def test_changed_files_are_reloaded_first(site: RunningSite) -> None:
    with (site.folder / "channels" / "lab.yaml").open("a") as file:
        file.write("# a remark\n")
    ran = await site.labrelay(*SET, *WHY)
    assert (ran.code, "changed: channels/lab.yaml" in ran.err) == (ExitCode.REFUSED, True)
    assert changed_files(site.app.parts.built.site) == ["channels/lab.yaml"]
    (site.folder / "mappings").mkdir()
    (site.folder / "mappings" / "mine.csv").write_text("code\n")
    (site.folder / "channels" / "other.yml").write_text("")  # is not read
    assert changed_files(site.app.parts.built.site) == ["channels/lab.yaml", "mappings/mine.csv"]
    (site.folder / "channels" / "other.yml").unlink()
    assert (await site.labrelay("reload")).code == ExitCode.OK
    assert (await site.labrelay(*SET, *WHY)).code == ExitCode.OK


async def test_without_a_daemon_and_from_the_trail_alone(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = tmp_path / "site"
    make_running_site(folder, {"lab": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}})
    async with running_app(folder):
        pass
    ran: Ran = await asyncio.to_thread(labrelay, *SET, *WHY, "-o", "json", site=folder)
    assert (ran.code, ran.json["version"]) == (ExitCode.OK, 1), ran.err
    first = labrelay("tables", "list", "-o", "json", site=folder).json

    path = folder / "var" / JOURNAL_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:  # as a restore finds it
        connection.execute("DELETE FROM correction")
        vault, _, _ = read_vault(path, path.parent, immutable=False)
        assert vault is not None
        for act in decisions.acts(connection, vault, 0):
            decisions.apply(connection, act, vault)
    assert labrelay("tables", "list", "-o", "json", site=folder).json == first
    with closing(Reader.beside(path.parent)) as reader:
        assert [one.by for one in list_corrections(reader)] == [first["corrections"][0]["by"]]


async def test_a_file_that_says_something_new_is_shown(site: RunningSite) -> None:
    assert (await site.labrelay(*SET, *WHY)).code == ExitCode.OK
    assert (await site.labrelay("tables", "diff")).code == ExitCode.OK
    tables = site.folder / "mappings" / "tables"
    tables.mkdir(parents=True)
    (tables / "analytes.csv").write_text("code,unit_in,loinc,type,ucum\nHGB,g/dL,20509-6,NM,g/dL\n")
    ran = await site.labrelay("tables", "diff", "-o", "json")
    assert (ran.code, [one["version"] for one in ran.json["corrections"]]) == (ExitCode.FAILED, [1])
    checked = await site.labrelay("check", "-o", "json")
    assert [one for one in checked.json["remarks"] if "correction 1 (code=HGB unit_in=g/dL)" in one["text"]]


async def test_rows_of_a_specimen_are_named_before_they_are_taken_away(site: RunningSite) -> None:
    tables = site.folder / "mappings" / "tables"
    tables.mkdir(parents=True)
    file = tables / "analytes.csv"
    file.write_text("code,unit_in,specimen,loinc,type,ucum\nHGB,g/dL,,20509-6,NM,g/dL\nHGB,g/dL,UR,725-2,NM,g/dL\n")
    assert (await site.labrelay("reload")).code == ExitCode.OK
    ran = await site.labrelay(*SET, *WHY)
    assert (ran.code, "HGB,g/dL,*,UR (725-2); where that is right" in ran.out) == (ExitCode.FAILED, True), ran.out
    ran = await site.labrelay(*SET, "meant=yes", *WHY)
    assert (ran.code, "that are not used any more: HGB,g/dL,*,UR (725-2)" in ran.err) == (ExitCode.OK, True), ran.err
    assert (await site.labrelay("tables", "diff")).code == ExitCode.OK

    with file.open("a") as more:
        more.write("HGB,g/dL,CSF,20509-6,NM,g/dL\n")
    ran = await site.labrelay("tables", "diff")
    assert (ran.code, "new or changed: HGB,g/dL,*,CSF (20509-6)" in ran.err) == (ExitCode.FAILED, True), ran.err
    checked = await site.labrelay("check", "-o", "json")
    (remark,) = [one["text"] for one in checked.json["remarks"] if "correction 1" in one["text"]]
    assert "takes the place of rows of the files that are new or changed: HGB,g/dL,*,CSF (20509-6)" in remark
