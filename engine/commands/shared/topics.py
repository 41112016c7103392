"""Short texts that `labrelay help TOPIC` prints."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from engine.commands.shared.output import EXIT_WORDS


class Topic(NamedTuple):
    """``title``: for the list of topics."""

    title: str
    text: Callable[[], str]


def _file(name: str) -> str:
    return Path(__file__).with_name("texts").joinpath(f"{name}.txt").read_text(encoding="utf-8").rstrip()


def _exit_codes() -> str:
    rows = (f"  {code.value:>3}  {words.replace('`', '')}" for code, words in EXIT_WORDS.items())
    return "\n".join(["How a command ends, for scripts:", "", *rows])


def _metrics() -> str:
    from engine.monitoring.metrics import all_metrics  # it loads the client of Prometheus, which few commands need

    rows = (
        f"  {one.exported} ({', '.join([one.kind.value, *one.labels])})\n      {one.help.replace('`', '')}"
        for one in all_metrics()
    )
    head = "Metrics at /metrics of the page, with kind and labels. Counters start at 0 with the process."
    return "\n".join([head, "", *rows])


TOPICS = {
    "again": Topic("Which of retry, replay, reprocess, edit, restart?", partial(_file, "again")),
    "exit-codes": Topic("How a command ends, for scripts.", _exit_codes),
    "metrics": Topic("The metrics at /metrics, for Prometheus.", _metrics),
    "times": Topic("How times are typed and shown.", partial(_file, "times")),
}
