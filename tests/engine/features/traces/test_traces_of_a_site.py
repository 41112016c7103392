"""Traces of the real daemon, as a collector reads them: each step of a message, and nothing of its content."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from adapters.clients import otlp as otlp
from engine.features.traces import service as tracing
from engine.features.traces.config import TracesConfig
from engine.features.traces.service import Tracing
from engine.model.message import Stored
from engine.model.process.clock import ManualClock
from engine.model.spans import ATTRIBUTES, PREFIX
from tests.support.certificates import Authority
from tests.support.journals import running
from tests.support.live import Daemon
from tests.support.scripted_http import Request, Script, ScriptedServer, http, scripted
from tests.support.trace_collector import Seen, TraceCollector, trace_collector
from tests.support.waiting import until

BUSY, TAKEN, REFUSED = http(503), http(200, b"{}"), http(422, b"{}")
PERSON = "Zimmermannova^Waltraudine"
TEXT = (
    "MSH|^~\\&|ANALYZER9|WARD77|LABRELAY|CITYLAB|20260302061500+0530||ORU^R01^ORU_R01|CTRL{n}XYZ|P|2.5\r"
    f"PID|1||PATNO88121^^^CITYLAB^MR||{PERSON}||19610418|F|||Lindenstrasse 99^^Kochi\r"
    "OBR|1|PLACER{n}Q|FILLER{n}Q|58410-2^CBC panel^LN|||20260302061500+0530||||||||||||||||||F\r"
    "OBX|1|NM|718-7^Hemoglobin^LN||148.53|g/L|120-160|N|||F\r"
)
RETRY = "retry: {first: 20ms, max: 50ms}, breaker: {failures: 1000}"


def site(folder: Path, target: ScriptedServer, collector: TraceCollector | None, **more: Any) -> Daemon:
    daemon = Daemon(folder / "site", ["mllp"], f'{{kind: http, url: "{target.url}", {RETRY}}}', mapped=False, **more)
    if collector is not None:
        switch_on(daemon, collector)
    return daemon


def switch_on(daemon: Daemon, collector: TraceCollector, **more: Any) -> None:
    with (daemon.folder / "config" / "labrelay.yaml").open("a") as file:
        file.write(f"traces: {json.dumps({'url': collector.url, **more})}\n")


@asynccontextmanager
async def alive(daemon: Daemon) -> AsyncIterator[Daemon]:
    try:
        await daemon.start()
        yield daemon
    finally:
        await daemon.end()


async def send(daemon: Daemon, number: int, text: str = TEXT) -> bytes:
    """Send a message, and return once it is acknowledged."""
    message = text.replace("{n}", str(number)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port_of[0])
    writer.write(b"\x0b" + message + b"\x1c\r")
    assert b"MSA|A" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
    writer.close()
    return message


def steps(spans: list[Seen]) -> list[tuple[Any, ...]]:
    """Name, outcome, reason and attempt of each."""
    return sorted(
        (one.name, one.about.get("outcome"), one.about.get("reason"), one.about.get("attempt")) for one in spans
    )


def by_trace(spans: list[Seen]) -> dict[int, list[Seen]]:
    """The spans by the number of their message; each message has one trace, and each trace one message."""
    found: dict[int, list[Seen]] = {}
    for one in spans:
        found.setdefault(one.about["message"], []).append(one)
    traces = [{one.trace for one in of_message} for of_message in found.values()]
    assert all(len(one) == 1 for one in traces)
    assert len(set().union(*traces)) == len(traces)
    return found


def keeps_secrets(collector: TraceCollector, *messages: bytes) -> None:
    """Nothing of a message is in what was sent: no word of four characters and more, in any field."""
    sent = b"".join(one.content for one in collector.requests).decode("utf-8", "replace").lower()
    words = {
        word.lower() for message in messages for word in re.split(r"[|^&~\\\r ]", message.decode()) if len(word) >= 4
    }
    assert {"zimmermannova", "patno88121", "148.53", "ctrl1xyz"} <= words
    assert {word for word in words - {"labrelay"} if word in sent} == set()


async def test_each_step_of_a_message_is_a_span_of_its_trace(tmp_path: Path) -> None:
    async with scripted(BUSY, TAKEN) as target, trace_collector() as collector:
        daemon = site(tmp_path, target, collector)
        async with alive(daemon):
            first = await send(daemon, 1)
            await until(lambda: len(collector.spans("deliver")) == 2)
            second = await send(daemon, 2)
            await until(lambda: len(collector.spans("deliver")) == 3)
            assert await daemon.terminate() == 0
        usual = [
            ("acknowledge", None, None, None),
            ("journal", None, None, None),
            ("map", "mapped", None, None),
            ("receive", None, None, None),
        ]
        failed, made = ("deliver", "postponed", "BUSY", 1), ("deliver", "delivered", None, 2)
        one, two = by_trace(collector.spans()).values()
        assert steps(one) == sorted([*usual, failed, made], key=str)
        assert steps(two) == sorted([*usual, ("deliver", "delivered", None, 1)], key=str)
        for spans in (one, two):
            (root,) = [span for span in spans if span.name == "receive"]
            assert root.parent == ""
            assert {span.parent for span in spans if span is not root} == {root.span}
            assert len({span.span for span in spans}) == len(spans)
            assert all(root.start_ns <= span.start_ns <= span.end_ns for span in spans)
            assert {span.failed for span in spans if span.about.get("outcome") != "postponed"} == {False}
            assert {span.about["channel"] for span in spans} == {"c0"}
            assert {span.about.get("destination") for span in spans if span.name == "deliver"} == {"server"}
        assert contexts(target.requests) == [f"00-{each.trace}-{each.span}-01" for each in collector.spans("deliver")]
        keeps_secrets(collector, first, second)
        assert {f"{PREFIX}{key}" for span in collector.spans() for key in span.about} <= ATTRIBUTES


def contexts(requests: list[Request]) -> list[str]:
    assert all("tracestate" not in one.headers for one in requests)
    return [one.headers["traceparent"] for one in requests]


async def test_a_dead_letter_ends_its_trace_with_a_reason(tmp_path: Path) -> None:
    async with scripted(REFUSED) as target, trace_collector() as collector:
        daemon = site(tmp_path, target, collector)
        route = daemon.folder / "channels" / "c0.yaml"
        copied, mapped = "- to: server\n    doubtful: pass", "- mapping: hl7-results\n    to: server"
        route.write_text(route.read_text().replace(copied, mapped))
        async with alive(daemon):
            unreadable = await send(
                daemon, 1, TEXT.replace("148.53", "148.53|").replace("718-7", "").replace("F\r", "\r")
            )
            refused = await send(daemon, 2)
            await until(lambda: any(one.about["message"] == 2 for one in collector.spans("deliver")))
            assert await daemon.terminate() == 0
        (dead,) = [one for one in collector.spans("deliver") if one.about["message"] == 2]
        assert (dead.about["outcome"], dead.about["reason"], dead.failed) == ("dead", "REFUSED", True)
        keeps_secrets(collector, unreadable, refused)


async def test_what_no_mapping_can_read_ends_at_its_mapping(tmp_path: Path) -> None:
    async with scripted(TAKEN) as target, trace_collector() as collector:
        daemon = site(tmp_path, target, collector)
        route = daemon.folder / "channels" / "c0.yaml"
        route.write_text(route.read_text().replace("- to: server", "- when: =MSH-9.1 == 'ADT'\n    to: server"))
        async with alive(daemon):
            message = await send(daemon, 1)
            await until(lambda: bool(collector.spans("map")))
            (dead,) = collector.spans("map")
            assert (dead.about["outcome"], dead.about["reason"], dead.failed) == ("dead", "NO_ROUTE", True)
            assert collector.spans("deliver") == []
        keeps_secrets(collector, message)


async def test_a_message_stays_in_its_trace_over_a_kill(tmp_path: Path) -> None:
    async with scripted(*[BUSY] * 3, TAKEN) as target, trace_collector() as collector:
        daemon = site(tmp_path, target, collector)
        text = daemon.folder / "config" / "labrelay.yaml"
        text.write_text(text.read_text().replace("first: 20ms, max: 50ms", "first: 1h, max: 1h"))
        async with alive(daemon):
            await send(daemon, 1)
            await until(lambda: bool(collector.spans("deliver")))
            before = collector.spans()
            await daemon.kill()
            text.write_text(text.read_text().replace("first: 1h, max: 1h", "first: 20ms, max: 50ms"))
            await daemon.start()
            await until(lambda: "delivered" in {one.about["outcome"] for one in collector.spans("deliver")}, 240.0)
            assert await daemon.terminate() == 0
        assert list(by_trace(collector.spans())) == [1]
        (root,) = collector.spans("receive")
        assert root in before
        after = collector.spans()[len(before) :]
        assert {one.name for one in after} == {"deliver"}
        assert {one.parent for one in after} == {root.span}
        assert len({one.span for one in collector.spans("deliver")}) == len(collector.spans("deliver"))


async def test_a_collector_that_fails_costs_a_metric_and_two_lines(tmp_path: Path) -> None:
    mended = False

    def answer(request: Request) -> Script:
        return http(200) if mended else http(503)

    async with scripted(TAKEN) as target, trace_collector(answer) as collector:
        daemon = site(tmp_path, target, collector)
        async with alive(daemon):
            await send(daemon, 1)
            await until(lambda: len(collector.requests) >= 2)
            await send(daemon, 2)
            await until(lambda: len(target.requests) == 2, 240.0)
            mended = True
            await until(lambda: "again" in daemon.log.read_text())
            await until(lambda: {1, 2} <= {one.about["message"] for one in collector.spans("deliver")})
            assert await daemon.terminate() == 0
        lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
        assert [(one["level"], one["msg"]) for one in lines if one["logger"] == "labrelay.traces"] == [
            ("warning", "traces do not reach their collector"), ("info", "traces reach their collector again"),
        ]  # fmt: skip


async def test_a_reload_begins_and_ends_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTLP_TOKEN", "Bearer hunter2")
    async with scripted(TAKEN) as target, trace_collector() as collector:
        daemon = site(tmp_path, target, None)
        text = daemon.folder / "config" / "labrelay.yaml"
        without = text.read_text()

        async with alive(daemon):
            await send(daemon, 1)
            await until(lambda: len(target.requests) == 1)
            assert "traceparent" not in target.requests[0].headers
            switch_on(daemon, collector, headers=[{"name": "Authorization", "secret": "${OTLP_TOKEN}"}])
            daemon.hang_up()
            await until(lambda: "configuration reloaded" in daemon.log.read_text())
            await send(daemon, 2)
            await until(lambda: bool(collector.spans("deliver")))
            assert {one.about["message"] for one in collector.spans()} == {2}
            (line,) = {one.line for one in collector.requests}
            assert line == "POST /v1/traces HTTP/1.1"
            assert {one.headers["authorization"] for one in collector.requests} == {"Bearer hunter2"}
            assert {one.headers["content-type"] for one in collector.requests} == {"application/x-protobuf"}
            text.write_text(without)
            daemon.hang_up()
            while "traceparent" in target.requests[-1].headers:  # until the reload is done
                number = len(target.requests) + 1
                await send(daemon, number)
                await until(lambda number=number: len(target.requests) == number)
            assert await daemon.terminate() == 0
        assert number not in {one.about["message"] for one in collector.spans()}, "not at the stop, either"
        assert "hunter2" not in daemon.log.read_text()


@asynccontextmanager
async def sending(folder: Path, collector: TraceCollector, **more: Any) -> AsyncIterator[Tracing]:
    """Traces beside a journal, without the rest of a site."""
    async with running(folder) as journal:
        made = Tracing(journal, ManualClock())
        made.follow(TracesConfig.model_validate({"url": collector.url, **more}))
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def trace(made: Tracing, number: int) -> None:
    """Two spans of a message."""
    assert made.witness is not None
    made.witness.stored(Stored(id=number, channel="chem", seq=number, payload=b"", received_us=1, control_id=""))


async def test_spans_that_the_collector_refuses_are_counted_as_dropped(tmp_path: Path) -> None:
    said = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=1))
    more = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=2**40))
    answers = (http(200, said.SerializeToString()), http(200, more.SerializeToString()), http(200))
    async with trace_collector(*answers) as collector, sending(tmp_path, collector) as made:
        for number, counted in enumerate([(1, 1), (1, 3), (3, 3)], start=1):
            trace(made, number)
            await until(lambda counted=counted: (made.sent, made.dropped) == counted)  # type: ignore[misc]
        assert len(collector.requests) == 3


@pytest.mark.parametrize("status", [400, 408, 409, 413, 500, 501])
async def test_a_batch_that_is_refused_is_dropped_and_holds_up_no_other(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    answers = (http(status), http(200))
    async with trace_collector(*answers) as collector, sending(tmp_path, collector) as made:
        trace(made, 1)
        await until(lambda: (made.sent, made.dropped) == (0, 2))
        trace(made, 2)
        await until(lambda: (made.sent, made.dropped) == (2, 2))
        assert len(collector.requests) == 2


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405, 429, 502, 503, 504])
async def test_a_batch_is_sent_again_where_time_or_a_person_can_help(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    monkeypatch.setattr(tracing, "FIRST_S", 0.01)
    async with trace_collector(http(status), http(200)) as collector, sending(tmp_path, collector) as made:
        trace(made, 1)
        await until(lambda: (made.sent, made.dropped) == (2, 0))
        first, again = collector.requests
        assert first.content == again.content


async def test_a_collector_that_names_a_time_is_left_alone_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the time is longer than the longest wait of our own."""
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    monkeypatch.setattr(tracing, "FIRST_S", 0.01)
    monkeypatch.setattr(tracing, "LONGEST_S", 0.01)
    asked: list[float] = []

    def answer(request: Request) -> Script:
        asked.append(asyncio.get_running_loop().time())
        return http(503, b"", "Retry-After: 1") if len(asked) == 1 else http(200)

    async with trace_collector(answer) as collector, sending(tmp_path, collector) as made:
        trace(made, 1)
        await until(lambda: made.sent == 2)
    first, again = asked
    assert again - first >= 0.99


