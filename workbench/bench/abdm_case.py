"""How fast patients get their records by ABDM: 200 consents pulled at once, while results arrive.

In this process alone: the CPU time of encrypting one document of 100 kB, with its keys. Then with the daemon, and the
simulator as the network. Each of 200 made-up patients has a report with a PDF of 64 KiB, linked, and under a consent.
All are asked for at once, while 5,000 reports an hour come in on the same channel, each of which is linked as well. The
time is from a request to the first page that its reader has opened.
"""

import json
import os
import secrets
import socket
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from engine.config import registry
from workbench.bench.abdm_network import FACILITY, person
from workbench.bench.box import is_noisy, percentile, report, spread
from workbench.bench.messages import DAY
from workbench.bench.processes import Daemon, JsonProcess, free_ports

RESULTS_PER_HOUR = 5_000
DOCUMENT_BYTES, PDF_BYTES = 100_000, 64 * 1024
SEALED = 200  # documents of a round
FIRST_PAGE_P95_S, SEAL_MS = 2.0, 5.0
SECRET = "LABRELAY_BENCH_ABDM"  # noqa: S105  # a name
ACK_WITHIN_S = 60.0
SITE = (Path(__file__).parent / "abdm_site.txt").read_text(encoding="utf-8")
CHANNEL = (Path(__file__).parent / "abdm_channel.txt").read_text(encoding="utf-8")


