"""What a site with many messages costs: make one, and measure it beside an empty one.

    python tools/big_site.py fill FOLDER [--messages 1000000]      a site's journal, by the store's own operations
    python tools/big_site.py measure FOLDER [--rounds 5] [--json FILE] [--write]
    python tools/big_site.py readers FOLDER [--rounds 3] [--seconds 20] [--json FILE] [--write]

`fill` makes the site of `labrelay bench` (32 channels, one destination) with messages of the last 90 days in all their
states: delivered, filtered, dead, refused by the destination, dismissed. `measure` starts the real daemon on it and on
an empty one in turn, and prints for both: the time until it listens, lists and searches, the page's overview, and the
CPU time of a message under load; `--write` keeps these in docs/figures-performance.md. Times are the least of several
rounds, and CPU times where that is what counts: so they can be compared on a machine that does other
work. `readers` runs the scenario `page` of the bench on it, with 500 channels. Nothing here is run by the tests.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.journal.journal_views import Filter
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.queries.lanes import list_channels
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from tools import figures
from tools.bench import keep
from workbench.bench import page_case
from workbench.bench.cases import Case, TcpBench
from workbench.bench.history import DAY_US, FIRST_NUMBER, fill
from workbench.bench.messages import control_id

MESSAGES_A_ROUND = 60  # per connection
CONNECTIONS = 16


# -- measuring -----------------------------------------------------------------------------------------------------


def measure(folder: Path, rounds: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Every figure of the big site beside that of an empty one."""
    with tempfile.TemporaryDirectory(prefix="empty-site-", dir=folder.parent) as made:
        sites = {"empty": Path(made), "big": folder}
        shutil.rmtree(Path(made) / "var", ignore_errors=True)
        measured: dict[str, dict[str, list[float]]] = {name: {} for name in sites}
        for turn in range(rounds):
            for name, site in sites.items():
                say(f"round {turn + 1} of {rounds}: {name}")
                try:
                    for figure, value in _round(site):
                        measured[name].setdefault(figure, []).append(value)
                        say(f"    {figure}: {value:.2f}")
                except RuntimeError as error:  # as a port that somebody else has taken meanwhile
                    say(f"    cut short: {error}")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": os.getloadavg()[0],
        "journal_bytes": (folder / "var" / JOURNAL_NAME).stat().st_size,
        "rounds": rounds,
        "least": {name: {key: min(values) for key, values in of.items()} for name, of in measured.items()},
        "median": {
            name: {key: statistics.median(values) for key, values in of.items()} for name, of in measured.items()
        },
    }


def _round(site: Path) -> Iterator[tuple[str, float]]:
    bench = TcpBench(site, "oru20", "frame")
    bench.first = _first_free(site)
    try:
        yield "listening, s", bench.daemon.listening_s
        yield "start until then, CPU s", bench.daemon.cpu_s()
        yield from _page(site)
        yield from _commands(site)
        case = Case(scenario="oru20", connections=CONNECTIONS)
        done = bench.run(case, MESSAGES_A_ROUND)
        if done.lost or done.repeats_other_key or done.reordered:
            raise SystemExit(
                f"{site}: lost {done.lost}, repeated {done.repeats_other_key}, out of order {done.reordered}"
            )
        yield "a message, CPU ms", done.cpu_ms
        yield "a message, 1/accepted per s, ms", 1000.0 / done.accepted_per_s
    finally:
        bench.close()
    yield from _queries(site)


def _first_free(site: Path) -> int:
    """Numbers that no round before has used; the file stands beside the journal."""
    marker = site / "rounds"
    used = int(marker.read_text()) if marker.exists() else 0
    marker.write_text(str(used + 1))
    return 1 + used * MESSAGES_A_ROUND


