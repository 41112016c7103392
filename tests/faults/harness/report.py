"""Results of `make faults`: the tables of docs/figures-faults.md."""

import sys
from pathlib import Path
from typing import Any

from tests.faults.harness.catalogue import FAULTS, Fault
from tools import figures

Json = dict[str, Any]

COLUMNS = ("sent", "acked", "journaled", "delivered", "dead", "filtered", "lost", "dup_flagged", "dup_unflagged",
           "reordered", "max_rss", "max_fd", "recovery_ms")  # fmt: skip
_LARGEST = ("max_rss", "max_fd", "recovery_ms")


def entry(fault: Fault, records: list[Json], *, seed: int, seconds: float, cut: bool, measured: str) -> Json:
    """What one fault's run came to.

    Args:
        records: those of its tests, as the recorder wrote them.
        cut: the run was ended by force, since its time was over.
        measured: when and on what it began.
    """
    sums: Json = {}
    more: Json = {}
    reached: dict[str, Json] = {}
    for record in records:
        for name, value in record.get("figures", {}).items():
            sums[name] = max(sums.get(name, 0), value) if name in _LARGEST else sums.get(name, 0) + value
        more |= record.get("more", {})
        for one in record.get("reached", ()):
            unit = reached.setdefault(one["unit"], {"unit": one["unit"], "goal": 0, "done": 0})
            unit["goal"] += one["goal"]
            unit["done"] += one["done"]
    failed = [record for record in records if record["outcome"] == "failed"]
    skipped = [record for record in records if record["outcome"] == "skipped"]
    passed = sum(record["outcome"] == "passed" for record in records)
    result = "failed" if failed else "cut off" if cut else "passed" if passed else "not run"
    return {
        "test": fault.name,
        "result": result,
        "reached": list(reached.values()),
        "figures": sums,
        "more": more,
        "tests": len(records),
        "failed": [{"node": record["node"], "why": record["why"]} for record in failed],
        "skipped": [{"node": record["node"], "why": record["why"]} for record in skipped],
        "seed": seed,
        "seconds": round(seconds, 1),
        "measured": measured,
    }


def write(entries: list[Json], folder: Path = figures.FIGURES) -> None:
    """Renew the rows of these faults."""
    by_name = {fault.name: fault for fault in FAULTS}
    results, counts = [], []
    for one in entries:
        fault = by_name[one["test"]]
        results.append(
            (fault.name, fault.fault, fault.how, _done(one), _result(one), _more(one["more"]), one["seed"],
             f"{one['seconds']:.0f} s", one["measured"])
        )  # fmt: skip
        if one["figures"]:
            others = {name: value for name, value in one["figures"].items() if name not in COLUMNS}
            counted = [one["figures"].get(name, 0) for name in COLUMNS]
            counts.append((fault.name, *counted, _more(others), one["measured"].partition(",")[0]))
    order = tuple(by_name)
    heads = ("T", "fault", "done", "how much", "result", "further figures", "seed", "time")
    figures.write("faults", "Results", heads, results, order=order, folder=folder)
    figures.write("faults", "Counts of the judge", ("T", *COLUMNS, "others"), counts, order=order, folder=folder)


def _done(one: Json) -> str:
    parts = []
    for reached in one["reached"]:
        done, goal = reached["done"], reached["goal"]
        cut = "" if done >= goal else f" of {goal:,} (cut off by time)"
        parts.append(f"{done:,}{cut} {reached['unit']}")
    return ", ".join(parts) or f"{one['tests']} tests"


def _result(one: Json) -> str:
    skipped = "; ".join(sorted({f"left out: {each['why']}" for each in one["skipped"]}))
    failed = "; ".join(each["node"].partition("::")[2] for each in one["failed"])
    return "; ".join(part for part in (one["result"], failed, skipped) if part)


def _more(named: Json) -> str:
    return ", ".join(f"{name}={value}" for name, value in named.items())


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
