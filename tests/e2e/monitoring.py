"""Rules and dashboard of `config/observability` by Prometheus itself: its tool checks and tries the rules, and a real
Prometheus that reads a daemon's metrics has data for each panel.

Skipped where there is no Prometheus (``LABRELAY_PROMETHEUS`` and ``LABRELAY_PROMTOOL`` name others).
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.documentation.test_observability import FOLDER, queries, rules
from tests.e2e.counterparts import fetched
from tests.support.command_line import labrelay
from tests.support.live import Analyzer, Daemon, Server
from tests.support.ports import quiet_ports
from tests.support.scripted_http import http, scripted
from tests.support.waiting import until

OF_BACKUPS = "labrelay_backup_time_seconds"


def program(name: str) -> str:
    found = os.environ.get(f"LABRELAY_{name.upper()}") or shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}; on Debian or Ubuntu: apt install prometheus")
    return found


@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts.test.yaml")])
def test_promtool_has_nothing_to_say(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run([program("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@contextmanager
def prometheus(folder: Path, metrics: int) -> Iterator[str]:
    """A Prometheus that reads the metrics of a daemon each second, with our rules; its address."""
    (port,) = quiet_ports(1)
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER / "alerts.yaml")],
        "scrape_configs": [{"job_name": "labrelay", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}],
    }
    file = folder / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps(settings))
    command = [program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answered(url: str, query: str) -> list[Any]:
    try:
        said = fetched(f"{url}/api/v1/query?query={quote(query)}")
    except OSError:  # not up yet
        return []
    found: list[Any] = said["data"]["result"]
    return found


async def backed_up(daemon: Daemon, copies: Path) -> None:
    """Let the running daemon make its first backup."""
    await asyncio.to_thread(copies.mkdir)
    with (daemon.folder / "config" / "labrelay.yaml").open("a") as file:
        file.write(f"backup: {{folder: '{copies}'}}\n")
    for verb in (["reload"], ["backup", "now"]):
        ran = await asyncio.to_thread(labrelay, *verb, site=daemon.folder)
        assert ran.code == 0, ran.err


async def test_each_panel_has_data_and_no_alert_fires(tmp_path: Path) -> None:
    program("prometheus")
    stack, server = AsyncExitStack(), Server()
    await server.start()
    daemon = Daemon(
        tmp_path / "site",
        ["mllp", "astm"],
        f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir"}}',
        interpreter=True,
    )
    try:
        chat = await stack.enter_async_context(scripted(http(200, b"{}")))
        sinks = {
            "chief": {"kind": "http", "url": chat.url, "type": "text", "body": "{text}"}
        }  # it is told that there is no backup
        with (daemon.folder / "config" / "labrelay.yaml").open("a") as file:
            file.write(f"alerts: {json.dumps({'sinks': sinks, 'group': '0s'})}\n")
        await daemon.start()
        analyzers = [
            Analyzer(n, daemon.port_of[n], protocol, pause_s=0.05)
            for n, protocol in zip(daemon.port_of, daemon.protocols, strict=True)
        ]
        tasks = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        with prometheus(tmp_path, daemon.web_port) as url:
            panels = [one.replace("$instance", ".*") for one in queries()]
            assert len(panels) > 20
            panels.sort(key=lambda one: OF_BACKUPS in one)
            for panel in panels:  # a rate needs two looks
                if OF_BACKUPS in panel:
                    await backed_up(daemon, tmp_path / "copies")
                await until(lambda panel=panel: bool(answered(url, panel)), 60.0)
            known = fetched(f"{url}/api/v1/rules")["data"]["groups"][0]["rules"]
            assert [one["name"] for one in known] == [one["alert"] for one in rules()]
            assert {one["health"] for one in known} == {"ok"}
            alerts = fetched(f"{url}/api/v1/alerts")["data"]["alerts"]
            assert [one["labels"]["alertname"] for one in alerts if one["state"] == "firing"] == []
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*tasks)
        assert await daemon.terminate() == 0
    finally:
        await daemon.end()
        await server.stop()
        await stack.aclose()