def _page(site: Path) -> Iterator[tuple[str, float]]:
    listen = (site / "config" / "labrelay.yaml").read_text().partition('listen: "')[2].partition('"')[0]
    host, _, port = listen.partition(":")
    for _ in range(300):  # it opens after the channels
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
            break
        time.sleep(0.1)

    token = page_case.user_of(site)["token"]

    def ask(path: str) -> None:
        asked = urllib.request.Request(f"http://{listen}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            answer.read()

    # A snapshot is made at most once a second; each of these makes one.
    for name, path in (("page overview, ms", "/"), ("status.json, ms", "/status.json")):
        yield name, min(_ms(partial(ask, path), after_s=1.05) for _ in range(5))


def _ms(work: Callable[[], object], *, after_s: float = 0.0) -> float:
    time.sleep(after_s)
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _commands(site: Path) -> Iterator[tuple[str, float]]:
    """Whole commands, the interpreter's start included (`version` is little else)."""
    for words in (("version",), ("messages", "list"), ("dlq", "list"), ("status",)):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(  # noqa: S603 - our own module, by our own interpreter
            [sys.executable, "-m", "engine", "--site", str(site), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        yield f"labrelay {' '.join(words)}, CPU ms", cpu_s * 1000


def _queries(site: Path) -> Iterator[tuple[str, float]]:
    """What the lists ask of the journal, on a connection of its own that has just been opened."""
    week = time.time_ns() // 1000 - 7 * DAY_US
    number = control_id(3, FIRST_NUMBER + 5)
    lists: list[tuple[str, Callable[[Reader, Filter], object], dict[str, Any]]] = [
        ("messages list", messages_page, {}),
        ("messages list --channel", messages_page, {"channel": "c003"}),
        ("messages list --state dead", messages_page, {"state": "dead"}),
        ("messages list --state filtered", messages_page, {"state": "filtered"}),
        ("messages list --state dismissed", messages_page, {"state": "dismissed"}),
        ("messages list --state stored", messages_page, {"state": "stored"}),
        ("messages list --state held", messages_page, {"state": "held"}),
        ("messages list --code NO_ROUTE", messages_page, {"code": "NO_ROUTE"}),
        ("messages list --reason (none has it)", messages_page, {"code": "DAMAGED"}),
        ("messages list --type ORU^R30", messages_page, {"message_type": "ORU^R30"}),
        ("messages list --type (none has it)", messages_page, {"message_type": "QRY^A19"}),
        ("messages list --channel --type (none)", messages_page, {"channel": "c003", "message_type": "QRY^A19"}),
        ("messages list --until (a week ago)", messages_page, {"before_us": week}),
        ("messages list --since --state filtered", messages_page, {"after_us": week, "state": "filtered"}),
        ("messages list --channel (none has it)", messages_page, {"channel": "nowhere"}),
        ("messages list --specimen", messages_page, {"specimen": "S4711"}),
        ("messages list --control-id", messages_page, {"channel": "c003", "control_id": number}),
        ("dlq list", letter_groups, {}),
        ("dlq list --reason", letter_groups, {"code": "UNMAPPED_CODE"}),
        ("dlq list --since", letter_groups, {"after_us": week}),
        ("dlq list --each", dead_letters, {}),
        ("dlq list --each --code REFUSED", dead_letters, {"code": "REFUSED"}),
        ("dlq list --each --channel", dead_letters, {"channel": "c003"}),
        ("dlq list --each (none has it)", dead_letters, {"code": "DAMAGED"}),
    ]
    for name, ask, asked in lists:
        times: list[float] = []
        for _ in range(3):
            with contextlib.closing(Reader.beside(site / "var")) as journal:
                journal.deadline_s = 30.0
                times.append(_ms(partial(ask, journal, Filter(**asked))))
        yield f"{name}, ms", min(times)


def show(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['at']}, {found['machine']}, load average {found['load_average']:.1f}"
    yield f"the least of {found['rounds']} rounds"
    yield f"journal of {found['journal_bytes'] / 2**20:.0f} MiB"
    yield f"{'':45}{'empty':>10}{'big':>10}"
    for name, value in found["least"]["empty"].items():
        yield f"{name:45}{value:>10.2f}{found['least']['big'][name]:>10.2f}"


def _readers(given: argparse.Namespace, began_on: str) -> int:
    with contextlib.closing(Reader.beside(given.folder / "var")) as journal:
        history = sum(view.last_seq for view in list_channels(journal))
    found = page_case.run(given.folder, history=history, seconds=given.seconds, rounds=given.rounds, say=print)
    if given.write:
        keep(found, began_on)
    text = json.dumps(found, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(f"{text}\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    filling = verbs.add_parser("fill")
    filling.add_argument("folder", type=Path)
    filling.add_argument("--messages", type=int, default=1_000_000)
    for verb, rounds in (("measure", 5), ("readers", 3)):
        measuring = verbs.add_parser(verb)
        measuring.add_argument("folder", type=Path)
        measuring.add_argument("--rounds", type=int, default=rounds)
        measuring.add_argument("--json", type=Path)
        measuring.add_argument("--write", action="store_true")
    measuring.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    if given.verb == "fill":
        fill(given.folder, given.messages, print)
        return 0
    began_on = figures.measured(given.folder)
    if given.verb == "readers":
        return _readers(given, began_on)
    found = measure(given.folder, given.rounds)
    if given.write:
        least = found["least"]
        rows = [(name, f"{value:.2f}", f"{least['big'][name]:.2f}", began_on) for name, value in least["empty"].items()]
        figures.write("performance", "A site with a million messages", ("figure", "empty site", "big site"), rows)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    print("\n".join(show(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