async def test_a_reload_takes_renewed_certificates_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "FIRST_S", 0.01)
    now, former = Authority(tmp_path / "now"), Authority(tmp_path / "former")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(former.ca, trusted)
    tls = {"ca": str(trusted)}
    async with (
        scripted(http(200), tls=now.server_context()) as server,
        sending(tmp_path / "var", TraceCollector(server), tls=tls) as made,
    ):
        trace(made, 1)
        await until(lambda: made._failing)
        shutil.copy(now.ca, trusted)
        made.follow(TracesConfig.model_validate({"url": TraceCollector(server).url, "tls": tls}))
        await until(lambda: made.sent == 2)


async def test_a_secret_that_no_header_can_have_stops_no_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "FIRST_S", 0.01)
    monkeypatch.setenv("OTLP_TOKEN", "hunter2\nX-Injected: yes")
    headers = [{"name": "Authorization", "secret": "${OTLP_TOKEN}"}]
    async with trace_collector() as collector, sending(tmp_path, collector, headers=headers) as made:
        trace(made, 1)
        await until(lambda: bool(caplog.records))
        monkeypatch.setenv("OTLP_TOKEN", "hunter3")  # a new value counts at once
        await until(lambda: made.sent == 2)
        assert [one.headers["authorization"] for one in collector.requests] == ["hunter3"]
    assert caplog.records[0].__dict__["detail"].startswith("NOT_AUTHORIZED: a header has a line end")
    assert "hunter" not in caplog.text


async def test_spans_that_fail_by_a_fault_of_ours_hold_up_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trace_collector() as collector, sending(tmp_path, collector) as made:
        with monkeypatch.context() as fault:
            fault.setattr(otlp, "request", lambda spans, resource: 1 / 0)
            trace(made, 1)
            await until(lambda: made.dropped == 2)
        again = asyncio.create_task(made.run())  # as the supervisor does
        trace(made, 2)
        await until(lambda: made.sent == 2)
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
    assert {one.about["message"] for one in collector.spans()} == {2}
