"""`labrelay report`: from a message on the wire to its figures, beside a running daemon, with every end of a period."""

import csv
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.journal import upkeep
from tests.support.command_line import labrelay
from tests.support.running import RunningSite, hl7_channel, running_site
from tests.support.senders import send_blocks
from tests.support.sites import make_site
from tests.support.waiting import until

NAME = "SHARMA"


def oru(number: int, status: str, now: datetime, *, collected: timedelta | None) -> bytes:
    """A glucose of one specimen, measured a minute ago."""
    drawn = f"{now - collected:%Y%m%d%H%M%S}+0000" if collected is not None else ""
    measured = f"{now - timedelta(minutes=1):%Y%m%d%H%M%S}+0000"
    return (
        f"MSH|^~\\&|A|L|B|L|{now:%Y%m%d%H%M%S}+0000||ORU^R01|{number}|P|2.5.1\rPID|1||77||{NAME}^ANITA\r"
        f"OBR|1|PL1|FI1|GLU^Glucose|||{drawn}||||||||||||||||||{status}\r"
        f"OBX|1|NM|GLU^Glucose||{number}|mmol/L|||||{status}|||{measured}\r"
    ).encode()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "COUNT_S", 0.05)


async def test_from_the_wire_to_the_figures(tmp_path: Path, soon: None) -> None:
    now = datetime.now(UTC)
    sent = [
        oru(1, "P", now, collected=timedelta(hours=2)),
        oru(2, "F", now, collected=timedelta(hours=2)),
        oru(3, "C", now, collected=timedelta(hours=2)),
    ]
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        await send_blocks(site.port("chem"), sent)
        await site.settled()
        await until(lambda: _delivered(site) == 1)
        days = ("--from", f"{now - timedelta(days=1):%Y-%m-%d}", "--to", f"{now + timedelta(days=1):%Y-%m-%d}")
        volume = (await site.labrelay("report", "volume", *days, "-o", "json")).json["volume"]
        turnaround = (await site.labrelay("report", "turnaround", *days, "--by", "channel", "-o", "json")).json
        ran = await site.labrelay("report", "turnaround", *days, "-o", "csv")
        table = (await site.labrelay("report", "volume", *days, "--by", "test")).out
    (chem,) = volume
    names = ("channel", "received", "results", "final", "corrected", "preliminary", "again")
    assert [chem[name] for name in names] == ["chem", 3, 3, 1, 1, 1, 0]
    stages = {row["stage"]: row for row in turnaround["turnaround"]}
    # Hours are whole minutes; a busy machine takes some of them.
    assert 2 * 3600 - 60 <= stages["collected-delivered"]["median_s"] < 2 * 3600 + 900
    assert stages["collected-resulted"]["median_s"] == 119 * 60
    assert [row["count"] for row in stages.values()] == [1, 1, 1, 1]
    rows = list(csv.DictReader(StringIO(ran.out)))
    assert {row["test"] for row in rows} == {"*"}  # no table of this site has the code
    assert NAME not in ran.out + table + str(volume)


def _delivered(site: RunningSite) -> int:
    row = site.app.journal.row("SELECT count(*) FROM result_day WHERE instr(counts, 'collected-delivered')")
    return int(row[0])


def test_a_wrong_question_says_so(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    for arguments, said in {
        ("volume", "--month", "2026-13"): "Write the month as 2026-11",
        ("volume", "--month", "9999-12"): "Write the month as 2026-11",
        ("downtime", "--to", "9999-12-31"): "Write a day as 2026-11-20",
        ("volume", "--month", "2026-11", "--from", "2026-11-01"): "--month is instead of",
        ("volume", "--from", "1 May"): "Write a day as 2026-11-20",
        ("downtime", "--by", "day"): "downtime is a list; take --by out",
        ("utilisation", "--by", "test"): "utilisation is by channel, day",
        ("patients",): "volume",
    }.items():
        ran = labrelay("report", *arguments, site=site)
        assert ran.code == ExitCode.USAGE, arguments
        assert said in ran.err, arguments
