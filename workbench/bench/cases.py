"""Run the cases of a benchmark in rotating rounds, and count what was lost, repeated or out of order."""

import json
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.bench.box import is_noisy, percentile, report, spread
from workbench.bench.processes import Daemon, JsonProcess, Usage, free_ports
from workbench.bench.prototype import VARIANT, Bare, Prototype, compare

CHANNELS = 32
MOST_CONNECTIONS = 500  # connections beyond CHANNELS share them
DRAIN_WITHIN_S = 120.0
SITE = (Path(__file__).parent / "cases_site.txt").read_text(encoding="utf-8")
CHANNEL = (Path(__file__).parent / "cases_channel.txt").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table.

    Attributes:
        scenario: ``oru20`` (HL7 over MLLP), ``astm20``, ``mixed``; ``astm-fhir``: as ``astm20``, for each ``commit``.
        rate_offered: messages a second offered over all connections; 0: closed loop, as fast as answers come.
        dest_delay_ms: how long the sink takes to answer.
        commit: of ASTM channels: each ``frame`` durable before its ACK, or only that which ends a ``message``.
    """

    scenario: str = "oru20"
    connections: int = 32
    rate_offered: float = 0.0
    dest_delay_ms: float = 0.0
    commit: str = "frame"

    def name(self) -> str:
        scenario = f"{self.scenario}, commit {self.commit}" if self.scenario == "astm-fhir" else self.scenario
        offered = f", {self.rate_offered:.0f}/s offered" if self.rate_offered else ""
        delay = f", sink answers after {self.dest_delay_ms:.0f} ms" if self.dest_delay_ms else ""
        return f"{scenario}, {self.connections} connections{offered}{delay}"


@dataclass(slots=True)
class Round:
    """One run of one case.

    Attributes:
        cpu_ms: of all processes of the daemon for a message.
        collections, collected, blocks: as in `Usage`, for a message.
    """

    messages: int
    cpu_ms: float
    collections: float
    collected: float
    blocks: float
    delivered_per_s: float
    accepted_per_s: float
    ack_ms: list[float]
    delivered_ms: list[float]
    lost: int
    repeats_same_key: int
    repeats_other_key: int
    reordered: int
    refused: int
    wal_mib: float


class Bench:
    """The processes of one site: the daemon, the load, and the sink that it delivers to.

    Attributes:
        first: the number that the next message of each line gets.
    """

    def __init__(
        self,
        folder: Path,
        sender: JsonProcess | None,
        channels: Iterable[tuple[str, str]],
        *,
        web: int,
        port: int,
        **daemon: Any,
    ) -> None:
        """
        Args:
            sender: sends the load on request; reports when it begins, and then the messages that it has sent. None:
                there is nothing to `play`.
            channels: the source of each, and its mapping.
            web: the port of the site's page.
            port: opens once the daemon listens.
            daemon: further arguments of `Daemon`.
        """
        self.folder = folder
        self.sender = sender
        self.first = 1
        self.sink = JsonProcess("workbench.bench.sink")
        (folder / "config").mkdir(parents=True, exist_ok=True)
        (folder / "channels").mkdir(exist_ok=True)
        for before in (folder / "channels").glob("c*.yaml"):  # another bench of this folder may have had more of them
            before.unlink()
        site = SITE.format(web=web, sink=self.sink.hear()["port"])
        (folder / "config" / "labrelay.yaml").write_text(site)
        for number, (source, mapping) in enumerate(channels):
            text = CHANNEL.format(number=number, source=source, mapping=mapping)
            (folder / "channels" / f"c{number:03d}.yaml").write_text(text)
        self.daemon = Daemon(folder, port, folder / "daemon.log", **daemon)

    def close(self) -> None:
        if self.sender is not None:
            self.sender.stop()
        self.daemon.stop()
        self.sink.stop()

    def play(self, told: dict[str, Any]) -> tuple[Round, dict[str, Any]]:
        """Have the sender send, and count; with it what the sender says, and the daemon's CPU time as ``cpu_s``."""
        assert self.sender is not None
        self.sender.tell(json.dumps(told))
        start = self.sender.hear()["start"]
        before = self.daemon.usage()
        result = self.sender.hear()
        acked: list[tuple[int, int, float]] = [tuple(entry) for entry in result["acked"]]
        self._drain(acked)
        used = self.daemon.usage().since(before)
        result["cpu_s"] = sum(used.cpu_s.values())
        seen: list[tuple[int, int, str, float]] = [tuple(entry) for entry in self.sink.ask("take")["seen"]]
        wal = self.folder / "var" / "journal.db-wal"
        counted = judge(
            acked,
            seen,
            start=start,
            end=result["end"],
            ack_s=result.get("answer_s", []),
            refused=result.get("refused", 0),
            used=used,
            wal_mib=wal.stat().st_size / 2**20 if wal.exists() else 0.0,
        )
        return counted, result

    def _drain(self, acked: Sequence[tuple[int, int, float]]) -> None:
        """Wait until each of these has arrived. What comes again, also of an earlier start, is none of them."""
        deadline = time.monotonic() + DRAIN_WITHIN_S
        first = min((number for _, number, _ in acked), default=0)
        while time.monotonic() < deadline and self.sink.ask(f"count {first}")["count"] < len(acked):
            time.sleep(0.05)
        time.sleep(0.2)  # settling of the last rows belongs to the cost, and so would a repeat


