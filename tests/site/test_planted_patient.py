"""A patient is planted everywhere a message can go, and then looked for everywhere a patient must not be.

The real daemon as a process of its own, at its most talkative, with a server that says back what it was sent, a mapping
that fails with the message in its exception, lines that break off, and an end by a signal that dumps every stack. Once
in one process, and once with a worker beside it, followed, watched, corrected, exported and backed up in pieces.
"""

import asyncio
import base64
import json
import os
import re
import signal
import stat
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import pytest
import yaml
from aiohttp import web

from engine.__main__ import labrelay as command_line
from engine.commands.shared.output import Form
from engine.runtime.large.messages import MANY_LINES
from engine.store.core.files.lock import LOCK_NAME
from engine.store.core.vault import KEY_NAME
from tests.support.command_line import labrelay
from tests.support.ports import quiet_ports
from tests.support.running import ASTM_ROUTE, HL7_ROUTE
from tests.support.waiting import until

PLANTED = ("Quetzalcoatlus", "PX77019934", "9845098450")
NAME, NUMBER, PHONE = PLANTED
HOST = "127.0.0.1"
PEOPLE = [re.compile(text.encode(), re.IGNORECASE) for text in PLANTED]

# The daemon, with a fault of ours in the mapping of messages that say so: the worst that an exception can carry.
FAULT = """
from engine.processing import process
route = process._route
def failing(stored, *rest):
    if b"BOOM" in stored.payload:
        raise ValueError(stored.payload.decode("latin-1"))
    return route(stored, *rest)
process._route = failing

from datetime import timedelta
from engine.succession.judge import clock
clock.OLD = timedelta(days=36_500)  # its messages are of a fixed day
"""
LONG = "\rNTE|2|L|x" * MANY_LINES
DAEMON = f"{FAULT}\nfrom engine.__main__ import main\nmain()\n"
# What a person does in an editor: looks at what lies where, and sends the right type.
EDITOR = """
import json, os, sys, time
from pathlib import Path
file, note = Path(sys.argv[-1]), Path(sys.argv[1])
text = file.read_text("utf-8")
note.write_text(json.dumps({"read": text, "file": str(file), "modes": [file.stat().st_mode, file.parent.stat().st_mode],
                            "of ours": Path(f"/proc/{os.getppid()}/cmdline").read_text()}))
file.write_text(text.replace("ADT^A99", "ORU^R01"), "utf-8")
"""

# Verbs that print for scripts and have to be told of what; the rest is run as it is.
ARGUMENTS: dict[str, list[list[str]]] = {
    "messages show": [["{id}"], ["{id}", "--wire"]],
    "messages line": [["chem"], ["astm"]],
    "messages list": [["--limit", "200"], ["--patient", NUMBER], ["--specimen", "S1"]],
    "dlq show": [["{id}"]],
    "held show": [["{id}"]],
    "explain": [["{id}"]],
    "dlq retry": [["--all", "--dry-run"]],
    "dlq dismiss": [["--all", "--reason", "x", "--dry-run"]],
    "held release": [["{id}", "--reason", "x", "--dry-run"]],
    "held reject": [["{id}", "--reason", "x", "--dry-run"]],
    "replay": [["{id}", "--dry-run"]],
    "reprocess": [["--channel", "chem", "--since", "1d"], ["--channel", "astm", "--since", "1d"]],
    "verify": [[], ["--deep"]],
    "gaps": [[], ["--since", "1d"], ["--unread"]],
    "audit list": [["--limit", "500"]],
    "erase": [["--patient", NUMBER, "--dry-run"]],
}
# They go on until they are stopped, or are about a file that their user names, and nothing that is stored.
NOT_HERE = {
    *("bench", "demo", "detect", "listen", "map", "sandbox", "simulate", "tap", "test", "send", "run", "analyzers"),
    *("analyzers show", "key rotate", "restore", "upgrade"),
}


