"""Controls and patients of one analyzer, as messages; its lots and targets, and what people decide about them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

from engine.features.quality_control.rows import deciding
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.store.journal import Journal
from tests.support.running import RunningSite
from tests.support.senders import lines, send_blocks

ACTOR, WHY = "asha", "as the insert says"
LEVELS = {"QC-L1": ("L1", "A7"), "QC-L2": ("L2", "B7")}
TARGETS = {("GLU", "L1"): ("100", "5"), ("GLU", "L2"): ("200", "8"), ("K", "L1"): ("4.0", "0.1")}
UNITS = {"GLU": "mg/dL", "K": "mmol/L", "NA": "mmol/L"}
NUMBERS = count(1)
DAY = f"{datetime.now(UTC) - timedelta(days=1):%Y%m%d}"


def message(specimen: str, results: Mapping[str, str], at: str, *, patient: str = "", flag: str = "") -> bytes:
    """One message of an analyzer, measured at ``at`` of `DAY` (``0740``); without a patient, a control's.

    Args:
        results: values; ``18 LL`` has a flag of its own.
    """
    number = next(NUMBERS)
    time = f"{DAY}{at}{number % 60:02}"
    person = f"PID|1||{patient}||Iyer^Meena||19550101|F\r" if patient else ""
    side = "" if patient else "^^^^^^Q"
    head = f"MSH|^~\\&|AN|LAB|LIS|H|{time}||ORU^R01|M{number}|P|2.5.1\r{person}"
    order = f"OBR|1||{specimen}|CHEM^Chemistry^L|||{time}||||||||{side}|||||||{time}||LAB|F\r"
    rows = [
        f"OBX|{place}|NM|{test}^{test}^L||{value.split()[0]}|{UNITS[test]}||"
        f"{flag or value.partition(' ')[2]}|||F|||{time}\r"
        for place, (test, value) in enumerate(results.items(), 1)
    ]
    return (head + order + "".join(rows)).encode()


async def send(site: RunningSite, *messages: bytes, channel: str = "chem") -> list[int]:
    """Send messages; the numbers that they have."""
    before = len(site.messages())
    for answer in await send_blocks(site.port(channel), list(messages)):
        assert lines(answer)["MSA"][1] == "AA"
    await site.settled()
    return [one.id for one in site.messages()[before:]]


async def set_up(journal: Journal, *, channel: str = "chem", targets: Mapping = TARGETS) -> None:
    """Lots and targets in force since before all messages."""
    lots = [Lot(channel, number, "Chemtrol", level, lot) for number, (level, lot) in LEVELS.items()]
    of = dict(LEVELS.values())
    rows = [
        TargetRow(channel, "", test, level, of[level], UNITS[test], mean, sd, "lab")
        for (test, level), (mean, sd) in targets.items()
    ]
    await journal.run(deciding.load, lots, rows, file="controls.csv", actor=ACTOR, reason=WHY)
    with journal.snapshot() as execute:
        ids = [number for (number,) in execute("SELECT id FROM qc_target WHERE state = 'proposed'")]
    await journal.run(deciding.accept, ids, IN_FORCE, 1, actor=ACTOR, reason=WHY)


def verdicts(journal: Journal, test: str = "GLU") -> list[list[str]]:
    """Of each run of a test, in measuring order: its verdicts, oldest first."""
    with journal.snapshot() as execute:
        rows = execute(
            "SELECT r.id, v.verdict FROM qc_run r JOIN qc_stream s ON s.id = r.stream"
            " JOIN qc_verdict v ON v.run = r.id WHERE s.test = ? ORDER BY r.first_us, r.id, v.version",
            (test,),
        ).fetchall()
    found: dict[int, list[str]] = {}
    for run, verdict in rows:
        found.setdefault(run, []).append(verdict)
    return list(found.values())


def points(journal: Journal) -> list[tuple]:
    """Test, level, lot, value and why it is not evaluated, of each point in the order of writing."""
    with journal.snapshot() as execute:
        return execute(
            "SELECT s.test, p.level, p.lot, p.value, p.why FROM qc_point p JOIN qc_stream s ON s.id = p.stream"
            " ORDER BY p.id"
        ).fetchall()


def rows(journal: Journal, statement: str, values: Sequence = ()) -> list[tuple]:
    with journal.snapshot() as execute:
        return execute(statement, values).fetchall()
