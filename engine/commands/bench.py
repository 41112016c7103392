"""Measure this machine: the real daemon, a load and a counting sink as three processes, on loopback.

CPU time per message is the figure to compare; rates and answer times move with the machine and its disk, so its sync
time is measured and printed beside them. Ends with exit code 6 if an acknowledged message did not arrive, came twice
under another delivery key, or out of order.

The scenario `mapping` needs none of these: it times parsing, mapping and serialising of messages in this process alone,
and how long the shipped mappings take to compile.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from engine.commands.shared.output import Column, ExitCode, Form, form_option, say, show_rows

GROUP = "for developers"
RARE = True

SCENARIOS = ("oru20", "astm20", "mixed", "astm-fhir", "serial", "mapping")
COLUMNS = (
    Column("case", "case"),
    Column("cpu", "CPU ms/msg", right=True),
    Column("e2e_per_s", "delivered/s", right=True),
    Column("ack", "ACK p50/p99 ms", right=True),
    Column("delivered", "delivered p50/p99 ms", right=True),
    Column("rss", "RSS idle/peak MiB", right=True),
    Column("listening_s", "listening s", right=True),
    Column("lost", "lost", right=True),
    Column("reordered", "reordered", right=True),
    Column("repeats", "repeats same/other key", right=True),
)

SERIAL_COLUMNS = (
    Column("case", "case"),
    Column("cpu", "CPU, share of one core", right=True),
    Column("messages", "messages", right=True),
    Column("rss", "RSS peak MiB", right=True),
    Column("lost", "lost", right=True),
    Column("reordered", "reordered", right=True),
    Column("repeats", "repeats same/other key", right=True),
)

MAPPING_COLUMNS = (
    Column("case", "case"),
    Column("cpu", "CPU", right=True),
    Column("spread", "min to max", right=True),
    Column("wanted", "wanted", right=True),
    Column("traced", "traced", right=True),
    Column("parse", "of it parsing", right=True),
    Column("code", "with its code", right=True),
)


def _numbers(_ctx: click.Context, _param: click.Parameter, text: str | None) -> list[float]:
    if text is None:
        return []
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise click.BadParameter("expected numbers with commas between them, as 1,8,32") from error


@click.command(help=__doc__)
@click.option("--scenario", type=click.Choice(SCENARIOS), default="oru20", show_default=True)
@click.option("--connections", callback=_numbers, help="One case for each. Default: 1,32; with astm-fhir 16.")
@click.option(
    "--commit",
    type=click.Choice(["frame", "message", "both"]),
    default="both",
    show_default=True,
    help="With astm-fhir: each frame is durable before its ACK, or only that which ends a message.",
)
@click.option("--rate", default="0", callback=_numbers, show_default=True, help="Offered messages/s; 0: closed loop.")
@click.option("--dest-delay-ms", default="0", callback=_numbers, show_default=True, help="The sink's answering time.")
@click.option(
    "--workers",
    type=click.Choice(["0", "1", "both"]),
    default="0",
    show_default=True,
    help="With workers: 0, with workers: 1 of the site, or a case with each.",
)
@click.option("--seconds", default=5.0, show_default=True, help="Load per case and round.")
@click.option("--rounds", default=3, show_default=True, help="Cases rotate between rounds.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder for the temporary sites (its disk is measured).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the whole report here.")
@form_option(Form.TABLE, Form.JSON)
def command(
    scenario: str,
    connections: list[float],
    commit: str,
    rate: list[float],
    dest_delay_ms: list[float],
    workers: str,
    seconds: float,
    rounds: int,
    data: Path | None,
    json_file: Path | None,
    form: Form,
) -> None:
    from engine.devtools.bench import mapping_case, serial_case
    from engine.devtools.bench.cases import CHANNELS, Case, run

    connections = connections or ([16] if scenario == "astm-fhir" else [1, 32])
    if max(connections) > CHANNELS or min(connections) < 1:
        raise click.BadParameter(f"connections are 1 to {CHANNELS}: one for each channel")
    both = ["frame", "message"] if commit == "both" else [commit]
    cases = [
        Case(scenario=scenario, connections=int(c), rate=r, delay_ms=d, workers=int(w), commit=each)
        for w in (("0", "1") if workers == "both" else (workers,))
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
        else:
            report = run(cases, folder, seconds=seconds, rounds=rounds, say=say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    box = report["box"]
    say(
        f"{box['cpus']} CPUs, Python {box['python']}, sync p50/p99 {box['fsync_p50_ms']}/{box['fsync_p99_ms']} ms, "
        f"load {box['load'][0]} before and {box['load_after'][0]} after"
    )
    if form is Form.JSON:
        click.echo(json.dumps(report, indent=1))
    else:
        row, columns = TABLES.get(scenario, (_row, COLUMNS))
        show_rows(form, "cases", map(row, report["cases"]), columns, "nothing was measured")
    if any(case.get(fault) for case in report["cases"] for fault in ("lost", "repeats_other_key", "reordered")):
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _row(case: dict[str, Any]) -> dict[str, Any]:
    offered = f" at {case['rate_offered']:.0f}/s" if case["rate_offered"] else ""
    delay = f" sink {case['dest_delay_ms']:.0f} ms" if case["dest_delay_ms"] else ""
    noisy = " (noisy)" if case["noisy"] else ""
    commit = f" commit: {case['commit']}" if case["scenario"] == "astm-fhir" else ""
    return {
        "case": f"{case['scenario']}{commit} x{case['connections']}{offered}{delay} workers {case['workers']}{noisy}",
        "cpu": f"{case['cpu_ms_per_msg']['median']:.3f}",
        "e2e_per_s": case["e2e_per_s"],
        "ack": f"{case['ack_ms']['p50']:.1f} / {case['ack_ms']['p99']:.1f}",
        "delivered": f"{case['delivered_ms']['p50']:.1f} / {case['delivered_ms']['p99']:.1f}",
        "rss": f"{case['rss_mib_idle']:.0f} / {case['rss_mib_max']:.0f}",
        "listening_s": f"{case['listening_s']:.2f}",
        "lost": str(case["lost"]),
        "reordered": str(case["reordered"]),
        "repeats": f"{case['repeats_same_key']} / {case['repeats_other_key']}",
    }


def _serial_row(case: dict[str, Any]) -> dict[str, Any]:
    share = case["cpu_share"]
    return {
        "case": f"{case['lines']} serial lines at {case['bytes_per_s_and_line']} bytes/s each",
        "cpu": f"{share['median']:.1%} ({share['min']:.1%} to {share['max']:.1%})",
        "messages": case["messages"],
        "rss": f"{case['rss_mib_max']:.0f}",
        "lost": str(case["lost"]),
        "reordered": str(case["reordered"]),
        "repeats": f"{case['repeats_same_key']} / {case['repeats_other_key']}",
    }


def _mapping_row(case: dict[str, Any]) -> dict[str, Any]:
    name, unit = next((name, unit) for name, unit in (("cpu_us", "us"), ("cpu_ms", "ms")) if name in case)
    spread = case[name]
    wanted = case.get("target_us") or case.get("target_ms")
    return {
        "case": case["case"] + (" (noisy)" if case["noisy"] else ""),
        "cpu": f"{spread['median']:.1f} {unit}",
        "spread": f"{spread['min']:.1f} - {spread['max']:.1f}",
        "wanted": f"{wanted:.0f} {unit}" if wanted else "",
        "traced": f"x {case['traced_times']:.1f}" if "traced_times" in case else "",
        "parse": f"{case['parse_us']['median']:.1f} us" if "parse_us" in case else "",
        "code": f"{case['with_code_ms']['median']:.1f} ms" if "with_code_ms" in case else "",
    }


TABLES = {"serial": (_serial_row, SERIAL_COLUMNS), "mapping": (_mapping_row, MAPPING_COLUMNS)}
