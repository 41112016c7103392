"""Traces to a real OpenTelemetry Collector: what it reads of them, with and without TLS, and when it has no time or is
away.

Runs where ``make collector`` has built one from `tests/e2e/collector` (or ``LABRELAY_OTELCOL`` names it); else it is
skipped. A collector of another build has no exporter ``jsonlines``.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.features.traces.test_traces_of_a_site import BUSY, PERSON, REFUSED, TAKEN, alive, send, site
from tests.support.certificates import Authority
from tests.support.live import Daemon
from tests.support.ports import quiet_ports
from tests.support.scripted_http import scripted
from tests.support.waiting import until

BUILT = Path(__file__).parents[2] / ".collector" / "otelcol"
INTERNAL, SERVER, CLIENT = 1, 2, 3
INVALID, EXHAUSTED, INTERNAL_ERROR, UNAVAILABLE = 3, 8, 13, 14  # of gRPC: HTTP 400, 429, 500, 503


def program() -> str:
    found = os.environ.get("LABRELAY_OTELCOL") or shutil.which(str(BUILT))
    if found is None:
        pytest.skip("there is no otelcol; build it: make collector")
    return found


@dataclass
class Otelcol:
    """A collector with a file, which it appends all that it takes to."""

    folder: Path
    port: int
    authority: Authority | None = None

    @property
    def file(self) -> Path:
        return self.folder / "spans.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "otelcol.log"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        http: dict[str, Any] = {"endpoint": f"127.0.0.1:{self.port}"}
        if self.authority is not None:
            pair = self.authority.sign("collector")
            files = {"cert_file": pair.cert, "key_file": pair.key, "client_ca_file": self.authority.ca}
            http["tls"] = {key: str(path) for key, path in files.items()}
        settings = {
            "receivers": {"otlp": {"protocols": {"http": http}}},
            "exporters": {"jsonlines": {"path": str(self.file)}},
            "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jsonlines"]}}},
        }
        starts = self._starts()
        file = self.folder / "otelcol.yaml"
        file.write_text(json.dumps(settings))  # JSON is YAML
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(program(), "--config", str(file), stdout=log, stderr=log)
        try:
            await until(lambda: process.returncode is not None or self._starts() > starts)
            assert process.returncode is None, self.log.read_text()[-2000:]
            yield
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 20.0)
            except TimeoutError:
                process.kill()
                await process.wait()

    def _starts(self) -> int:
        return self.log.read_text().count("Everything is ready") if self.log.exists() else 0

    def refuse(self, code: int | None, delay_s: int = 0) -> None:
        """Let it answer so; None: it takes all again."""
        wanted = self.file.with_name("spans.jsonl.refuse")
        if code is None:
            wanted.unlink()
        else:
            made = wanted.with_suffix(".new")
            made.write_text(f"{code} {delay_s}")
            made.rename(wanted)

    def batches(self) -> list[dict[str, Any]]:
        lines = self.file.read_text().splitlines(keepends=True) if self.file.exists() else []
        return [part for line in lines if line.endswith("\n") for part in json.loads(line)["resourceSpans"]]

    def spans(self, name: str = "") -> list[dict[str, Any]]:
        found = [span for one in self.batches() for scope in one["scopeSpans"] for span in scope["spans"]]
        return [one for one in found if name in ("", one["name"])]

    def delivered(self) -> list[int]:
        """The numbers of the messages whose delivery it knows of."""
        return sorted(about(one)["labrelay.message"] for one in self.spans("deliver"))

    def complaints(self) -> list[dict[str, Any]]:
        """Lines of its log that are no information."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        assert lines
        return [one for one in lines if one["level"] != "info"]


def otelcol(folder: Path, authority: Authority | None = None) -> Otelcol:
    program()
    folder.mkdir()
    return Otelcol(folder, quiet_ports(1)[0], authority)


def about(of: dict[str, Any]) -> dict[str, Any]:
    """Attributes; OTLP writes whole numbers as texts in JSON."""
    read = {"stringValue": str, "intValue": int}
    return {one["key"]: read[kind](value) for one in of["attributes"] for kind, value in one["value"].items()}


def switch_on(daemon: Daemon, collector: Otelcol, **more: Any) -> None:
    scheme = "http" if collector.authority is None else "https"
    traces = {"url": f"{scheme}://127.0.0.1:{collector.port}", **more}
    with (daemon.folder / "config" / "labrelay.yaml").open("a") as file:
        file.write(f"traces: {json.dumps(traces)}\n")


def said(daemon: Daemon) -> list[str]:
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    return [one["msg"] for one in lines if one["logger"] == "labrelay.traces"]


AWAY, BACK = "traces do not reach their collector", "traces reach their collector again"


