"""Measure this machine: the real daemon, a load and a counting sink as three processes, on loopback.

CPU time per message is the figure to compare; rates and answer times move with the machine and its disk, so its sync
time is measured and printed beside them. Ends with exit code 6 if an acknowledged message did not arrive, came twice
under another delivery key, or out of order.

With `--prototype DIR`, a bare prototype of the same path runs in turn with the daemon: the ratios of the two can be
compared between machines. DIR is a folder with its program `e2e_bench.py`.

The scenario `start` measures the time until the daemon listens, its first message, and its memory. `mapping` needs no
daemon: it times parsing, mapping and serialising of messages in this process alone, and how long the shipped mappings
take to compile. `memory` sends garbage, endless and large messages, reads all lists, and waits until the daemon's
memory has come back. `page` has 500 channels and `--history` messages: people read the page and programs the API while
messages flow in. `query` has `--items` open orders: analyzers ask for tubes while results flow in, once more with
`--closed` orders that have ended. `abdm` has a network of health records beside the daemon: the records of `--consents`
patients are asked for at once while reports arrive. `quality` needs no daemon: it times quality control, for
a message without controls and for a control. `fhir` needs no daemon, and a FHIR server that `make bench-hapi` names: it
measures the server's cost of a message, with one thing left out at a time.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_rows
from engine.commands.shared.selecting import read_by
from engine.views.view import Field, Row, View

GROUP = "for developers"
RARE = True

SCENARIOS = (
    "oru20",
    "astm20",
    "mixed",
    "astm-fhir",
    "serial",
    "mapping",
    "start",
    "memory",
    "page",
    "query",
    "abdm",
    "quality",
    "fhir",
)


def _as(text: str, given: str = "") -> Callable[[Row], str]:
    """A cell with measured values in it. ``given``: empty where this was not measured."""
    return lambda case: "" if given and given not in case else text.format_map(case)


def _range(name: str) -> Callable[[Row], str]:
    """A cell with the median of ratios, and the range that they lie in."""
    return _as(f"{{{name}[median]:.2f}} ({{{name}[min]:.2f}}-{{{name}[max]:.2f}})")


FAULTY = ("lost", "repeats_other_key", "reordered", "unanswered", "wrong")
FAULTS: tuple[Field[Row], ...] = (
    Field("lost", "lost", right=True),
    Field("reordered", "reordered", right=True),
    Field("", "repeats same/other key", of=_as("{repeats_same_key} / {repeats_other_key}"), right=True),
)
CASES = View[Row](
    "cases",
    Field("", "case", of=lambda case: _case(case)),
    Field("", "CPU ms/msg", of=_as("{cpu_ms_per_msg[median]:.3f}"), right=True),
    Field("e2e_per_s", "delivered/s", right=True),
    Field("", "ACK p50/p99 ms", of=_as("{ack_ms[p50]:.1f} / {ack_ms[p99]:.1f}"), right=True),
    Field("", "delivered p50/p99 ms", of=_as("{delivered_ms[p50]:.1f} / {delivered_ms[p99]:.1f}"), right=True),
    Field("", "RSS idle/peak MiB", of=_as("{rss_mib_idle:.0f} / {rss_mib_max:.0f}"), right=True),
    Field("", "listening s", of=_as("{listening_s:.2f}"), right=True),
    *FAULTS,
)
SHARE = "{cpu_share[median]:.1%} ({cpu_share[min]:.1%} to {cpu_share[max]:.1%})"
SERIAL = View[Row](
    "cases",
    Field("", "case", of=_as("{lines} serial lines at {bytes_per_s_and_line} bytes/s each")),
    Field("", "CPU, share of one core", of=_as(SHARE), right=True),
    Field("messages", "messages", right=True),
    Field("", "RSS peak MiB", of=_as("{rss_mib_max:.0f}"), right=True),
    *FAULTS,
)
MAPPING = View[Row](
    "cases",
    Field("case", "case", shown=lambda case: case["case"] + _noisy(case)),
    Field("", "CPU", of=lambda case: "{median:.1f} {unit}".format_map(_cpu(case)), right=True),
    Field("", "min to max", of=lambda case: "{min:.1f} - {max:.1f}".format_map(_cpu(case)), right=True),
    Field("", "wanted", of=lambda case: _wanted(case), right=True),
    Field("", "traced", of=_as("x {traced_times:.1f}", "traced_times"), right=True),
    Field("", "of it parsing", of=_as("{parse_us[median]:.1f} us", "parse_us"), right=True),
    Field("", "with its code", of=_as("{with_code_ms[median]:.1f} ms", "with_code_ms"), right=True),
)


AGAINST = View[Row](
    "cases",
    Field("", "against the prototype", of=lambda case: _case(case)),
    Field("", "CPU ms/msg", of=_as("{cpu_ms_per_msg[median]:.3f}"), right=True),
    Field("", "prototype", of=_as("{prototype[cpu_ms_per_msg][median]:.3f}"), right=True),
    Field("", "ratio", of=_range("prototype[cpu_ratio]"), right=True),
    Field("e2e_per_s", "delivered/s", right=True),
    Field("", "prototype", of=_as("{prototype[e2e_per_s][median]:.0f}"), right=True),
    Field("", "ratio", of=_range("prototype[e2e_ratio]"), right=True),
)
START = View[Row](
    "cases",
    Field("", "start", of=lambda case: f"one site{_noisy(case)}"),
    Field("", "listening s", of=_as("{listening_s[median]:.2f}"), right=True),
    Field("", "import aiohttp s", of=_as("{library_s[median]:.2f}"), right=True),
    Field("", "ratio", of=_range("ratio"), right=True),
    Field("", "ratio of CPU", of=_range("cpu_ratio"), right=True),
    Field("", "first message, loop ms", of=_as("{first_message_loop_ms[median]:.0f}"), right=True),
    Field("", "... of a new site", of=_as("{new_site[first_message_loop_ms]:.0f}"), right=True),
    Field("", "RSS idle/1,000 MiB", of=_as("{rss_mib_idle[median]:.0f} / {rss_mib_1000[median]:.0f}"), right=True),
    *FAULTS,
)
MEMORY = View[Row](
    "cases",
    Field("", "memory", of=lambda _: "one site"),
    Field("", "MiB before", of=_as("{rss_mib_before:.0f}"), right=True),
    *(
        Field("", name, of=_as(f"{{attacks[{name}][peak]:.0f}} / {{attacks[{name}][after]:.0f}}"), right=True)
        for name in ("lists", "requests", "garbage", "endless", "large")
    ),
    Field("", "MiB at last", of=_as("{rss_mib_after:.0f}"), right=True),
    Field("", "back after s", of=_as("{back_s}"), right=True),
    *FAULTS,
)
PAGE = View[Row](
    "cases",
    Field("", "page", of=lambda case: f"{case['load']}, {case['history']} messages before{_noisy(case)}"),
    *(
        Field(
            "",
            f"ACK {of} ms alone / beside",
            of=_as(f"{{ack_ms[{of}][alone]:.1f}} / {{ack_ms[{of}][beside]:.1f}}"),
            right=True,
        )
        for of in ("p50", "p99")
    ),
    Field("", "ratio p50", of=_range("ack_ratio[p50]"), right=True),
    Field("", "ratio p99", of=_range("ack_ratio[p99]"), right=True),
    Field("", "ratio of CPU", of=_range("cpu_ratio"), right=True),
    Field("", "RSS peak MiB", of=_as("{rss_mib_max:.0f}"), right=True),
    *FAULTS,
)
QUERY = View[Row](
    "cases",
    Field("", "questions", of=lambda case: f"{case['open']} open items, {case['closed']} closed{_noisy(case)}"),
    Field("", "look-up CPU p50/p99 ms", of=_as("{look_up_cpu_ms[p50]:.2f} / {look_up_cpu_ms[p99]:.2f}"), right=True),
    Field("", "ratio", of=_as("{cpu_ratio:.2f}"), right=True),
    Field("", "commits", of=_as("{commits_per_question:.2f}"), right=True),
    Field("", "item CPU ms", of=_as("{item_cpu_ms:.3f}"), right=True),
    Field("", "ratio", of=_as("{item_ratio:.2f}"), right=True),
    Field("", "answer begins p50/p99 ms", of=_as("{answer_ms[p50]:.1f} / {answer_ms[p99]:.1f}"), right=True),
    Field("", "questions", of=_as("{questions}, {unanswered} without answer, {wrong} wrong"), right=True),
    *FAULTS,
)
ABDM = View[Row](
    "cases",
    Field("", "records", of=lambda case: f"{case['consents']} consents at once{_noisy(case)}"),
    Field(
        "",
        "first page p50/p95/max s",
        of=_as("{first_page_s[p50]:.2f} / {first_page_s[p95]:.2f} / {first_page_s[max]:.2f}"),
        right=True,
    ),
    Field("", "wanted p95", of=lambda case: _against(case, "first_page", "{target_first_page_s:.0f} s"), right=True),
    Field("", "encrypting 100 kB p50/p95 ms", of=_as("{seal_cpu_ms[p50]:.2f} / {seal_cpu_ms[p95]:.2f}"), right=True),
    Field("", "wanted", of=lambda case: _against(case, "seal", "{target_seal_ms:.0f} ms"), right=True),
    Field("", "CPU ms/page", of=_as("{cpu_ms_per_page[median]:.1f}"), right=True),
    Field("", "of the network", of=_as("{network_cpu_ms_per_page[median]:.1f}"), right=True),
    Field("", "kB a document", of=_as("{document_kb}"), right=True),
    Field(
        "",
        "RSS idle/after/peak MiB",
        of=_as("{rss_mib_idle:.0f} / {rss_mib_after:.0f} / {rss_mib_max:.0f}"),
        right=True,
    ),
    Field("results_beside", "results beside", right=True),
    Field("", "lost", of=_as("{lost} of {consents} x {rounds}"), right=True),
    Field("wrong", "violations", right=True),
)
FHIR = View[Row](
    "cases",
    Field("", "of 20 results", of=lambda case: case["case"] + _noisy(case)),
    Field("", "server's CPU ms/msg", of=_as("{cpu_ms[median]:.1f}"), right=True),
    Field("", "against all of it", of=_range("ratio"), right=True),
    Field("", "Java", of=_as("{java_ms[median]:.1f}"), right=True),
    Field("", "database", of=_as("{database_ms[median]:.1f}"), right=True),
    Field("", "statements", of=_as("{statements[median]:.0f}"), right=True),
    Field("", "MB allocated", of=_as("{allocated_mb[median]:.1f}"), right=True),
    Field("", "kB", of=_as("{kb[median]:.0f}"), right=True),
    Field("", "kB of log", of=_as("{log_kb[median]:.0f}"), right=True),
)
READS = View[Row](
    "reads",
    Field("name", "reads"),
    Field("requests", "requests", right=True),
    Field("", "p50 ms", of=_as("{answer_ms[p50]:.1f}"), right=True),
    Field("", "p95", of=_as("{answer_ms[p95]:.1f}"), right=True),
    Field("", "wanted", of=_as("{wanted_p95_ms:.0f}"), right=True),
    Field("", "p99", of=_as("{answer_ms[p99]:.1f}"), right=True),
    Field("", "KiB", of=_as("{kib:.1f}"), right=True),
    Field("", "statuses", of=lambda read: ", ".join(f"{n} x {status}" for status, n in read["statuses"].items())),
)


@read_by
def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError("expected numbers with commas between them, as 1,8,32") from error


@click.command(help=__doc__)
@click.option("--scenario", type=click.Choice(SCENARIOS), default="oru20", show_default=True)
@click.option(
    "--connections",
    callback=_numbers,
    metavar="NUMBERS",
    help="One case for each. Default: 1,32; with astm-fhir 16. Above 32, connections share channels.",
)
@click.option(
    "--commit",
    type=click.Choice(["frame", "message", "both"]),
    default="both",
    show_default=True,
    help="With astm-fhir: each frame is durable before its ACK, or only that which ends a message.",
)
@click.option(
    "--rate",
    default="0",
    callback=_numbers,
    show_default=True,
    metavar="NUMBERS",
    help="Offered messages/s, one case for each; 0: closed loop.",
)
@click.option(
    "--dest-delay-ms",
    default="0",
    callback=_numbers,
    show_default=True,
    metavar="NUMBERS",
    help="The sink's answering time, one case for each.",
)
@click.option(
    "--prototype",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Run this prototype in turn with the daemon; with 32 connections and oru20.",
)
@click.option("--history", default=20_000, show_default=True, help="With page: messages in the journal before.")
@click.option("--items", default=100_000, show_default=True, help="With query: open orders.")
@click.option("--closed", default=1_000_000, show_default=True, help="With query: orders that have ended; 0: none.")
@click.option(
    "--consents", default=200, show_default=True, help="With abdm: patients whose records are asked for at once."
)
@click.option("--seconds", default=5.0, show_default=True, help="Load per case and round.")
@click.option("--rounds", default=3, show_default=True, help="Cases rotate between rounds.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder for the temporary sites (its disk is measured).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the whole report here.")
@form_option(Form.TABLE, Form.JSON)
def command(
    scenario: str,
    connections: list[float] | None,
    commit: str,
    rate: list[float],
    dest_delay_ms: list[float],
    prototype: Path | None,
    history: int,
    items: int,
    closed: int,
    consents: int,
    seconds: float,
    rounds: int,
    data: Path | None,
    json_file: Path | None,
    form: Form,
) -> None:
    from workbench.bench import (
        abdm_case,
        fhir_case,
        mapping_case,
        memory_case,
        page_case,
        quality_case,
        query_case,
        serial_case,
        start_case,
    )
    from workbench.bench.cases import CHANNELS, MOST_CONNECTIONS, Case, run
    from workbench.bench.prototype import Prototype

    if prototype is not None and (scenario != "oru20" or connections not in (None, [CHANNELS])):
        raise click.BadParameter(
            f"the prototype is compared with oru20 over {CHANNELS} connections", param_hint="--prototype"
        )
    bare = Prototype(prototype) if prototype is not None else None
    connections = connections or ([16] if scenario == "astm-fhir" else [32] if bare else [1, 32])
    if max(connections) > MOST_CONNECTIONS or min(connections) < 1:
        raise click.BadParameter(f"connections are 1 to {MOST_CONNECTIONS}")
    both = ["frame", "message"] if commit == "both" else [commit]
    cases = [
        Case(scenario=scenario, connections=int(c), rate_offered=r, dest_delay_ms=d, commit=each)
        for each in (both if scenario == "astm-fhir" else ["frame"])
        for d in dest_delay_ms
        for r in rate
        for c in connections
    ]
    folder = Path(tempfile.mkdtemp(prefix="labrelay-bench-", dir=data))
    try:
        if scenario == "serial":
            report = serial_case.run(folder, seconds=seconds, rounds=rounds, say=say)
        elif scenario == "mapping":
            report = mapping_case.run(folder, seconds=seconds, rounds=rounds, say=say)
        elif scenario == "quality":
            report = quality_case.run(folder, seconds=seconds, rounds=rounds, say=say)
        elif scenario == "start":
            report = start_case.run(folder, rounds=rounds, say=say)
        elif scenario == "memory":
            report = memory_case.run(folder, seconds=seconds, say=say)
        elif scenario == "page":
            report = page_case.run(folder / "page", history=history, seconds=seconds, rounds=rounds, say=say)
        elif scenario == "abdm":
            report = abdm_case.run(folder, consents=consents, rounds=rounds, say=say)
        elif scenario == "fhir":
            report = fhir_case.run(folder, rounds=rounds, say=say)
        elif scenario == "query":
            report = query_case.run(folder, items=items, closed=closed, seconds=seconds, rounds=rounds, say=say)
        else:
            report = run(cases, folder, seconds=seconds, rounds=rounds, say=say, prototype=bare)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    _show(report, scenario, form, against=bare is not None)
    if wrong := [f"{case[fault]} {fault}" for case in report["cases"] for fault in FAULTY if case.get(fault)]:
        say(f"messages that should not be: {', '.join(wrong)}")
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _show(report: dict[str, Any], scenario: str, form: Form, *, against: bool) -> None:
    """``against``: a prototype ran in turn."""
    box = report["box"]
    say(
        f"{box['cpus']} CPUs, Python {box['python']}, sync p50/p99 {box['fsync_p50_ms']}/{box['fsync_p99_ms']} ms, "
        f"load {box['load'][0]} before and {box['load_after'][0]} after"
    )
    if form is Form.JSON:
        click.echo(json.dumps(report, indent=1))
    else:
        show_rows(form, TABLES.get(scenario, CASES), report["cases"], "nothing was measured")
        for case in report["cases"] if scenario == "page" else ():
            show_rows(form, READS, case["reads"], "nothing was read")
        if against:
            show_rows(form, AGAINST, report["cases"], "nothing was measured")


def _case(case: Row) -> str:
    offered = f" at {case['rate_offered']:.0f}/s" if case["rate_offered"] else ""
    delay = f" sink {case['dest_delay_ms']:.0f} ms" if case["dest_delay_ms"] else ""
    commit = f" commit: {case['commit']}" if case["scenario"] == "astm-fhir" else ""
    return f"{case['scenario']}{commit} x{case['connections']}{offered}{delay}{_noisy(case)}"


def _noisy(case: Row) -> str:
    return " (noisy)" if case["noisy"] else ""


def _against(case: Row, name: str, wanted: str) -> str:
    return wanted.format_map(case) + (", met" if case["met"][name] else ", missed")


def _cpu(case: Row) -> Row:
    return next({**case[f"cpu_{unit}"], "unit": unit} for unit in ("us", "ms") if f"cpu_{unit}" in case)


def _wanted(case: Row) -> str:
    wanted = case.get("target_us") or case.get("target_ms")
    return f"{wanted:.0f} {_cpu(case)['unit']}" if wanted else ""


TABLES = {
    "serial": SERIAL,
    "mapping": MAPPING,
    "quality": MAPPING,
    "start": START,
    "memory": MEMORY,
    "page": PAGE,
    "query": QUERY,
    "abdm": ABDM,
    "fhir": FHIR,
}