class TcpBench(Bench):
    """Its analyzers are on TCP; a case of another scenario needs another one.

    Attributes:
        web: the port of the site's page.
        ports: of each channel, and its kind.
    """

    def __init__(self, folder: Path, scenario: str, commit: str, *, channels: int = CHANNELS, **daemon: Any) -> None:
        self.web, *ports = free_ports(channels + 1)
        self.ports: list[tuple[int, str]] = []
        sources: list[tuple[str, str]] = []
        for number, port in enumerate(ports):
            astm = scenario.startswith("astm") or (scenario == "mixed" and number % 2)
            kind, mapping = ("astm", "astm-results") if astm else ("mllp", "hl7-results")
            self.ports.append((port, kind))
            more = f", commit: {commit}" if astm else ""
            sources.append((f'kind: {kind}, listen: "127.0.0.1:{port}"{more}', mapping))
        sender = JsonProcess("workbench.bench.load")
        sender.hear()  # it is ready, and takes no CPU time from the daemon's start
        super().__init__(folder, sender, sources, web=self.web, port=ports[-1], **daemon)

    def run(self, case: Case, count: int) -> Round:
        """``count`` messages per connection."""
        self.sink.ask(f"delay {case.dest_delay_ms / 1000}")
        told = {
            "ports": self.ports,
            "connections": case.connections,
            "first": self.first,
            "count": count,
            "rate": case.rate_offered,
            "seed": self.first,
        }
        self.first += count
        return self.play(told)[0]


def judge(
    acked: Iterable[tuple[int, int, float]],
    seen: Iterable[tuple[int, int, str, float]],
    *,
    start: float,
    end: float,
    ack_s: list[float],
    refused: int,
    used: Usage,
    wal_mib: float = 0.0,
) -> Round:
    """Compare what was acknowledged with what arrived. Pure.

    Args:
        acked: (connection, number, when it was sent).
        seen: (connection, number, delivery key, when it arrived), in the order of arrival.
        used: by the daemon meanwhile.
    """
    sent = {(line, number): at for line, number, at in acked}
    keys: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    arrived: dict[tuple[int, int], float] = {}
    newest: dict[int, int] = {}
    reordered = 0
    for line, number, key, at in seen:
        ident = (line, number)
        keys[ident][key] += 1
        if ident in arrived:
            continue
        arrived[ident] = at
        if number < newest.get(line, 0):
            reordered += 1
        newest[line] = max(number, newest.get(line, 0))
    count = len(sent)
    per_message = 1 / count if count else 0.0
    delivered = {ident: at for ident, at in arrived.items() if ident in sent}
    last = max(delivered.values(), default=start)
    return Round(
        messages=count,
        cpu_ms=sum(used.cpu_s.values()) * 1000 * per_message,
        collections=used.collections * per_message,
        collected=used.collected * per_message,
        blocks=used.blocks * per_message,
        delivered_per_s=len(delivered) / (last - start) if last > start else 0.0,
        accepted_per_s=count / (end - start) if end > start else 0.0,
        ack_ms=[value * 1000 for value in ack_s],
        delivered_ms=[(at - sent[ident]) * 1000 for ident, at in delivered.items()],
        lost=count - len(delivered),
        repeats_same_key=sum(sum(counts.values()) - len(counts) for counts in keys.values()),
        repeats_other_key=sum(len(counts) - 1 for counts in keys.values()),
        reordered=reordered,
        refused=refused,
        wal_mib=wal_mib,
    )


