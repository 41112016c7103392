"""Gateways that write a topic, feeders that read it, and what is in it afterwards."""

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from engine.store.core.connecting import JOURNAL_NAME
from tests.support.command_line import labrelay
from tests.support.kafka_engine import Engine
from tests.support.ports import quiet_ports

LANES = 3
TOPIC = "lab.results"

SITE = """\
site: {{name: Test Lab, timezone: Asia/Kolkata}}
web: {{enabled: false}}
destinations:
  log:
    kind: kafka
    connect: [{connect}]
    topic: lab.results
    gateway: {gateway}
    timeout: 5s
    retry: {{first: 200ms, max: 1s}}
    breaker: {{failures: 1000}}
"""
CHANNEL = """\
channel: lane{lane}
source: {{kind: http, listen: "127.0.0.1:{port}"}}
routes:
  - to: log
"""


def write_site(folder: Path, engine: Engine, gateway: str = "city-lab", first: int = 0) -> list[int]:
    """A gateway with a lane for each port."""
    ports = quiet_ports(LANES)
    for name in ("config", "channels"):
        (folder / name).mkdir(parents=True)
    (folder / "config" / "labrelay.yaml").write_text(SITE.format(connect=", ".join(engine.connect), gateway=gateway))
    for lane, port in enumerate(ports, first):
        (folder / "channels" / f"lane{lane}.yaml").write_text(CHANNEL.format(lane=lane, port=port))
    return ports


def lanes_of(engine: Engine) -> dict[str, list[tuple[str, int]]]:
    """Of each key, the delivery keys with the number of the message in its lane, as the topic has them."""
    found: dict[str, list[tuple[str, int]]] = {}
    for record in engine.records(TOPIC):
        headers = dict(record.headers() or [])
        [number] = re.findall(rb"B[0-9]{3}-([0-9]{8})", record.value() or b"")[:1]
        lane = found.setdefault((record.key() or b"").decode(), [])
        lane.append((headers["Idempotency-Key"].decode(), int(number)))
    return found


FEEDER = """\
site: {{name: Data Centre, timezone: Asia/Kolkata}}
web: {{enabled: false}}
destinations:
  server: {{kind: http, url: "{url}", retry: {{first: 100ms, max: 500ms}}, breaker: {{failures: 1000}}}}
"""
READS = """\
channel: feed
source: {{kind: kafka, connect: [{connect}], topic: lab.results, group: feeder, format: hl7v2}}
routes:
  - {{to: server, doubtful: pass}}
"""


def write_feeder(folder: Path, engine: Engine, url: str) -> Path:
    for name in ("config", "channels"):
        (folder / name).mkdir(parents=True)
    (folder / "config" / "labrelay.yaml").write_text(FEEDER.format(url=url))
    (folder / "channels" / "feed.yaml").write_text(READS.format(connect=", ".join(engine.connect)))
    return folder


def count(site: Path) -> int:
    """How many the feeder has; none before its first start has made a journal."""
    journal = site / "var" / JOURNAL_NAME
    if not journal.exists():
        return 0
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        has = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'journal'").fetchone()[0]
        return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0]) if has else 0


def delivered(site: Path) -> None:
    """Wait until nothing waits to be mapped or delivered, by the journal: a daemon that has just started has not mapped
    what it found, and its own answer may be a second old.
    """
    until_s = time.monotonic() + 240.0
    while True:
        said = labrelay("status", "--offline", "-o", "json", site=site).json
        if not any(one["stored_waiting"] for one in said["channels"]) and not any(
            one["waiting"] for one in said["lanes"]
        ):
            return
        assert time.monotonic() < until_s, "messages still wait"
        time.sleep(0.1)