def run(folder: Path, *, consents: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report: one case."""
    return report(folder, [_case(folder / "abdm", consents, rounds, say)])


def _case(folder: Path, consents: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"encrypting {DOCUMENT_BYTES // 1000} kB")
    sealed = [one for _ in range(rounds) for one in _sealing()]
    bench = _AbdmBench(folder)
    try:
        say(f"{consents} patients are linked")
        bench.prepare(consents)
        idle_mib = bench.daemon.rss_mib()
        pulls = []
        for index in range(rounds):
            say(f"round {index + 1} of {rounds}: {consents} consents at once")
            pulls.append(bench.pull())
        after_mib, peak_mib = bench.daemon.rss_mib(), bench.daemon.rss_mib("VmHWM")
        left = bench.refused
    finally:
        bench.close()
    first = [value for one in pulls for value in one["first_s"]]
    p95 = spread((percentile(one["first_s"], 95) for one in pulls), 3)
    pages = sum(one["pages"] for one in pulls)
    return {
        "scenario": "abdm",
        "rounds": rounds,
        "consents": consents,
        "pages": pages,
        "document_kb": round(sum(one["bytes"] for one in pulls) / max(pages, 1) / 1000),
        "seal_cpu_ms": {"p50": round(percentile(sealed, 50), 2), "p95": round(percentile(sealed, 95), 2)},
        "target_seal_ms": SEAL_MS,
        "first_page_s": {
            "p50": round(percentile(first, 50), 2),
            "p95": round(percentile(first, 95), 2),
            "max": round(percentile(first, 100), 2),
        },
        "target_first_page_s": FIRST_PAGE_P95_S,
        "cpu_ms_per_page": spread((one["cpu_s"] * 1000 / max(one["pages"], 1) for one in pulls), 1),
        "network_cpu_ms_per_page": spread((one["network_cpu_s"] * 1000 / max(one["pages"], 1) for one in pulls), 1),
        "results_beside": sum(one["results"] for one in pulls),
        "ack_ms": {"p99": round(percentile([value for one in pulls for value in one["ack_ms"]], 99), 1)},
        "rss_mib_idle": round(idle_mib, 1),
        "rss_mib_after": round(after_mib, 1),
        "rss_mib_max": round(peak_mib, 1),
        "met": {
            "seal": percentile(sealed, 95) <= SEAL_MS,
            "first_page": len(first) == consents * rounds and percentile(first, 95) <= FIRST_PAGE_P95_S,
        },
        "lost": consents * rounds - len(first) + left,
        "wrong": len(pulls[-1]["violations"]),
        "violations": pulls[-1]["violations"][:20],
        "noisy": is_noisy(p95),
    }


def _sealing() -> list[float]:
    """CPU times in ms of reading a reader's keys and encrypting one document for them."""
    codec = registry.load(registry.ENCRYPTION, "abdm")
    document = os.urandom(DOCUMENT_BYTES // 2).hex().encode()
    key, nonce = codec.public_key(secrets.token_bytes(32)), b64encode(secrets.token_bytes(32)).decode()
    times = []
    for _ in range(SEALED):
        began = time.thread_time()
        peer = codec.read_peer(key, nonce)
        codec.seal(document, peer, seed=secrets.token_bytes(32), nonce=secrets.token_bytes(32))
        times.append((time.thread_time() - began) * 1000)
    return times


class _AbdmBench:
    """The daemon and the network.

    Attributes:
        refused: reports that the daemon did not take.
    """

    def __init__(self, folder: Path) -> None:
        web, self._port, callbacks = free_ports(3)
        self._sent = self._people = self.refused = 0
        self._network = JsonProcess("workbench.bench.abdm_network", f"http://127.0.0.1:{callbacks}/abdm")
        gateway = self._network.hear()["url"]
        for name, text in (
            (
                "config/labrelay.yaml",
                SITE.format(web=web, gateway=gateway, secret=SECRET, facility=FACILITY, callbacks=callbacks),
            ),
            ("channels/lab.yaml", CHANNEL.format(port=self._port, facility=FACILITY)),
        ):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        os.environ[SECRET] = "made-up-secret"
        try:
            self.daemon = Daemon(folder, self._port, folder / "daemon.log")
        finally:
            del os.environ[SECRET]

    def close(self) -> None:
        self.daemon.stop()
        self._network.stop()

    def prepare(self, consents: int) -> None:
        """Link a report of each, and have a consent for each."""
        self._people = consents
        self._ask(people=consents)
        with socket.create_connection(("127.0.0.1", self._port), timeout=ACK_WITHIN_S) as sock:
            for index in range(consents):
                self._send(sock, index)
        self._ask(linked=consents)
        self._ask(grant=consents)

    def pull(self) -> dict[str, Any]:
        """Pull all at once, beside results."""
        stop, ack_ms = Event(), list[float]()
        beside = Thread(target=self._results, args=(stop, ack_ms))
        before, network_before = self.daemon.cpu_s(), self._network.cpu_s()
        beside.start()
        try:
            found = self._ask(pull=0)
        finally:
            stop.set()
            beside.join()
        cpu_s, network_cpu_s = self.daemon.cpu_s() - before, self._network.cpu_s() - network_before
        return {**found, "cpu_s": cpu_s, "network_cpu_s": network_cpu_s, "results": len(ack_ms), "ack_ms": ack_ms}

    def _results(self, stop: Event, ack_ms: list[float]) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=ACK_WITHIN_S) as sock:
            while not stop.is_set():
                ack_ms.append(self._send(sock, self._sent))
                stop.wait(3600 / RESULTS_PER_HOUR)

    def _send(self, sock: socket.socket, index: int) -> float:
        """One report with a PDF; the time until its acknowledgement, in ms."""
        self._sent += 1
        began = time.perf_counter()
        sock.sendall(b"\x0b" + _report(self._sent, index % self._people) + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            answer += sock.recv(4096)
        self.refused += b"MSA|AA" not in answer
        return (time.perf_counter() - began) * 1000

    def _ask(self, **wish: int) -> dict[str, Any]:
        return self._network.ask(json.dumps(wish))


def _report(number: int, index: int) -> bytes:
    one = person(index)
    given, family = one["name"].split()
    born = "{:04}{:02}{:02}".format(*one["birth"])
    pdf = b64encode(b"%PDF-1.4\n" + os.urandom(PDF_BYTES)).decode()
    lines = [
        f"MSH|^~\\&|LIS|LAB|||{DAY:%Y%m%d}101500+0530||ORU^R01^ORU_R01|B{number}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||MR-{index}^^^LAB^MR~{one['number']}^^^NDHM^HIN~{one['address']}^^^NDHM^ABHA||{family}^{given}||{born}"
        f"|{one['gender']}",
        f"OBR|1||ACC-{number}|CBC^Blood count^L|||{DAY:%Y%m%d}091500|||||||||||||||{DAY:%Y%m%d}101500+0530||HM|F",
        *(f"OBX|{n}|NM|T{n}^Test {n}^L||{number % 90 + n}.{n}|mg/dL|1-99||||F" for n in range(1, 21)),
        f"OBX|21|ED|PDF^Report^L||^application^PDF^Base64^{pdf}||||||F",
        "",
    ]
    return "\r".join(lines).encode()
