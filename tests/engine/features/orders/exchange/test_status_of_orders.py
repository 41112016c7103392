"""A laboratory system hears later what became of its orders: one message for each change that it does not know yet.

by the analyzer   result             SC CM
                  preliminary        SC IP, where the channel says `updates: true`
by a person       cancel             OC CA
                  release            SC SC
by time           expiry             OC CA
by the LIS        cancel, hold ...   nothing: it had its answer
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from adapters.codecs.hl7v2 import message as hl7
from adapters.codecs.hl7v2 import order_status
from engine.features.orders import rows as worklist
from engine.features.orders.rows.announcing import has_notices
from engine.features.orders.rules.order_rules import ItemEvent
from engine.model.message import FormatOptions
from engine.model.orders import OrderedPatient, OrderLine, Status, StatusChange
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import stored_message
from tests.engine.features.orders.exchange.test_orders_of_a_lis import ANALYZER, lis, states
from tests.engine.features.orders.rows.test_news_of_panels import happens
from tests.support.asking import asking, question, result
from tests.support.mllp_peer import CLOSE, ack, mllp_peer
from tests.support.ordering_lis import order, ordering, segments
from tests.support.running import QUICK, RunningSite, channel, running_site
from tests.support.waiting import until

TSH = ("NW", "P1", "TSH")


def status(*routes: dict[str, Any], of: str = "his", **source: Any) -> dict[str, Any]:
    return channel({"kind": "order-status", "of": of, **source}, *(routes or ({"to": "out"},)))


def site_of(**channels: dict[str, Any]) -> dict[str, Any]:
    return {"chemistry": ANALYZER, "his": lis(), **channels}


OUT = {"out": {"kind": "file", "folder": "var/out"}}


def said(site: RunningSite, name: str = "status") -> list[tuple[str, str, str]]:
    """ORC-1, ORC-2 and ORC-5 of each message of changes."""
    found = []
    for view in site.messages(name):
        (orc,) = segments(stored_message(site.journal, view.id).payload, "ORC")
        found.append((orc[1], orc[2], orc[5]))
    return found


async def quiet(site: RunningSite) -> None:
    await until(lambda: not has_notices(site.journal))
    await site.settled()


async def person(site: RunningSite, verb: str, number: str) -> None:
    ran = await site.labrelay("orders", verb, number, "--reason", "asked the ward")
    assert ran.code == 0, ran.err


async def test_a_result_completes_the_order(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of(status=status()), OUT) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        await his.ask(order("M1", TSH))
        await analyzer.ask(question("00042"))
        await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
        await until(lambda: states(site) == [("TSH", "resulted", "")])
        await quiet(site)
        assert said(site) == [("SC", "P1", "CM")]
        assert site.ends("status") == ["delivered"]


async def test_a_panel_is_complete_with_the_last_of_its_tests(tmp_path: Path) -> None:
    route = {"mapping": "order-status-fhir", "to": "lab-fhir"}
    channels = {**site_of(status=status(), tasks=status(route)), "his": lis(panels={"THY": ["TSH", "FERR"]})}
    async with (
        running_site(tmp_path, channels, OUT) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        await his.ask(order("M1", ("NW", "P1", "THY")))
        await analyzer.ask(question("00042"))
        await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
        await until(lambda: states(site) == [("TSH", "resulted", ""), ("FERR", "offered", "")])
        await quiet(site)
        assert said(site) == []

        await person(site, "cancel", "W2")
        await person(site, "cancel", "W2")  # the analyzer may have it: the second one ends it
        await until(lambda: len(said(site)) == 2)
        await quiet(site)
        assert said(site) == [("OC", "P1", "CA"), ("SC", "P1", "CM")]
        found = [stored_message(site.journal, view.id).payload for view in site.messages("status")]
        assert [segments(one, "OBR")[0][4] for one in found] == ["FERR", "THY"]
        assert [segments(one, "MSH")[0][10] for one in found] == ["W2.4", "W2.4P"]
        tasks = [
            one["resource"]
            for view in site.messages("tasks")
            for bundle in site.bundles(view.id)
            for one in bundle["entry"]
            if one["resource"]["resourceType"] == "Task"
        ]
        assert [(one["status"], one.get("note")) for one in tasks] == [
            ("cancelled", None), ("completed", [{"text": "without a result: FERR"}]),
        ]  # fmt: skip
        assert len({one["id"] for one in tasks}) == 2


@pytest.mark.parametrize(("updates", "wanted"), [(True, [("SC", "P1", "IP")]), (False, [])])
async def test_a_beginning_is_said_where_the_site_wants_it(
    tmp_path: Path, updates: bool, wanted: list[tuple[str, str, str]]
) -> None:
    async with (
        running_site(tmp_path, site_of(status=status(updates=updates)), OUT) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        await his.ask(order("M1", TSH))
        await analyzer.ask(question("00042"))
        await analyzer.send(result("00042", "P-17", "TSH3", "1.20", "P"))
        await until(lambda: states(site) == [("TSH", "in_progress", "")])
        await quiet(site)
        assert said(site) == wanted


async def test_acts_of_a_person_are_said_and_those_of_the_lis_are_not(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of(status=status()), OUT) as site,
        ordering(site.port("his")) as his,
    ):
        await his.ask(order("M1", TSH, ("NW", "P2", "FERR"), ("HD", "P3", "FERR")))
        await his.ask(order("M2", ("CA", "P1", "TSH")))
        await his.ask(order("M3", ("HD", "P2", "FERR"), ("RL", "P3", "FERR")))
        await quiet(site)
        assert said(site) == []
        await person(site, "release", "W2")
        await person(site, "cancel", "W3")
        await until(lambda: len(said(site)) == 2)
        await quiet(site)
        assert said(site) == [("SC", "P2", "SC"), ("OC", "P3", "CA")]


async def test_a_match_that_is_undone_opens_the_order_again(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of(status=status()), OUT) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        await his.ask(order("M1", TSH))
        await analyzer.send(result("00042", "P-17", "XYZ", "1.20"))
        await site.settled()
        message = site.messages("chemistry")[-1].id
        await site.app.journal.run(worklist.match, 1, message_id=message, actor="asha", reason="looked")
        await quiet(site)
        assert said(site) == [("SC", "P1", "CM")]
        await site.app.journal.run(worklist.unmatch, 1, actor="asha", reason="looked")
        await until(lambda: len(said(site)) == 2)
        assert said(site)[1:] == [("SC", "P1", "SC")]


async def test_only_an_order_that_had_ended_is_told_open_when_it_is_sent_again(tmp_path: Path) -> None:
    channels = site_of(status=status())
    channels["his"] = lis(expires="60s")
    async with (
        running_site(tmp_path, channels, OUT) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        await his.ask(order("M1", TSH, ("NW", "P2", "FERR")))
        await analyzer.ask(question("00042"))
        await person(site, "resend", "W1")  # the analyzer has lost it
        await site.app.journal.run(happens, 2, ItemEvent.EXPIRE)
        await person(site, "resend", "W2")
        await until(lambda: len(said(site)) == 2)
        await quiet(site)
        assert said(site) == [("OC", "P2", "CA"), ("SC", "P2", "SC")]


@operation(priority=Priority.SETTLE)
def past_its_time(batch: Batch) -> None:
    batch.execute("UPDATE order_item SET expires_us = expires_us - 61000000")


async def test_an_order_whose_time_is_over_is_said(tmp_path: Path) -> None:
    channels = site_of(status=status())
    channels["his"] = lis(expires="60s")
    async with running_site(tmp_path, channels, OUT) as site, ordering(site.port("his")) as his:
        await his.ask(order("M1", TSH))
        await site.app.journal.run(past_its_time)
        assert await site.app.journal.run(worklist.expire) == 1
        await until(lambda: said(site) == [("OC", "P1", "CA")])


async def test_an_order_of_a_person_has_no_lis_that_hears(tmp_path: Path) -> None:
    async with running_site(tmp_path, site_of(status=status()), OUT) as site:
        ran = await site.labrelay("orders", "add", "00042", "TSH", "--patient", "P-17")
        assert ran.code == 0, ran.err
        await person(site, "cancel", "W1")
        await quiet(site)
        assert said(site) == []


async def test_each_change_has_a_lane_and_a_retry_and_goes_out_once(tmp_path: Path) -> None:
    async with mllp_peer(CLOSE, ack()) as peer:
        back = {"back": deepcopy({"kind": "mllp", "connect": f"127.0.0.1:{peer.port}", **QUICK})}
        async with (
            running_site(tmp_path, site_of(status=status({"to": "back"})), back) as site,
            ordering(site.port("his")) as his,
        ):
            await his.ask(order("M1", TSH, ("NW", "P2", "FERR")))
            await person(site, "cancel", "W1")
            await person(site, "cancel", "W2")
            await until(lambda: site.ends("status") == ["delivered"] * 2)
        heard = [segments(one, "ORC")[0][2] for one in peer.messages]
        assert heard == ["P1", "P1", "P2"]  # the first was cut off
        assert [segments(one, "MSH")[0][10] for one in peer.messages] == ["W1.2", "W1.2", "W2.2"]


async def test_a_server_gets_a_task(tmp_path: Path) -> None:
    route = {"mapping": "order-status-fhir", "to": "lab-fhir"}
    async with (
        running_site(tmp_path, site_of(status=status(route)), OUT) as site,
        ordering(site.port("his")) as his,
    ):
        await his.ask(order("M1", TSH))
        await person(site, "cancel", "W1")
        await until(lambda: site.ends("status") == ["delivered"])
        (bundle,) = site.bundles(site.messages("status")[0].id)
        (task,) = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Task"]
        assert (task["status"], task["statusReason"]["text"]) == ("cancelled", "cancelled in the laboratory")


async def test_what_was_not_said_before_a_stop_is_said_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note of a change is in the transaction of the change."""
    with monkeypatch.context() as patch:
        patch.setattr("engine.features.orders.exchange.service.has_notices", lambda journal: False)
        async with running_site(tmp_path, site_of(), OUT) as site, ordering(site.port("his")) as his:
            await his.ask(order("M1", TSH))
            await person(site, "cancel", "W1")
            assert has_notices(site.journal)
    async with running_site(tmp_path, site_of(status=status()), OUT) as site:
        await until(lambda: said(site) == [("OC", "P1", "CA")])


