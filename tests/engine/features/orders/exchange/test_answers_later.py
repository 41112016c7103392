"""Orders that cannot be answered on their connection: the answer is a message of the channel of kind `order-status`.

came by                     on the connection           on the other channel, with `answers: true`
file                        nothing                     ORR, ORL; ACK with AR where no order was taken
FHIR server, file of JSON   nothing                     ORR^O02 with what became of each order
MLLP, MSH-15 and 16         CA                          ORR, ORL where MSH-16 asks for it
MLLP, neither               ORR, ORL                    nothing
a repeat of a message       as before                   nothing: the first answer is retried until it is taken
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from adapters.codecs.hl7v2 import order_answers
from engine.config.load import load_site
from engine.model.errors import ConfigError
from engine.model.orders import AnsweredOrders
from engine.store.queries.reader import stored_message
from tests.engine.features.orders.exchange.test_orders_of_a_lis import ANALYZER, HTTP, JSON_ORDER, lis, states, tubes
from tests.engine.features.orders.exchange.test_polled_orders import polling
from tests.support.fhir_orders import order_server, request
from tests.support.mllp_peer import CLOSE, ack, mllp_peer
from tests.support.ordering_lis import answered, by_tube, kinds, order, ordering, segments
from tests.support.running import MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_site
from tests.support.waiting import until

OUT = {"out": {"kind": "file", "folder": "var/out"}}
NEWS = channel({"kind": "order-status", "of": "his", "answers": True}, {"to": "out"})
TSH = ("NW", "P1", "TSH")


def site_of(his: Json, news: Json = NEWS) -> dict[str, Json]:
    return {"chemistry": ANALYZER, "his": his, "news": news}


def folder_of(tmp_path: Path, form: str = "hl7v2") -> tuple[Path, Json]:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return inbox, {"kind": "folder", "folder": str(inbox), "format": form, "settle": "0s", "every": "50ms"}


def said(site: RunningSite) -> list[bytes]:
    return [stored_message(site.journal, one.id).payload for one in site.messages("news")]


async def heard(site: RunningSite, count: int) -> list[bytes]:
    await until(lambda: len(said(site)) >= count)
    await site.settled()
    return said(site)


@pytest.mark.parametrize(
    ("content", "kind", "codes"),
    [
        (order("M1", TSH, ("NW", "P2", "XYZ")), "AA ORR", ["OK", "UA"]),
        (order("M1", TSH) + order("M2", ("CA", "P1", "TSH")), "AA ORR", ["OK"]),
        (order("M1", TSH, asks=("NE", "AL")), "AA ORR", ["OK"]),
        (order("M1", TSH).replace(b"|P|2.3.1", b"|T|2.3.1"), "AR ACK", []),
    ],
    ids=["orders", "batch", "asked", "refused"],
)
async def test_orders_of_a_file_are_answered_elsewhere(
    tmp_path: Path, content: bytes, kind: str, codes: list[str]
) -> None:
    inbox, source = folder_of(tmp_path)
    async with running_site(tmp_path / "site", site_of(lis(source)), OUT) as site:
        (inbox / "a.hl7").write_bytes(content)
        found = await heard(site, content.count(b"MSH|"))
        assert (kinds(found[:1]), answered(found[0])) == ([kind], codes)
        assert [segments(one, "MSA")[0][2] for one in found] == ["M1", "M2"][: len(found)]
        assert set(site.ends("news")) == {"delivered"}


@pytest.mark.parametrize(("form", "event"), [("O21", "O22"), ("O33", "O34"), ("O35", "O36")])
async def test_each_form_of_oml_has_its_answer(tmp_path: Path, form: str, event: str) -> None:
    inbox, source = folder_of(tmp_path)
    async with running_site(tmp_path / "site", site_of({**tubes(), "source": source}), OUT) as site:
        (inbox / "a.hl7").write_bytes(by_tube(form, "M1", *TSH))
        (found,) = await heard(site, 1)
        assert segments(found, "MSH")[0][9] == f"ORL^{event}^ORL_{event}"
        assert answered(found) == ["OK"]


@pytest.mark.parametrize(
    ("asks", "on_line", "elsewhere"),
    [
        (("AL", "AL"), ["CA ACK"], ["AA ORR"]),
        (("AL", "NE"), ["CA ACK"], []),
        (("AL", "ER"), ["CA ACK"], []),
        (("", ""), ["AA ORR"], []),
    ],
)
async def test_a_system_that_asks_for_two_acknowledgements_gets_the_second_elsewhere(
    tmp_path: Path, asks: tuple[str, str], on_line: list[str], elsewhere: list[str]
) -> None:
    async with (
        running_site(tmp_path, site_of(lis(MLLP)), OUT) as site,
        ordering(site.port("his")) as his,
    ):
        assert kinds([await his.ask(order("M1", TSH, asks=asks))]) == on_line
        assert kinds([await his.ask(order("M2", ("NW", "P2", "FERR"), asks=("AL", "AL")))]) == ["CA ACK"]
        found = await heard(site, len(elsewhere) + 1)
        assert kinds(found) == [*elsewhere, "AA ORR"]
        assert segments(found[-1], "MSA")[0][2] == "M2"
        assert [one[1] for one in states(site)] == ["waiting", "waiting"]


async def test_the_answer_has_a_lane_and_a_retry_and_comes_before_the_news(tmp_path: Path) -> None:
    inbox, source = folder_of(tmp_path)
    async with mllp_peer(CLOSE, ack()) as peer:
        back = {"back": {"kind": "mllp", "connect": f"127.0.0.1:{peer.port}", **deepcopy(QUICK)}}
        news = channel({"kind": "order-status", "of": "his", "answers": True}, {"to": "back"})
        async with running_site(tmp_path / "site", site_of(lis(source), news), back) as site:
            (inbox / "a.hl7").write_bytes(order("M1", TSH))
            await until(lambda: states(site) == [("TSH", "waiting", "")])
            ran = await site.labrelay("orders", "cancel", "W1", "--reason", "asked the ward")
            assert ran.code == 0, ran.err
            await until(lambda: site.ends("news") == ["delivered"] * 2)
        assert [segments(one, "ORC")[0][1] for one in peer.messages] == ["OK", "OK", "OC"]  # the first was cut off


async def test_orders_of_a_server_are_answered_as_orr(tmp_path: Path) -> None:
    async with order_server() as server, running_site(tmp_path, site_of(polling(server)), OUT) as site:
        server.put(request("1"))
        (first,) = await heard(site, 1)
        server.put(request("1", status="revoked"))
        server.put(request("2", "XYZ"))
        found = await heard(site, 3)
        assert kinds(found) == ["AA ORR"] * 3
        assert [(segments(one, "MSA")[0][2], *segments(one, "ORC")[0][1:3]) for one in found] == [
            ("ServiceRequest/1/1", "OK", "P-1"),
            ("ServiceRequest/1/2", "CR", "P-1"),
            ("ServiceRequest/2/1", "UA", "P-2"),
        ]
        assert segments(found[2], "ERR")[0][8] == "no analyzer here runs this test"
        assert first == found[0]


async def test_the_answer_to_orders_of_a_server_becomes_a_task(tmp_path: Path) -> None:
    routes = [
        {"when": "=MSH-9.1 == 'ORR'", "mapping": "hl7-order-answers", "to": "lab-fhir"},
        {"when": "=MSH-9.1 == 'ORM'", "mapping": "order-status-fhir", "to": "lab-fhir"},
    ]
    news = channel({"kind": "order-status", "of": "his", "answers": True}, *routes)
    async with order_server() as server, running_site(tmp_path, site_of(polling(server), news), OUT) as site:
        server.put(request("1"), request("2", "XYZ"))
        await heard(site, 2)
        tasks = [
            one["resource"]
            for message in site.messages("news")
            for bundle in site.bundles(message.id)
            for one in bundle["entry"]
            if one["resource"]["resourceType"] == "Task"
        ]
        assert [(one["status"], one["focus"]["identifier"]["value"]) for one in tasks] == [
            ("accepted", "P-1"),
            ("rejected", "P-2"),
        ]
        assert set(site.ends("news")) == {"delivered"}


async def test_the_task_of_an_order_of_a_server_follows_its_acts(tmp_path: Path) -> None:
    """The table of docs/questions.md: what is carried out changes the Task, what is not leaves its status true."""
    route = {"when": "=MSH-9.1 == 'ORR'", "mapping": "hl7-order-answers", "to": "lab-fhir"}
    news = channel({"kind": "order-status", "of": "his", "answers": True}, route)
    acts = [("active", "routine"), ("on-hold", "routine"), ("active", "routine"), ("active", "stat")]
    acts += [("revoked", "stat"), ("on-hold", "stat")]
    async with order_server() as server, running_site(tmp_path, site_of(polling(server), news), OUT) as site:
        for count, (act, priority) in enumerate(acts, start=1):
            server.put(request("1", status=act, priority=priority))
            await heard(site, count)
        server.put(request("3", status="revoked"))  # of no order
        await heard(site, len(acts) + 1)
        found = [
            [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Task"]
            for message in site.messages("news")
            for bundle in site.bundles(message.id)
        ]
        tasks = [one for made in found for one in made]
        assert [one["status"] for one in tasks] == ["accepted", "on-hold", "accepted", "accepted", "cancelled"]
        assert {one["focus"]["identifier"]["value"] for one in tasks} == {"P-1"}
        issues = [[one["code"] for one in site.trace(message.id).issues] for message in site.messages("news")]
        assert [("NOT_DONE" in codes) for codes in issues] == [False] * 5 + [True] * 2


async def test_a_file_of_json_is_answered_by_its_number(tmp_path: Path) -> None:
    inbox, source = folder_of(tmp_path, "json")
    async with running_site(tmp_path / "site", site_of(lis(source, "orders-json")), OUT) as site:
        (inbox / "a.json").write_bytes(json.dumps(JSON_ORDER).encode())
        (found,) = await heard(site, 1)
        assert (segments(found, "MSA")[0][1:3], answered(found)) == (["AA", "1"], ["OK", "UA"])
        (inbox / "b.json").write_bytes(b"{")
        found = (await heard(site, 2))[1]
        assert segments(found, "MSA")[0][1] == "AR"
        assert "dead letter: UNREADABLE" in segments(found, "ERR")[0][8]


async def test_an_answer_that_was_not_said_before_a_stop_is_said_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, source = folder_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("engine.features.orders.exchange.service.has_notices", lambda journal: False)
        async with running_site(tmp_path / "site", site_of(lis(source)), OUT) as site:
            (inbox / "a.hl7").write_bytes(order("M1", TSH))
            await until(lambda: states(site) == [("TSH", "waiting", "")])
            assert said(site) == []
    async with running_site(tmp_path / "site", site_of(lis(source)), OUT) as site:
        assert [answered(one) for one in await heard(site, 1)] == [["OK"]]


async def test_an_answer_that_cannot_be_written_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = order_answers.later

    def fails_for_one(asked: AnsweredOrders, *parts: Any, **more: Any) -> bytes | None:
        if b"|M1|" in asked.payload:
            raise RuntimeError
        return write(asked, *parts, **more)

    monkeypatch.setattr(order_answers, "later", fails_for_one)
    inbox, source = folder_of(tmp_path)
    async with running_site(tmp_path / "site", site_of(lis(source)), OUT) as site:
        (inbox / "a.hl7").write_bytes(order("M1", TSH) + order("M2", ("NW", "P2", "FERR")))
        await until(lambda: site.ends("news") == ["NOT_WRITTEN", "delivered"])
        lost, found = site.messages("news")
        assert lost.control_id == f"A{site.messages('his')[0].id}"
        assert answered(stored_message(site.journal, found.id).payload) == ["OK"]


async def test_the_process_for_large_messages_changes_nothing(tmp_path: Path) -> None:
    inbox, source = folder_of(tmp_path)
    async with running_site(tmp_path / "site", site_of(lis(source)), OUT, large=True) as site:
        (inbox / "a.hl7").write_bytes(order("M1", TSH) + order("M2", TSH).replace(b"|P|2.3.1", b"|T|2.3.1"))
        assert kinds(await heard(site, 2)) == ["AA ORR", "AR ACK"]


def test_orders_over_http_are_answered_there(tmp_path: Path) -> None:
    channels: dict[str, Any] = site_of(lis({**HTTP, "format": "json"}, "orders-json"))
    folder = make_running_site(tmp_path, channels, {**OUT, "lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:1"}})
    with pytest.raises(ConfigError, match="'his' is answered in the response of its requests; take answers out"):
        load_site(folder)