def summary(case: Case, rounds: list[Round], bench_facts: dict[str, Any], bare: Sequence[Bare] = ()) -> dict[str, Any]:
    """One case as JSON: medians over the rounds, and how far they spread.

    Args:
        bare: the prototype's run beside each round; empty without a prototype.
    """
    cpu = spread((entry.cpu_ms for entry in rounds), 4)
    ack = sorted(value for entry in rounds for value in entry.ack_ms)
    delivered = sorted(value for entry in rounds for value in entry.delivered_ms)
    return {
        **asdict(case),
        "rounds": len(rounds),
        "messages": sum(entry.messages for entry in rounds),
        "cpu_ms_per_msg": cpu,
        "collections_per_msg": spread((entry.collections for entry in rounds), 4),
        "collected_per_msg": spread((entry.collected for entry in rounds), 2),
        "blocks_per_msg": spread((entry.blocks for entry in rounds), 2),
        "e2e_per_s": round(statistics.median(entry.delivered_per_s for entry in rounds)),
        "accepted_per_s": round(statistics.median(entry.accepted_per_s for entry in rounds)),
        "ack_ms": {
            "p50": round(percentile(ack, 50), 2),
            "p99": round(percentile(ack, 99), 2),
            "max": round(percentile(ack, 100), 2),
        },
        "delivered_ms": {"p50": round(percentile(delivered, 50), 2), "p99": round(percentile(delivered, 99), 2)},
        "wal_mib_max": round(max(entry.wal_mib for entry in rounds), 1),
        **totals(rounds, "lost", "repeats_same_key", "repeats_other_key", "reordered", "refused"),
        "noisy": is_noisy(cpu),
        **bench_facts,
        **(
            {
                "prototype": compare(
                    [(entry.cpu_ms, entry.delivered_per_s, one) for entry, one in zip(rounds, bare, strict=True)]
                )
            }
            if bare
            else {}
        ),
    }


def totals(rounds: list[Round], *names: str) -> dict[str, int]:
    """The sums of counts over all rounds."""
    return {name: sum(getattr(entry, name) for entry in rounds) for name in names}


def run(
    cases: list[Case],
    folder: Path,
    *,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
    prototype: Prototype | None = None,
) -> dict[str, Any]:
    """Run all cases and return the report.

    Args:
        say: gets a line of talk now and then.
        prototype: runs in each round, in turn with the cases; every other round in the opposite order.
    """
    sites: defaultdict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        sites[case.scenario, case.commit].append(case)
    measured = (
        one
        for (scenario, commit), mine in sites.items()
        for one in _on_one_site(
            mine,
            TcpBench(folder / f"{scenario}-{commit}", scenario, commit),
            seconds=seconds,
            rounds=rounds,
            say=say,
            prototype=prototype,
        )
    )
    made = report(folder, measured)
    return made if prototype is None else {**made, "prototype": {"sha256": prototype.sha256, "variant": VARIANT}}


def _on_one_site(
    cases: list[Case],
    bench: TcpBench,
    *,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
    prototype: Prototype | None,
) -> list[dict[str, Any]]:
    try:
        idle_mib = bench.daemon.rss_mib()
        counts: dict[Case, int] = {}
        results: dict[Case, list[Round]] = {case: [] for case in cases}
        bare: list[Bare] = []
        for case in cases:  # the warm-up also shows how many messages fill the time
            warm = bench.run(case, max(20, int(case.rate_offered or 600) // case.connections))
            rate = case.rate_offered or max(warm.delivered_per_s, 50.0)
            counts[case] = max(20, int(rate * seconds / case.connections))
        turns: list[Case | Prototype] = [*cases, *([prototype] if prototype else [])]
        for index in range(rounds):
            for turn in turns if index % 2 == 0 else reversed(turns):
                if isinstance(turn, Prototype):
                    say(f"round {index + 1} of {rounds}: the prototype")
                    bare.append(turn.run(seconds, bench.folder))
                else:
                    say(f"round {index + 1} of {rounds}: {turn.name()}")
                    results[turn].append(bench.run(turn, counts[turn]))
        facts = {
            "rss_mib_idle": round(idle_mib, 1),
            "rss_mib_max": round(bench.daemon.rss_mib("VmHWM"), 1),
            "listening_s": round(bench.daemon.listening_s, 2),
        }
        return [summary(case, results[case], facts, bare) for case in cases]
    finally:
        bench.close()
