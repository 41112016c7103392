"""`labrelay demo --show trouble`: one dead letter, one held result and one silent analyzer, each with its next step."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from engine.model.errors import LabRelayError

SHOWS_WITHIN_S = 90.0
DAY = b"20260302"  # of the samples
MESSAGES_BEFORE_SILENCE = 3
HAEMATOLOGY, CHEMISTRY, SEROLOGY = "haematology", "chemistry", "serology"
HOLD = """\
    hold:
      - {when: "=flags in ['HH', 'LL']", reason: critical value}
"""
USUAL_GAP = "usual_gap: 5s\n"  # three of them without a message are a silence

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of trouble.

    Attributes:
        channel: where it shows.
        sample: the message that brings it, below `samples`; empty: no message does.
        says: what happened, for people.
        verb: the command of the next step.
        then: what a person does after that command.
        count: how many of this kind a ``/status.json`` has.
    """

    name: str
    channel: str
    sample: str
    says: str
    verb: str
    then: str
    count: Callable[[Status], int]


def _held(status: Status) -> int:
    return sum(lane["held"] for channel in status["channels"] for lane in channel["lanes"])


def _silent(status: Status) -> int:
    return sum(channel["state"] == "silent" for channel in status["channels"])


TROUBLES = (
    Trouble(
        "a dead letter",
        CHEMISTRY,
        "siemens_dca_vantage/04-service.astm",
        "the analyzer sent in service mode: this is no patient's result, and it is not delivered",
        "dlq list",
        "end service mode on the analyzer; labrelay dlq dismiss closes the letter",
        lambda status: int(status["dead_total"]),
    ),
    Trouble(
        "a held result",
        HAEMATOLOGY,
        "mindray_bc5380/07-critical.hl7",
        "a haemoglobin is critical: a rule of the route keeps the result back until a person decides",
        "held list",
        "labrelay held release or labrelay held reject, with a reason",
        _held,
    ),
    Trouble(
        "a silent analyzer",
        SEROLOGY,
        "",
        "no message came for three of its usual gaps",
        "status",
        "look at the analyzer, its cable and its host settings",
        _silent,
    ),
)


def first_message(channel: str, samples: Path) -> bytes:
    """The message that brings trouble to a channel, as on its line, of yesterday; empty where none does."""
    sample = next((one.sample for one in TROUBLES if one.channel == channel), "")
    yesterday = (date.today() - timedelta(days=1)).strftime("%Y%m%d").encode()
    return (samples / sample).read_bytes().replace(b"\n", b"\r").replace(DAY, yesterday) if sample else b""


def prepare(folder: Path) -> None:
    """Give a copy of the demo's site the rules that show trouble.

    Raises:
        LabRelayError: its channels are not the demo's.
    """
    held, silent = folder / "channels" / f"{HAEMATOLOGY}.yaml", folder / "channels" / f"{SEROLOGY}.yaml"
    routed, to = held.read_text(encoding="utf-8") if held.is_file() else "", "to: [lab-fhir, archive]\n"
    if not silent.is_file() or not routed.endswith(to):
        raise LabRelayError("trouble is shown with the demo's own channels; start the demo in another folder")
    held.write_text(routed.replace(to, f"to: lab-fhir\n{HOLD}"), encoding="utf-8")  # one destination: one held result
    silent.write_text(silent.read_text(encoding="utf-8") + USUAL_GAP, encoding="utf-8")


def shows(status: Status) -> bool:
    """Whether each trouble is there, once."""
    return all(one.count(status) == 1 for one in TROUBLES)


def in_words(labrelay: str) -> list[str]:
    """The troubles with their next steps.

    Args:
        labrelay: the command with its site, as a person at this terminal types it.
    """
    lines = ["", "The page now shows three kinds of trouble. The next step of each:"]
    for one in TROUBLES:
        lines += [f"  {one.name} ({one.channel}): {one.says}", f"      {labrelay} {one.verb}", f"      {one.then}"]
    return [*lines, "  all of it in one list:", f"      {labrelay} todo list", ""]
