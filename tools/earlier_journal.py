"""Let the program of a checkout fill a journal, kill it amid open work, and keep the files: a journal for
`tests/faults/test_earlier_journals.py`, made before the schema changes.

    python tools/earlier_journal.py CHECKOUT tests/earlier/schema-0007.tar.xz

CHECKOUT is a work tree of the commit (`git worktree add`), this interpreter has what it needs. The destination of the
FHIR deliveries does not exist; the last messages come all at once, and the program is killed with the answer to the
last of them, so that some are not processed yet.
"""

import io
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

KEPT = ("journal.db", "journal.db-wal", "journal.anchor", "labrelay.key")
WITHIN_S = 30.0
AT_ONCE = 12
SITE = """
site: {{name: Earlier, timezone: Asia/Kolkata}}
data: var
web: {{listen: "127.0.0.1:{page}"}}
destinations:
  lab-fhir: {{kind: fhir, url: "http://127.0.0.1:9/fhir", retry: {{first: 1s, max: 5m}}}}
  archive: {{kind: file, folder: var/archive}}
"""
CHEM = """
channel: chem
source: {{kind: mllp, listen: "127.0.0.1:{port}"}}
routes:
  - {{when: "=MSH-9.1 == 'ORU'", mapping: hl7-results, to: [lab-fhir, archive]}}
"""
GAS = """
channel: gas
source: {{kind: astm, listen: "127.0.0.1:{port}"}}
routes:
  - {{mapping: astm-results, to: [lab-fhir, archive]}}
"""
HEAD = "MSH|^~\\&|XN|LAB|||20260301101530||{type}|{id}|P|2.5\rPID|1||P{id}^^^HOSP^MR||OLD^PERSON{id}||19700101|F\r"
RESULT = "OBR|1|O{id}|F{id}|GLU|||20260301091500||||||||||||||||||F\rOBX|1|NM|GLU^Glucose^L||5.{id}|mmol/L|||||F\r"
GAS_RECORDS = (
    b"H|\\^&|||GAS\r", b"P|1||G1\r", b"O|1|S1||^^^pH\r", b"R|1|^^^pH|7.40|pH||N||F||||20260301101530\r", b"L|1|N\r",
)  # fmt: skip


def main(checkout: Path, kept: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        ports = {name: _free() for name in ("page", "chem", "gas")}
        for name, text in (
            ("config/labrelay", SITE.format(page=ports["page"])),
            ("channels/chem", CHEM.format(port=ports["chem"])),
            ("channels/gas", GAS.format(port=ports["gas"])),
        ):
            path = site / f"{name}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "engine", "--site", str(site), "run"]
        daemon = subprocess.Popen(command, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)})  # noqa: S603
        try:
            _work(site / "var" / "journal.db", ports)
        finally:
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        _keep(site / "var", kept)


def _work(journal: Path, ports: dict[str, int]) -> None:
    with closing(_connect(ports["chem"])) as chem, closing(_connect(ports["gas"])) as gas:
        for number in (1, 2, 3, 1):  # the last is a repeat
            _ask(chem, [HEAD.format(type="ORU^R01", id=number) + RESULT.format(id=number)])
        _ask(chem, [HEAD.format(type="ADT^A01", id=90)])  # no route
        _ask(chem, [HEAD.format(type="ORU^R01", id=91) + "OBX|1|NM\r"])  # nothing to map
        _say(gas, [b"\x05", *(_frame(n, text) for n, text in enumerate(GAS_RECORDS, 1))])
        gas.sendall(b"\x04")
        _until(journal, "SELECT count(*) >= 4 FROM delivery WHERE state = 'delivered'")
        _until(journal, "SELECT count(*) >= 1 FROM attempt")
        _say(gas, [b"\x05", *(_frame(n, text) for n, text in enumerate(GAS_RECORDS[:3], 1))])  # and no more
        _ask(chem, [HEAD.format(type="ORU^R01", id=n) + RESULT.format(id=n) for n in range(10, 10 + AT_ONCE)])


def _ask(peer: socket.socket, messages: list[str]) -> None:
    peer.sendall(b"".join(b"\x0b" + message.encode() + b"\x1c\r" for message in messages))
    answers = b""
    while answers.count(b"\x1c\r") < len(messages):
        answers += peer.recv(65_536)


def _say(peer: socket.socket, pieces: list[bytes]) -> None:
    for piece in pieces:
        peer.sendall(piece)
        if peer.recv(1) != b"\x06":
            raise SystemExit("a frame was not acknowledged")


def _frame(number: int, text: bytes) -> bytes:
    body = str(number % 8).encode() + text + b"\x03"
    return b"\x02" + body + b"%02X" % (sum(body) % 256) + b"\r\n"


def _until(journal: Path, question: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as connection,
        ):
            if connection.execute(question).fetchone()[0]:
                return
        time.sleep(0.05)
    raise SystemExit(f"not within {WITHIN_S:.0f} s: {question}")


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
        time.sleep(0.05)
    raise SystemExit("the daemon does not listen")


def _free() -> int:
    with socket.socket() as peer:
        peer.bind(("127.0.0.1", 0))
        return int(peer.getsockname()[1])


def _keep(data: Path, kept: Path) -> None:
    with tarfile.open(kept, "w:xz", preset=9) as tar:
        for name in KEPT:
            if (data / name).exists():
                content = (data / name).read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o600
                tar.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit((__doc__ or "").strip())
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
