"""Stored messages mapped again with today's mapping: shown, then sent where they differ, by a running site."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from engine.actions.control import call
from engine.commands.shared.output import ExitCode
from engine.features.rework.commands import reprocess as reprocess_command
from engine.mapping.explanations.differences import Change
from engine.model.errors import RefusedError, UnreachableError
from engine.model.texts.reasons import ReasonCode
from engine.processing.reprocessing import Finding, Tally
from engine.store.queries.acts import acts_page
from engine.store.queries.bulk import operations_page, running_operations
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from tests.results.test_held_results import send as deliver
from tests.support.command_line import Ran, labrelay
from tests.support.mapping_texts import HL7
from tests.support.running import HL7_ROUTE, MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.shipped import MAPPINGS
from tests.support.values import mentions
from tests.support.waiting import until
from workbench.sandbox import Sandbox

# What the laboratory adds later: the code that no table had.
TABLE = """\
code,unit_in,loinc,display,type,unit,ucum,factor,digits
HGB,g/dL,718-7,Hemoglobin [Mass/volume] in Blood,NM,g/L,g/L,10,0
"""
LAB = channel(MLLP, {"to": "archive"}, HL7_ROUTE)
AGAIN = ("reprocess", "--channel", "lab", "--since", "1h")


def message(number: int, value: str = "14.8", order: str = "", patient: str = "", status: str = "F") -> bytes:
    order = order or f"O{number}"
    text = HL7.replace("|M1|", f"|M{number}|").replace("|14.8|", f"|{value}|").replace("|N|||F|", f"|N|||{status}|")
    text = text.replace("4711", patient or f"47{number}").replace("Doe^Jane", f"Canary{patient or number}^Jane")
    return text.replace("OBR|1|O1|F1|", f"OBR|1|{order}|F-{order}|").replace("\n", "\r").encode()


@contextlib.asynccontextmanager
async def running(folder: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    """The site of these tests: raw messages to a folder, Bundles to a FHIR server."""
    if not (folder / "config").exists():
        destinations: dict[str, Json] = {
            "archive": {"kind": "file", "folder": "archive"},
            "lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK},
        }
        make_running_site(folder, {"lab": LAB}, destinations)
    async with running_app(folder) as app:
        yield RunningSite(folder, app, sandbox)


@pytest.fixture
async def site(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    async with running(tmp_path, sandbox) as site:
        yield site


def change_channel(folder: Path, **more: object) -> None:
    text = yaml.safe_dump({"channel": "lab", **LAB, **more})
    (folder / "channels/lab.yaml").write_text(text)


def give_table(folder: Path) -> None:
    (folder / "mappings/tables").mkdir(parents=True)
    (folder / "mappings/tables/mine.csv").write_text(TABLE)
    change_channel(folder, settings={"tables": {"analytes": "tables/mine.csv"}})


async def reprocess(site: RunningSite, *more: str) -> Ran:
    ran = await site.labrelay(*AGAIN, *more, "-o", "json")
    await site.settled()
    return ran


def hemoglobins(sandbox: Sandbox) -> list[Json]:
    found = [one for one in sandbox.resources("Observation") if "valueQuantity" in one]
    return sorted(found, key=lambda one: str(one["valueQuantity"]["value"]))


def archived(site: RunningSite) -> int:
    return sum(path.is_file() for path in (site.folder / "archive").rglob("*"))


async def test_nothing_differs_while_nothing_has_changed(site: RunningSite) -> None:
    await deliver(site, message(1), message(2))
    ran = await reprocess(site, "--apply", "--reason", "x", "--yes")

    assert ran.code == ExitCode.OK
    assert (ran.json["outcomes"], ran.json["changes"], ran.json["apply"]) == ({"unchanged": 2}, [], None)
    assert acts_page(site.journal) == []


async def test_differences_are_grouped_and_masked(site: RunningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reprocess_command, "PAGE", 1)  # every message is on a page of its own
    await deliver(site, message(1), message(2))
    give_table(site.folder)
    ran = await reprocess(site)
    people = await site.labrelay(*AGAIN)

    assert ran.code == people.code == ExitCode.OK
    assert ran.json["outcomes"] == {"changed": 2}
    changes = {(one["kind"], one["path"]): one for one in ran.json["changes"]}
    value = changes["changed", "Observation.valueQuantity.value"]
    assert (value["messages"], value["occurrences"], sorted(value["examples"])) == (2, 2, [1, 2])
    assert ("added", "Observation.code.coding.system") in changes
    assert not [path for _, path in changes if path.startswith(("Patient", "Provenance"))]
    assert "2 messages: 2 differ, 0 do not" in people.out
    for text in (ran.out, people.out, people.err):
        assert not mentions(text, "148")
        assert "Canary" not in text
    assert acts_page(site.journal) == [], "looking leaves no trace"
    assert hemoglobins(site.sandbox)[0]["valueQuantity"]["value"] != 148, "and sends nothing"


async def test_values_are_shown_to_who_asks_and_that_is_noted_first(site: RunningSite) -> None:
    await deliver(site, message(1))
    give_table(site.folder)
    ran = await reprocess(site, "--unmask", "--purpose", "a test")

    changes = {(one["kind"], one["path"]): one for one in ran.json["changes"]}
    assert changes["changed", "Observation.valueQuantity.value"]["values"] == [{"before": "14.8", "after": "148"}]
    (act,) = acts_page(site.journal)
    assert (act.verb, act.what["export"]["reprocess"]) == ("unmask", "lab")
    assert "'14.8' -> '148'" in (await site.labrelay(*AGAIN, "--unmask", "--purpose", "a test")).out


async def test_what_differs_is_sent_where_it_differs_and_once(site: RunningSite) -> None:
    await deliver(site, message(1, "14.8"), message(2, "13.1"))
    files = archived(site)
    give_table(site.folder)
    assert (await site.labrelay("reload")).code == ExitCode.OK
    ran = await reprocess(site, "--apply", "--reason", "the table knows HGB now", "--yes")

    assert ran.code == ExitCode.OK, ran.err
    assert ran.json["apply"]["done"] == {"processed": 2}
    first, second = hemoglobins(site.sandbox)
    assert [first["valueQuantity"]["value"], second["valueQuantity"]["value"]] == [131, 148]
    assert first["code"]["coding"][0]["code"] == "718-7"
    assert first["meta"]["versionId"] == "2"
    assert site.sandbox.count("Observation") == 4, "no result stands there twice"
    assert archived(site) == files, "the raw messages are the same"
    end, begin = acts_page(site.journal, limit=3)[:2]
    assert (begin.verb, begin.what["reason"], begin.what["count"]) == ("reprocess", "the table knows HGB now", 2)
    assert (end.ended, end.what["processed"]) == (begin.id, 2)
    assert [one.state for one in site.deliveries(1)] == ["delivered"] * 3

    again = await reprocess(site, "--apply", "--reason", "again", "--yes")
    assert (again.json["outcomes"], again.json["apply"]) == ({"unchanged": 2}, None)
    assert (await site.labrelay("verify", "--deep")).code == ExitCode.OK

    # The newest of each destination is what a replay sends: the folder's is still the first one.
    assert await site.replay(1) == {"requeued": 1}
    assert Counter(one.destination for one in site.deliveries(1)) == {"archive": 2, "lab-fhir": 3}
    assert hemoglobins(site.sandbox)[1]["valueQuantity"]["value"] == 148


async def test_what_a_repaired_mapping_changes_goes_out_as_corrected(site: RunningSite) -> None:
    """The reader of the wrong value must see that it was one; nothing but the mapping has changed."""
    await deliver(site, message(1, "14.8"))
    assert [one["status"] for one in hemoglobins(site.sandbox)] == ["final"]
    give_table(site.folder)
    assert (await site.labrelay("reload")).code == ExitCode.OK
    ran = await reprocess(site, "--apply", "--reason", "the unit was wrong", "--yes")

    assert ran.code == ExitCode.OK, ran.err
    (one,) = hemoglobins(site.sandbox)
    assert (one["status"], one["valueQuantity"]["value"]) == ("corrected", 148)
    assert [report["status"] for report in site.sandbox.resources("DiagnosticReport")] == ["corrected"]


async def test_so_does_a_result_that_has_the_id_of_an_earlier_one(site: RunningSite) -> None:
    early = message(1, "14.0", "O1", "P1", "P").replace(b"OBR|1|", b"OBR|2|")
    await deliver(site, early, message(2, "14.8", "O1", "P1"))
    assert [one["status"] for one in hemoglobins(site.sandbox)] == ["final"]
    give_table(site.folder)
    assert (await site.labrelay("reload")).code == ExitCode.OK
    await reprocess(site, "--apply", "--reason", "the unit was wrong", "--yes")
    assert [(one["status"], one["valueQuantity"]["value"]) for one in hemoglobins(site.sandbox)] == [("corrected", 148)]


async def test_a_correction_is_never_overwritten_by_an_older_result(site: RunningSite) -> None:
    await deliver(site, message(1, "14.8", "O1", "P1"), message(2, "15.2", "O1", "P1", "C"), message(3))
    assert hemoglobins(site.sandbox)[-1]["valueQuantity"]["value"] == pytest.approx(15.2)
    give_table(site.folder)
    await site.labrelay("reload")
    shown = await reprocess(site)
    assert shown.json["outcomes"] == {"changed": 2, "superseded": 1}
    assert shown.json["not_sent"] == [{"outcome": "superseded", "reason": "", "messages": 1, "examples": [1]}]
    ran = await reprocess(site, "--apply", "--reason", "x", "--yes")

    assert ran.code == ExitCode.PARTLY
    assert ran.json["apply"]["done"] == {"processed": 2, "outdated": 1}
    assert [one["valueQuantity"]["value"] for one in hemoglobins(site.sandbox)] == [148, 152]
    assert len(site.trace(1).documents) == 2, "nothing was made of the older message"


async def test_a_number_of_two_patients_that_a_person_has_accepted_stays_accepted(site: RunningSite) -> None:
    await deliver(site, message(1, order="O1", patient="P1"), message(2, "13.1", order="O1", patient="P2"))
    assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]
    assert (await site.retry(2))["processed"] == 1
    give_table(site.folder)
    await site.labrelay("reload")
    ran = await reprocess(site, "--apply", "--reason", "x", "--yes")

    assert ran.json["apply"]["done"] == {"processed": 2}
    assert [one["valueQuantity"]["value"] for one in hemoglobins(site.sandbox)] == [131, 148]


async def test_it_is_not_done_without_a_reason_a_yes_or_the_same_configuration(site: RunningSite) -> None:
    await deliver(site, message(1))
    give_table(site.folder)

    assert (await reprocess(site, "--apply", "--yes")).code == ExitCode.USAGE
    assert (await reprocess(site, "--apply", "--reason", " ", "--yes")).code == ExitCode.USAGE
    assert (await reprocess(site, "--apply", "--reason", "x")).code == ExitCode.REFUSED
    other = await reprocess(site, "--apply", "--reason", "x", "--yes")
    assert other.code == ExitCode.REFUSED
    assert "labrelay reload" in other.err
    assert (await site.labrelay("reprocess", "--channel", "none", "--since", "1h")).code == ExitCode.CONFIG
    assert (await site.labrelay("reprocess", "--channel", "lab")).code == ExitCode.USAGE
    assert acts_page(site.journal) == []
    assert len(site.deliveries(1)) == 2


async def test_another_mapping_is_tried_before_it_is_used(site: RunningSite, tmp_path: Path) -> None:
    await deliver(site, message(1))
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    draft = drafts / "mine.yaml"  # beside a library of its own
    draft.write_text((MAPPINGS / "hl7-results.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    library = (MAPPINGS / "hl7-lab.yaml").read_text(encoding="utf-8")
    assert "intent: order" in library
    (drafts / "hl7-lab.yaml").write_text(library.replace("intent: order", "intent: plan"), encoding="utf-8")
    shown = await reprocess(site, "--mapping-from", str(draft))

    assert [(one["kind"], one["path"]) for one in shown.json["changes"]] == [("changed", "ServiceRequest.intent")]
    assert shown.json["mapping"].startswith("hl7-results@")
    args = {"config_hash": site.app.parts.built.site.hash, "mapping": str(draft), "reason": "x", "rate": 50.0}
    asked = {**args, "selection": {"channel": "lab", "after_us": 1}, "mapping_hash": "0" * 64}
    with pytest.raises(RefusedError, match="has changed since"):
        await asyncio.to_thread(call, site.folder / "var/labrelay.sock", "reprocess", asked, timeout=120.0)
    other = await reprocess(site, "--mapping-from", "astm-results")
    assert (other.code, "it reads astm, and channel lab brings hl7v2" in other.err) == (ExitCode.CONFIG, True)
    ran = await reprocess(site, "--mapping-from", str(draft), "--apply", "--reason", "trial", "--yes")
    assert ran.json["apply"]["done"] == {"processed": 1}
    assert acts_page(site.journal, limit=2)[1].what["mapping"] == shown.json["mapping"]
    assert site.trace(1).mapping == shown.json["mapping"]


async def test_what_cannot_be_sent_is_told_and_left_alone(site: RunningSite) -> None:
    await deliver(site, message(1))
    before = [(one.id, one.state) for one in site.deliveries(1)]

    change_channel(site.folder, settings={"on_missing": "dead"})
    dead = await reprocess(site)
    assert dead.json["not_sent"] == [{"outcome": "dead", "reason": "UNMAPPED_CODE", "messages": 1, "examples": [1]}]
    change_channel(site.folder, routes=[{"filter": "not wanted any more"}])
    assert (await reprocess(site)).json["outcomes"] == {"withdrawn": 1}
    await site.labrelay("reload")
    ran = await reprocess(site, "--apply", "--reason", "x", "--yes")
    assert (ran.code, ran.json["apply"]) == (ExitCode.OK, None)

    assert [(one.id, one.state) for one in site.deliveries(1)] == before
    assert site.trace(1).message.state == "mapped"


async def test_messages_with_open_deliveries_come_later(site: RunningSite) -> None:
    await site.sandbox.pause()
    for one in (message(1), message(2)):
        await send_blocks(site.port("lab"), [one])
    await until(lambda: all(site.deliveries(number) for number in (1, 2)))  # they are mapped
    give_table(site.folder)
    ran = await site.labrelay(*AGAIN, "-o", "json")

    assert ran.json["outcomes"] == {"unsettled": 2}
    await site.sandbox.start()
    await site.settled()
    assert (await reprocess(site)).json["outcomes"] == {"changed": 2}


async def test_what_was_refused_goes_out_as_the_corrected_mapping_makes_it(site: RunningSite, sandbox: Sandbox) -> None:
    """A server that takes results only as a new mapping makes them: the dead letters must have a way out."""
    await deliver(site, message(1))
    sandbox.faults.refuse = frozenset({"O2", "O3"})
    for one in (message(2), message(3)):
        await send_blocks(site.port("lab"), [one])
    await site.settled()
    refused = [one for one in site.deliveries(2) if one.destination == "lab-fhir"]
    assert [(one.state, one.cause) for one in refused] == [("dead", "REFUSED")]
    assert list(site.app.parts.delivery_workers["lab-fhir"].counts.refused) == [False, True, True]
    assert (site.app.parts.delivery_workers["lab-fhir"].counts.last_error or (None,))[0] is ReasonCode.REFUSED
    same = await site.labrelay("reprocess", "--channel", "lab", "--refused", "-o", "json")
    assert same.json["outcomes"] == {"unsettled": 2}  # as it was refused: labrelay dlq retry is for that

    give_table(site.folder)
    await site.labrelay("reload")
    shown = await site.labrelay("reprocess", "--channel", "lab", "--refused", "-o", "json")
    assert shown.json["outcomes"] == {"changed": 2}
    sandbox.faults.refuse = frozenset()
    again = ("reprocess", "--channel", "lab", "--refused", "--apply", "--reason", "the code is there now", "--yes")
    ran = await site.labrelay(*again, "-o", "json")
    assert ran.json["apply"]["done"]["processed"] == 2
    await site.settled()
    for number in (2, 3):
        states = [one.state for one in site.deliveries(number) if one.destination == "lab-fhir"]
        assert states == ["superseded", "delivered"]
        assert [one.state for one in site.deliveries(number) if one.destination == "archive"] == ["delivered"]
    assert [one.state for one in site.deliveries(1) if one.destination == "lab-fhir"] == ["delivered"]
    nothing = await site.labrelay("reprocess", "--channel", "lab", "--refused")
    assert "no destination has refused a document of lab" in nothing.err


async def test_a_refused_document_that_is_made_no_more_stays_a_dead_letter(site: RunningSite, sandbox: Sandbox) -> None:
    sandbox.faults.refuse = frozenset({"O1"})
    await send_blocks(site.port("lab"), [message(1)])
    await site.settled()
    before = [(one.id, one.state) for one in site.deliveries(1)]
    change_channel(site.folder, routes=[{"filter": "not wanted any more"}])
    await site.labrelay("reload")
    ran = await reprocess(site, "--apply", "--reason", "x", "--yes")
    assert ran.json["outcomes"] == {"unsettled": 1}
    change_channel(site.folder, routes=[{"to": "archive"}])
    await site.labrelay("reload")
    ran = await reprocess(site, "--apply", "--reason", "x", "--yes")
    assert ran.json["outcomes"] == {"unsettled": 1}
    assert [(one.id, one.state) for one in site.deliveries(1)] == before


async def test_what_was_filtered_then_is_sent_where_it_would_go_now(site: RunningSite) -> None:
    change_channel(site.folder, routes=[{"when": "=MSH-9.1 == 'ORU'", "filter": "by mistake"}, {"to": "archive"}])
    await site.labrelay("reload")
    await deliver(site, message(1))
    assert site.ends() == ["FILTERED"]
    change_channel(site.folder)
    await site.labrelay("reload")
    ran = await reprocess(site, "--apply", "--reason", "the filter was wrong", "--yes")

    assert ran.json["changes"] == [
        {"kind": "added", "path": "(document)", "messages": 1, "occurrences": 2, "examples": [2]}
    ]
    assert ran.json["apply"]["done"] == {"processed": 1}
    assert site.sandbox.count("Observation") == 2
    assert archived(site) == 1


async def test_without_a_daemon_it_is_queued_for_the_next_start(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox) as site:
        await deliver(site, message(1))
    change_channel(tmp_path, settings={"local_system": "urn:citylab:codes"})
    ran = await asyncio.to_thread(labrelay, *AGAIN, "--apply", "--reason", "x", "--yes", "-o", "json", site=tmp_path)
    assert ran.json["apply"]["done"] == {"processed": 1}
    assert "system" not in hemoglobins(sandbox)[0]["code"]["coding"][0]

    async with running(tmp_path, sandbox) as site:
        await site.settled()
        assert hemoglobins(sandbox)[0]["code"]["coding"][0]["system"] == "urn:citylab:codes"


async def test_cut_short_it_goes_on_by_itself_and_when_it_is_given_again(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox) as site:
        await deliver(site, message(1), message(2), message(3))
        change_channel(tmp_path, settings={"local_system": "urn:citylab:codes"})
        await site.labrelay("reload")
        args = {"config_hash": site.app.parts.built.site.hash, "reason": "x", "rate": 0.01}
        asked = {**args, "selection": {"channel": "lab", "after_us": 1}}
        under_way = asyncio.create_task(
            asyncio.to_thread(call, site.folder / "var/labrelay.sock", "reprocess", asked, timeout=120.0)
        )
        await until(lambda: len(site.trace(1).documents) == 4)  # the first went at once, the next would in 100 s
        await site.settled()
    with contextlib.suppress(UnreachableError):
        await under_way

    async with running(tmp_path, sandbox) as site:
        (order,) = running_operations(site.journal)
        assert (order.verb, order.total) == ("reprocess", 3)
        await until(lambda: len(site.trace(2).documents) == 4)  # it goes on by itself
        assert operations_page(site.journal)[0].outcomes == {"processed": 2}
        await site.labrelay("operations", "cancel", str(order.number), "--yes")
        ran = await reprocess(site, "--apply", "--reason", "x", "--yes")
        assert ran.json["outcomes"] == {"changed": 1, "unchanged": 2}
        assert ran.json["apply"]["done"] == {"processed": 1, "unchanged": 2}
        systems = [one["code"]["coding"][0].get("system") for one in hemoglobins(sandbox)]
        assert systems == ["urn:citylab:codes"] * 3
        assert [len(site.deliveries(view.id)) for view in site.messages()] == [3, 3, 3]


async def test_two_at_once_send_nothing_twice(site: RunningSite) -> None:
    await deliver(site, message(1), message(2), message(3))
    change_channel(site.folder, settings={"local_system": "urn:citylab:codes"})
    await site.labrelay("reload")
    args = {"config_hash": site.app.parts.built.site.hash, "reason": "x", "rate": 100_000.0}
    asked = {**args, "selection": {"channel": "lab", "after_us": 1}}

    def ask() -> object:
        try:
            return call(site.folder / "var/labrelay.sock", "reprocess", asked, timeout=120.0)["done"]
        except RefusedError as error:
            return str(error)

    said = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))
    await until(lambda: running_operations(site.journal) == [])
    await site.settled()
    refused = [one for one in said if isinstance(one, str)]
    assert all(one.startswith("messages of lab are being reprocessed already; try again") for one in refused)
    assert sum(one.outcomes.get("processed", 0) for one in operations_page(site.journal)) == 3
    assert [len(site.deliveries(view.id)) for view in site.messages()] == [3, 3, 3], (
        "once to the server, none to the folder"
    )
    # What has ended keeps nobody out.
    assert (await reprocess(site)).json["outcomes"] == {"unchanged": 3}
    assert isinstance(await asyncio.to_thread(ask), dict)


async def test_a_message_that_went_while_it_was_looked_at_is_told(
    site: RunningSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(site, message(1), message(2))
    give_table(site.folder)

    def message_of(reader: Reader, number: int) -> object:
        return None if number == 1 else trace_of(reader, number)

    monkeypatch.setattr("engine.processing.reprocessing.trace_of", message_of)
    ran = await reprocess(site)
    assert (ran.code, ran.json["outcomes"]) == (ExitCode.OK, {"gone": 1, "changed": 1})
    assert "its time in the journal has passed" in (await site.labrelay(*AGAIN)).out


def test_a_value_that_is_shown_is_never_a_whole_document() -> None:
    tally = Tally(keep_values=True)
    tally.add(
        Finding(1, "changed", changes=(Change("changed", "DiagnosticReport.presentedForm.data", "a", "B" * 9999),))
    )
    ((before, after),) = tally.groups["changed", "DiagnosticReport.presentedForm.data"].values
    assert (before, after) == ("a", "B" * 200 + "... (9999 signs)")


async def test_a_channel_or_mapping_that_is_not_there_any_more_is_said(site: RunningSite) -> None:
    await deliver(site, message(1))
    (site.folder / "mappings").mkdir(exist_ok=True)
    change_channel(site.folder, routes=[{"mapping": "gone", "to": "lab-fhir"}])
    ran = await reprocess(site)
    assert (ran.code, "routes.0.mapping: unknown mapping 'gone'" in ran.err) == (ExitCode.CONFIG, True)
    (site.folder / "channels/lab.yaml").unlink()
    ran = await reprocess(site)
    assert (ran.code, "no channel is called lab; the site has none" in ran.err) == (ExitCode.CONFIG, True)