def hl7(control: str, *, kind: str = "ORU^R01", value: str = "5.1", note: str = "") -> bytes:
    return "\r".join(
        [
            f"MSH|^~\\&|AN|LAB|||20260301101530||{kind}|{control}|P|2.5.1",
            f"PID|1|{NUMBER}|{NUMBER}^^^H^MR||{NAME}^Anna||19800412|F|||12 Lake Rd^^Pune||{PHONE}|||||{NUMBER}",
            f"NK1|1|{NAME}^Bert|||{PHONE}",
            f"PV1|1|O|||||{NUMBER}^{NAME}^Doc",
            f"ORC|RE|O{control}|F{control}|||||||||{NUMBER}^{NAME}^Doc||{PHONE}",
            f"OBR|1|O{control}|F{control}|CBC^Panel^L|||20260301091500|||||||||{NUMBER}^{NAME}^Doc|{PHONE}",
            f"OBX|1|NM|GLU^Glucose^L||{value}|mmol/L|3-6|N|||F|||20260301094500",
            f"OBX|2|ST|TXT^Remark^L||seen by {NAME}, call {PHONE}||||||F",
            f"NTE|1|L|{NAME} {NUMBER} {PHONE} {note}",
            "",
        ]
    ).encode()


def astm(control: str, value: str = "5.1") -> bytes:
    return "\r".join(
        [
            f"H|\\^&|{control}||AN^1|||||||P|1|20260301101530",
            f"P|1|{NUMBER}|{NUMBER}|{NUMBER}|{NAME}^Anna||19800412|F||12 Lake Rd||{PHONE}|{NAME}",
            f"C|1|I|{NAME} {PHONE}|G",
            f"O|1|S{control}||^^^GLU|R||20260301091500||||{NAME}",
            f"R|1|^^^GLU|{value}|mmol/L|3 to 6|N||F||{NAME}||20260301094500",
            f"C|1|I|call {NAME} {PHONE} {NUMBER}|G",
            "L|1|N",
            "",
        ]
    ).encode()


def frame(number: int, text: bytes, *, sound: bool = True) -> bytes:
    body = b"%d" % number + text + b"\x03"
    return b"\x02" + body + (b"%02X" % (sum(body) % 256) if sound else b"00") + b"\r\n"