async def test_a_change_that_cannot_be_written_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a dead letter that names the order; the later news of each laboratory system go out, in their order."""
    write = order_status.message

    def fails_for_one(change: StatusChange, **more: Any) -> bytes:
        if change.line.placer == "P2":
            raise RuntimeError(change.line.patient.number)
        return write(change, **more)

    monkeypatch.setattr(order_status, "message", fails_for_one)
    channels = site_of(status=status(), lims=lis(), more=status(of="lims"))
    async with (
        running_site(tmp_path, channels, OUT) as site,
        ordering(site.port("his")) as his,
        ordering(site.port("lims")) as lims,
    ):
        await his.ask(order("M1", TSH, ("NW", "P2", "FERR"), ("NW", "P3", "TSH")))
        await lims.ask(order("M1", ("NW", "P4", "FERR")))
        for number in ("W1", "W2", "W3", "W4"):
            await person(site, "cancel", number)
        await until(lambda: site.ends("more") == ["delivered"])
        await quiet(site)
        assert site.ends("status") == ["delivered", "NOT_WRITTEN", "delivered"]
        heard = [site.messages("status")[place].id for place in (0, 2)]
        assert [segments(stored_message(site.journal, one).payload, "ORC")[0][1:3] for one in heard] == [
            ["OC", "P1"],
            ["OC", "P3"],
        ]
        assert said(site, "more") == [("OC", "P4", "CA")]

        listed = await site.labrelay("dlq", "list")
        assert "labrelay dlq dismiss --code NOT_WRITTEN --channel status" in listed.out
        (lost,) = [one for one in site.messages("status") if one.reason == "NOT_WRITTEN"]
        assert lost.control_id == "W2.2"
        assert stored_message(site.journal, lost.id).payload == b"LabRelay could not write the message W2.2."
        assert "news of orders cannot be written" in caplog.text
        ran = await site.labrelay("dlq", "dismiss", str(lost.id), "--reason", "told by telephone", "--yes")
        assert ran.code == 0, ran.err
    assert verify(tmp_path / "var", deep=True) == []


def test_no_text_of_an_order_can_add_a_field() -> None:
    line = OrderLine(
        placer="P|1", placer_namespace="HIS^X", filler="F&1", test="T~1", test_name="A|B", ordered="1\r2",
        patient=OrderedPatient(number="7|8", namespace="H^1", family="O'Neil|", given="^", birth_date="1980", sex="F"),
    )  # fmt: skip
    change = StatusChange(status=Status.REFUSED, item=7, n=3, at_us=0, line=line, text="no | reagent\rNTE|2||x")

    payload = order_status.message(change, at="20261124100000+0530", settings={"receiving_application": "HI|S"})

    parsed = hl7.parse(payload, FormatOptions())
    assert [one.name for one in parsed.segments] == ["MSH", "PID", "ORC", "OBR", "NTE"]
    assert parsed.structure == "ORM_O01"
    assert segments(payload, "MSH")[0][10] == "W7.3"
    assert segments(payload, "ORC")[0][1:3] == ["UA", "P\\F\\1^HIS\\S\\X"]
    assert segments(payload, "ORC")[0][16] == "REFUSED^the analyzer has refused it^L"
    assert segments(payload, "PID")[0][3] == "7\\F\\8^^^H\\S\\1"