@pytest.mark.parametrize("secure", [False, True])
async def test_a_collector_reads_each_step_of_each_message(
    secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTLP_TOKEN", "Bearer hunter2")
    collector = otelcol(tmp_path / "collector", Authority(tmp_path / "authority") if secure else None)
    more: dict[str, Any] = {"headers": [{"name": "Authorization", "secret": "${OTLP_TOKEN}"}]}
    if collector.authority is not None:
        pair = collector.authority.sign("daemon")
        more["tls"] = {"ca": str(collector.authority.ca), "cert": str(pair.cert), "key": str(pair.key)}
    began_ns = time.time_ns()
    async with scripted(BUSY, TAKEN, REFUSED) as target:
        daemon = site(tmp_path, target, None)
        switch_on(daemon, collector, **more)
        async with collector.running(), alive(daemon):
            await send(daemon, 1)
            await until(lambda: collector.delivered() == [1, 1])
            await send(daemon, 2)
            await until(lambda: collector.delivered() == [1, 1, 2])
            assert await daemon.terminate() == 0
    ended_ns = time.time_ns()
    assert collector.complaints() == []
    assert said(daemon) == []
    spans = collector.spans()
    assert sorted(one["name"] for one in spans) == sorted(
        ["receive", "journal", "acknowledge", "map", "deliver"] * 2 + ["deliver"]
    )
    assert len({one["spanId"] for one in spans}) == len(spans)
    assert len({one["traceId"] for one in spans}) == 2
    roots = {one["traceId"]: one for one in spans if not one.get("parentSpanId")}
    for one in spans:
        root = roots[one["traceId"]]
        assert (len(bytes.fromhex(one["traceId"])), len(bytes.fromhex(one["spanId"]))) == (16, 8)
        assert one is root or one["parentSpanId"] == root["spanId"]
        assert about(one)["labrelay.message"] == about(root)["labrelay.message"]
        assert one["kind"] == {"receive": SERVER, "deliver": CLIENT}.get(one["name"], INTERNAL)
        assert began_ns - 1000 <= int(root["startTimeUnixNano"]) <= int(one["startTimeUnixNano"])
        assert int(one["startTimeUnixNano"]) <= int(one["endTimeUnixNano"]) <= ended_ns
        assert (one["name"] == "receive") == (one is root)
    ends = [
        (about(one)["labrelay.outcome"], about(one).get("labrelay.reason"), one["status"].get("code", 0))
        for one in collector.spans("deliver")
    ]
    assert ends == [("postponed", "BUSY", 2), ("delivered", None, 0), ("dead", "REFUSED", 2)]
    for batch in collector.batches():
        assert about(batch["resource"])["service.name"] == "labrelay"
        assert set(about(batch["resource"])) == {"service.name", "service.version", "service.instance.id"}
        assert [one["scope"]["name"] for one in batch["scopeSpans"]] == ["labrelay"]
    kept = (collector.file.read_text() + collector.log.read_text()).lower()
    assert [word for word in (*PERSON.lower().split("^"), "patno88121", "148.53", "ctrl1xyz") if word in kept] == []


async def test_a_collector_that_goes_away_and_comes_back_has_all_once(tmp_path: Path) -> None:
    collector = otelcol(tmp_path / "collector")
    async with scripted(TAKEN) as target:
        daemon = site(tmp_path, target, None)
        switch_on(daemon, collector)
        async with alive(daemon):
            async with collector.running():
                await send(daemon, 1)
                await until(lambda: collector.delivered() == [1])
            await send(daemon, 2)
            await until(lambda: said(daemon) == [AWAY])
            await send(daemon, 3)
            async with collector.running():
                await until(lambda: collector.delivered() == [1, 2, 3])
                await until(lambda: said(daemon) == [AWAY, BACK])
                assert await daemon.terminate() == 0
    assert len(collector.spans()) == 15
    assert len({one["spanId"] for one in collector.spans()}) == 15
    assert collector.complaints() == []


@pytest.mark.parametrize(("code", "delay_s"), [(EXHAUSTED, 4), (UNAVAILABLE, 0)])
async def test_a_collector_without_time_is_asked_again_when_it_says(code: int, delay_s: int, tmp_path: Path) -> None:
    collector = otelcol(tmp_path / "collector")
    async with scripted(TAKEN) as target:
        daemon = site(tmp_path, target, None)
        switch_on(daemon, collector)
        async with collector.running(), alive(daemon):
            collector.refuse(code, delay_s)
            before = time.monotonic()
            await send(daemon, 1)
            await until(lambda: said(daemon) == [AWAY])
            collector.refuse(None)
            await until(lambda: collector.delivered() == [1])
            assert time.monotonic() - before >= delay_s
            await until(lambda: said(daemon) == [AWAY, BACK])
            assert await daemon.terminate() == 0
    assert len(collector.spans()) == 5


@pytest.mark.parametrize("code", [INVALID, INTERNAL_ERROR])
async def test_spans_that_a_collector_never_takes_hold_up_no_others(code: int, tmp_path: Path) -> None:
    collector = otelcol(tmp_path / "collector")
    async with scripted(TAKEN) as target:
        daemon = site(tmp_path, target, None)
        switch_on(daemon, collector)
        async with collector.running(), alive(daemon):
            collector.refuse(code)
            await send(daemon, 1)
            await until(lambda: said(daemon) == [AWAY])
            collector.refuse(None)
            await send(daemon, 2)
            await until(lambda: collector.delivered()[-1:] == [2])
            assert await daemon.terminate() == 0
    assert {about(one)["labrelay.message"] for one in collector.spans("receive")} == {2}