@asynccontextmanager
async def echoing_server(alerts: list[bytes]) -> AsyncIterator[int]:
    """A server that refuses, is out of order, or takes; and says back all that it was sent. ``alerts``: it takes these,
    too."""

    async def take(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/alerts":
            alerts.append(body)
            return web.Response()
        status = 422 if b"666" in body else 503 if b"555" in body else 200
        if status == 200:
            entries = [{"response": {"status": "201 Created"}}] * body.count(b'"fullUrl":')
            return web.json_response({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
        text = body.decode("utf-8", "replace")
        issue = {"severity": "error", "code": "invalid", "diagnostics": f"{NAME} {PHONE}: {text}"}
        return web.json_response({"resourceType": "OperationOutcome", "issue": [issue]}, status=status, reason=NAME)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def write_site(folder: Path, server: int, ports: list[int], **more: object) -> None:
    quick = {"retry": {"first": "20ms", "max": "50ms"}, "breaker": {"probe_after": "50ms"}}
    site = {
        "site": {"name": "Test Lab", "timezone": "Asia/Kolkata"},
        "web": {"listen": f"{HOST}:{ports[0]}"},
        "destinations": {
            "server": {"kind": "fhir", "url": f"http://{HOST}:{server}/fhir", **quick},
            "archive": {"kind": "file", "folder": "archive"},
        },
        "backup": {"folder": "copies", "rows": "10s"},
        "alerts": {
            "sinks": {"chat": {"kind": "http", "url": f"http://{HOST}:{server}/alerts", "body": '{"text": "{text}"}'}},
            "group": "0s",
            "rules": {name: {"after": "0s", "least": "attention"} for name in ("line", "dead", "held", "destination")},
        },
        **more,
    }
    hold = [{"when": "=value > 9", "reason": "too high"}]
    channels = {
        "chem": {"source": {"kind": "mllp", "listen": f"{HOST}:{ports[1]}"},
                 "routes": [{**HL7_ROUTE, "to": ["server", "archive"], "hold": hold}]},
        "astm": {"source": {"kind": "astm", "listen": f"{HOST}:{ports[2]}"},
                 "routes": [{**ASTM_ROUTE, "to": ["server", "archive"], "hold": hold}]},
    }  # fmt: skip
    for name in ("config", "channels", "copies"):
        (folder / name).mkdir()
    (folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(site), "utf-8")
    for name, content in channels.items():
        (folder / "channels" / f"{name}.yaml").write_text(yaml.safe_dump({"channel": name, **content}), "utf-8")


class Daemon:
    """The process, and everything that it ever said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said = b""
        self.pid = 0

    @asynccontextmanager
    async def running(self, style: str, page: int, *, end: signal.Signals) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-X", "faulthandler", "-c", DAEMON,
            "--site", str(self._folder), "run", "--log", style, "--log-level", "debug",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1",
                 "PYTHONPATH": f"{self._folder / 'fault'}:{Path(__file__).parents[2]}"},
        )  # fmt: skip
        assert process.stdout is not None
        self.pid = process.pid
        reading = asyncio.create_task(process.stdout.read())
        try:
            await until(lambda: ready(page) or process.returncode is not None, 240.0)
            assert process.returncode is None, await reading
            yield
        finally:
            if process.returncode is None:
                process.send_signal(end)
            async with asyncio.timeout(240.0):
                self.said += await reading
                await process.wait()


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=60) as answer:
        return bytes(answer.read())


def ready(port: int) -> bool:
    try:
        return get(port, "/readyz") is not None
    except OSError:
        return False


async def talk(port: int, *parts: bytes, half: bool = False) -> None:
    """Say something and hear what is answered; ``half``: break off at once."""
    reader, writer = await asyncio.open_connection(HOST, port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        if not half:
            async with asyncio.timeout(240.0):
                await reader.read(4096)
    writer.close()


async def block(port: int, *messages: bytes) -> None:
    await talk(port, *(b"\x0b" + message + b"\x1c\r" for message in messages))


async def plant(chem: int, line: int) -> None:
    await block(
        chem, hl7("1"), hl7("1"), hl7("1", value="4.9")
    )  # well, an echo of it, the same number with other bytes
    await block(chem, hl7("2", kind="ADT^A99"), hl7("3", kind=f"{NAME}^{NUMBER}"))  # nobody wants it
    await block(chem, f"{NAME} {NUMBER} {PHONE}".encode(), hl7("4")[:-300], hl7("5").replace(b"PID|", b"P\xffID|"))
    await block(chem, hl7("6", note="BOOM"), hl7("7", value="666"), hl7("8", value="8.555"), hl7("9", value="12.5"))
    await block(chem, hl7(f"{NAME}{NUMBER}"), hl7("11").replace(b"|3-6|N|", b"|3-6|HH|"))
    await talk(chem, f"noise {NAME} {NUMBER} {PHONE}".encode() + b"\x0b" + hl7("10")[:200], half=True)
    for text in (astm("A1"), astm("A1"), astm("A2", "666"), astm("A3", "12.5"), astm("A4").replace(b"O|1", b"O|BOOM")):
        await talk(line, b"\x05", frame(1, text), b"\x04\x05", half=False)
    whole = astm("A5")
    await talk(line, b"\x05", frame(1, whole, sound=False), frame(1, f"X|{NAME}|{PHONE}".encode()), half=False)
    await talk(line, b"\x05", frame(1, whole[:150]), half=False)  # no end: cut short
    await talk(line, f"{NAME}{PHONE}{NUMBER}".encode(), half=True)


def scripted_verbs() -> Iterator[tuple[str, list[str]]]:
    """Every verb that prints JSON, as the command line knows it."""

    def walk(group: click.Group, before: list[str]) -> Iterator[tuple[str, list[str]]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            path = [*before, name]
            if isinstance(command, click.Group):
                yield from walk(command, path)
            elif command is not None and any("--output" in option.opts for option in command.params):
                yield " ".join(path), path

    yield from walk(command_line, [])


def clean(what: str, content: bytes) -> None:
    for person in PEOPLE:
        found = person.search(content)
        if found:
            around = content[max(0, found.start() - 200) : found.end() + 100]
            pytest.fail(f"{what} names the patient: {around!r}")


async def show_everything(folder: Path, *, ids: list[int]) -> set[str]:
    """Run every verb for scripts; those that did something."""
    worked = set()
    for name, path in scripted_verbs():
        if name in NOT_HERE:
            continue
        for given in ARGUMENTS.get(name, [[]]):
            for number in ids if "{id}" in given else [0]:
                arguments = [one.format(id=number) for one in given]
                form = Form.JSON.value
                ran = await asyncio.to_thread(labrelay, *path, *arguments, "-o", form, site=folder)
                clean(f"labrelay {name} {arguments}", (ran.out + ran.err).encode())
                if ran.out:
                    json.loads(ran.out)
                    worked.add(name)
    return worked


def files_of(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_socket():
            yield path


async def test_a_planted_patient_is_seen_nowhere(tmp_path: Path) -> None:
    ports = quiet_ports(3)
    page, chem, line = ports
    daemon = Daemon(tmp_path)
    data = tmp_path / "var"
    alerts: list[bytes] = []
    async with echoing_server(alerts) as server:
        write_site(tmp_path, server, ports)
        async with daemon.running("json", page, end=signal.SIGABRT):
            await plant(chem, line)
            await until(lambda: json.loads(get(page, "/status.json"))["dead_total"] >= 5, 240.0)
            await until(lambda: all(any(said in one for one in alerts) for said in (b"Dead", b"critical")), 240.0)
            clean("an alert", b"".join(alerts))
            for path in ("/", "/status.json", "/metrics", "/healthz", "/readyz"):
                clean(f"the page {path}", get(page, path))
            listed = labrelay("messages", "list", "--limit", "200", "-o", "json", site=tmp_path).json["messages"]
            states = {(row["state"], row["code"]) for row in listed}
            one_of_each = {(row["channel"], row["state"], row["code"]): row["id"] for row in listed}
            worked = await show_everything(tmp_path, ids=list(one_of_each.values()))
            assert {"messages list", "messages show", "dlq list", "held list", "explain", "status"} <= worked
            for name in ("journal.db", "journal.db-wal", "journal.anchor"):
                clean(name, (data / name).read_bytes())
        assert b"Fatal Python error: Aborted" in daemon.said
        async with daemon.running("human", page, end=signal.SIGTERM):
            await block(chem, hl7("20", note="BOOM"), hl7("21", value="666"))
            await talk(line, b"\x05", frame(1, astm("A9", "555")), b"\x04\x05")
    reasons = {reason for _, reason in states}
    assert {"NO_ROUTE", "UNREADABLE", "MAPPING_FAULT", "ECHO"} <= reasons, reasons
    assert any(state == "incomplete" for state, _ in states)
    clean("what the daemon said", daemon.said)
    assert b"processing failed inside LabRelay" in daemon.said
    copied = await asyncio.to_thread(labrelay, "backup", "now", site=tmp_path)
    assert copied.code == 0, copied.err
    clean("backup now", (copied.out + copied.err).encode())
    await show_everything(tmp_path, ids=[1])
    seen = 0
    for file in files_of(tmp_path):
        clean("the name of a file", str(file.relative_to(tmp_path)).encode())
        if file.parent.name != "archive" and file.name not in (KEY_NAME, LOCK_NAME):
            clean(str(file.relative_to(tmp_path)), file.read_bytes())
            seen += 1
    assert seen > 5
    assert sum(file.stat().st_size for file in files_of(tmp_path / "copies")) > 50_000
    archived = [path.read_bytes() for path in files_of(tmp_path / "archive")]
    assert any(NAME.encode() in content for content in archived)  # it was there to be found
    shown = await asyncio.to_thread(labrelay, "messages", "show", "1", "--unmask", "--purpose", "a test", site=tmp_path)
    assert NAME in shown.out


def large_files_of(folder: Path) -> list[Path]:
    return [one for one in files_of(folder) if one.stat().st_size > 5_000]


async def begin(folder: Path, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """A command as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "--site", str(folder), *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )  # fmt: skip


async def beside(folder: Path, *arguments: str, **environment: str) -> bytes:
    """The same until its end: all that it says."""
    process = await begin(folder, *arguments, **environment)
    async with asyncio.timeout(300):
        said, _ = await process.communicate()
    clean(f"labrelay {' '.join(arguments)}", said)
    return said


def find(folder: Path, state: str, reason: str) -> int:
    listed = labrelay("messages", "list", "--limit", "200", "-o", "json", site=folder).json["messages"]
    return next((int(row["id"]) for row in listed if (row["state"], row["code"]) == (state, reason)), 0)


def waiting(folder: Path) -> list[object]:
    """The messages without an outcome."""
    found = labrelay("messages", "list", "--state", "stored", "-o", "json", site=folder).json["messages"]
    return list(found)


def large_of(pid: int) -> int:
    """The daemon's process for large messages; 0: there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = (int(one) for one in children if b"engine.runtime.large" in Path(f"/proc/{one}/cmdline").read_bytes())
    return next(found, 0)


async def test_a_planted_patient_is_seen_nowhere_with_large_messages_and_people_at_work(tmp_path: Path) -> None:
    ports = quiet_ports(3)
    page, chem, line = ports
    daemon, data, made = Daemon(tmp_path), tmp_path / "var", tmp_path / "made"
    for name in ("made", "run", "fault"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "fault" / "sitecustomize.py").write_text(FAULT, "utf-8")  # of large messages, too
    (tmp_path / "editor.py").write_text(EDITOR, "utf-8")
    async with echoing_server([]) as server:
        write_site(tmp_path, server, ports)
        async with daemon.running("human", page, end=signal.SIGTERM):
            assert b"whole" in await beside(tmp_path, "backup", "now")
            taps = [
                await begin(tmp_path, "tap", channel, "-o", form)
                for channel, form in (("chem", "ndjson"), ("chem", "table"), ("astm", "ndjson"), ("astm", "table"))
            ]
            for tap in taps:
                assert tap.stdout is not None
                async with asyncio.timeout(300):
                    assert b"following" in await tap.stdout.readline()
            assert b"4 taps are open already" in await beside(tmp_path, "tap", "astm", "--for", "1s")
            heard = [asyncio.create_task(tap.communicate()) for tap in taps]
            await plant(chem, line)
            await until(lambda: json.loads(get(page, "/status.json"))["dead_total"] >= 5, 240.0)
            for path in ("/", "/status.json", "/metrics"):
                clean(f"the page {path}", get(page, path))

            await until(lambda: find(tmp_path, "dead", "NO_ROUTE") > 0, 240.0)
            dead, note = find(tmp_path, "dead", "NO_ROUTE"), made / "note.json"
            edited = await beside(
                tmp_path, "dlq", "edit", str(dead), "--reason", "wrong type", "--yes",
                EDITOR=f"{sys.executable} {tmp_path / 'editor.py'} {note}", XDG_RUNTIME_DIR=str(tmp_path / "run"),
            )  # fmt: skip
            assert b"is" in edited
            edit = json.loads(note.read_text("utf-8"))
            assert NAME in edit["read"]
            clean("the editor's file, and our command line", f"{edit['file']} {edit['of ours']}".encode())
            assert [stat.S_IMODE(mode) for mode in edit["modes"]] == [0o600, 0o700]
            assert edit["file"].startswith(str(tmp_path / "run"))
            assert not list((tmp_path / "run").iterdir())
            note.unlink()

            for given in (["a.ndjson", "--deid"], ["b.ndjson"], ["c.csv"], ["d.db"]):
                await beside(tmp_path, "messages", "export", "--to", str(made / given[0]), *given[1:])
            await beside(tmp_path, "audit", "export", "--to", str(made / "audit.json"))
            exported = [json.loads(one) for one in (made / "a.ndjson").read_text("utf-8").splitlines()]
            assert sum("OBX|1|NM|GLU" in (one["payload"] or "") for one in exported) > 5
            for one in exported:
                clean("a message without its patient", base64.b64decode(one["payload_base64"] or ""))
                assert "19800412" not in (one["payload"] or "")

            for tap in taps:
                tap.send_signal(signal.SIGINT)
            said = [said for said, _ in await asyncio.gather(*heard)]
            clean("the taps", b"".join(said))
            lines = [json.loads(one) for one in said[0].splitlines() if one.startswith(b"{")]
            assert {one["stage"] for one in lines} >= {"raw", "parsed", "mapped"}
            await block(chem, hl7("29", note=LONG))
            await until(lambda: not waiting(tmp_path) and large_of(daemon.pid) > 0, 240.0)  # and it is whole
            os.kill(large_of(daemon.pid), signal.SIGABRT)
            await block(chem, hl7("30", note="BOOM" + LONG), hl7("31", value="666"))
            await until(
                lambda: {".rows", ".state"} <= {one.suffix for one in large_files_of(tmp_path / "copies")}, 300.0
            )
            for name in ("journal.db", "journal.db-wal", "journal.anchor"):
                clean(name, (data / name).read_bytes())
    assert b"Fatal Python error: Aborted" in daemon.said
    assert b"processing failed inside LabRelay" in daemon.said
    clean("what the daemon and its process for large messages said", daemon.said)
    assert not list((tmp_path / "run").iterdir())
    for file in files_of(tmp_path):
        clean("the name of a file", str(file.relative_to(tmp_path)).encode())
        if file.parent.name != "archive" and file.name not in (KEY_NAME, LOCK_NAME):
            clean(str(file.relative_to(tmp_path)), file.read_bytes())
