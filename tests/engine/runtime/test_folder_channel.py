"""Channels that read files: from the folder to the server, and what a crash, a damaged or a hostile file does."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.transports.folder_files import CLAIMED
from engine.config.load import load_site
from engine.model.errors import ConfigError, StoreError
from engine.monitoring.snapshot.channels import ChannelSnapshot, LinkState
from engine.monitoring.snapshot.states import ChannelState, Level
from engine.store.operations import append
from tests.support.channels import hl7
from tests.support.journals import replaced
from tests.support.running import Json, RunningSite, running_site
from tests.support.sites import make_site
from tests.support.waiting import until

ELISA = """\
layout: elisa-reader
about: A reader of ELISA plates that exports one row for each result
text: {as: csv, delimiter: ";", key: Sample, ignore: [Well]}
decimal: ","
required: [O-3, R-3, R-4]
rules:
  - set: {O-3: "{Sample}", P-3: "{Patient}", H-5: ELISA reader}
  - {if: {Sample: "QC.*"}, set: {O-12: Q}}
  - new: R
    set: {R-3.4: "{Test}", R-4: "{Result}", R-5: "{Unit}", R-13: {take: "{Time}", time: "%d.%m.%Y %H:%M"}}
"""
HEADER = "Well;Sample;Patient;Test;Result;Unit;Time\r\n"
ROWS = (
    "A1;S-1;P-1;HBs;0,12;S/CO;01.03.2026 10:15\r\n",
    "A2;S-2;P-2;HBs;>8;S/CO;01.03.2026 10:15\r\n",
    "A3;QC-L1;;HBs;1,00;S/CO;01.03.2026 10:15\r\n",
    'B1;S-1;P-1;HCV;"0,30";S/CO;01.03.2026 10:20\r\n',
)


def folder_channel(folder: Path, **source: object) -> Json:
    route = {"mapping": "hl7-results" if source.get("format") == "hl7v2" else "astm-results", "to": "lab-fhir"}
    quick = {"settle": "0s", "every": "50ms"}
    return {"source": {"kind": "folder", "folder": str(folder), **quick, **source}, "routes": [route]}


def elisa_site(tmp_path: Path) -> dict[str, Json]:
    (tmp_path / "layouts").mkdir()
    (tmp_path / "layouts" / "elisa-reader.yaml").write_text(ELISA)
    (tmp_path / "plates").mkdir()
    return {"elisa": folder_channel(tmp_path / "plates", layout="elisa-reader", pattern="*.csv")}


def put(folder: Path, name: str, content: str | bytes) -> None:
    """As a careful sender does."""
    data = content if isinstance(content, bytes) else content.encode()
    (folder / f"{name}.tmp").write_bytes(data)
    (folder / f"{name}.tmp").rename(folder / name)


def finished(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(path.name for path in (folder / "finished").iterdir())
    return []


def results(site: RunningSite) -> Sequence[tuple[str, str, object]]:
    """Specimen, test and value of each observation that was made."""
    found = []
    for view in site.messages():
        for bundle in site.bundles(view.id):
            resources = [entry["resource"] for entry in bundle["entry"]]
            (specimen,) = [one["identifier"][0]["value"] for one in resources if one["resourceType"] == "Specimen"]
            for one in resources:
                if one["resourceType"] == "Observation":
                    quantity = one.get("valueQuantity", {})
                    value = (quantity.get("comparator", ""), quantity.get("value"))
                    found.append((specimen, one["code"]["coding"][-1]["code"], value))
    return found


def look(site: RunningSite) -> ChannelSnapshot:
    """The row of the page, as it is now."""
    (row,) = site.app.observer.take().channels
    return row


async def test_the_rows_of_a_file_become_a_message_for_each_specimen(tmp_path: Path) -> None:
    channels = elisa_site(tmp_path)
    async with running_site(tmp_path, channels) as site:
        row = look(site)  # it is watched, and nothing has come
        assert (row.state, row.link.state) == (ChannelState.QUIET, LinkState.CONNECTED)
        put(tmp_path / "plates", "plate.csv", HEADER + "".join(ROWS))
        await until(lambda: finished(tmp_path / "plates") == ["plate.csv"])
        await site.settled()

        assert (look(site).state, look(site).address) == (ChannelState.RECEIVING, str(tmp_path / "plates"))
        assert site.ends() == ["delivered", "delivered", "QUALITY_CONTROL"]
        assert results(site) == [
            ("S-1", "HBs", ("", 0.12)),
            ("S-1", "HCV", ("", 0.30)),
            ("S-2", "HBs", (">", 8)),
        ]


async def test_a_crash_between_commit_and_move_delivers_nothing_twice(tmp_path: Path) -> None:
    channels = elisa_site(tmp_path)
    plates = tmp_path / "plates"
    async with running_site(tmp_path, channels) as site:
        put(plates, "plate.csv", HEADER + "".join(ROWS))
        await until(lambda: finished(plates) == ["plate.csv"])
        await site.settled()
    # What a crash would have left: all is kept, and the file is still claimed.
    (plates / "finished" / "plate.csv").rename(plates / CLAIMED / "1.plate.csv")
    async with running_site(tmp_path, channels) as site:
        await until(lambda: finished(plates) == ["plate.csv"])
        await site.settled()

        assert site.ends()[3:] == ["ECHO", "ECHO", "QUALITY_CONTROL"]


async def test_while_nothing_can_be_kept_the_file_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = elisa_site(tmp_path)
    plates = tmp_path / "plates"
    async with running_site(tmp_path, channels) as site:
        failing = True

        def refused(run: Any, *arguments: object, **named: object) -> object:
            future = run(*arguments, **named)
            if not failing:
                return future
            import asyncio

            failed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            failed.set_exception(StoreError("database or disk is full"))
            return failed

        replaced(monkeypatch, site.app.journal, append.store_message, by=refused)  # a store that keeps nothing
        put(plates, "plate.csv", HEADER + ROWS[0])
        await until(lambda: "could not be kept" in site.app.parts.sources["elisa"].fault)
        assert finished(plates) == []
        assert site.app.parts.sources["elisa"].channel.counts.store_fault is not None
        failing = False
        await until(lambda: finished(plates) == ["plate.csv"])
        await until(lambda: site.app.parts.sources["elisa"].fault == "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER.replace("Sample", "Probe") + ROWS[0], "UNREADABLE"),
        (HEADER + "A1;S-1;P-1;HBs;0,12\r\n", "UNREADABLE"),
        (HEADER + 'A1;S-1;P-1;HBs;"0,12;S/CO;01.03.2026 10:15\r\n', "UNREADABLE"),
        (HEADER + "A1;;P-1;HBs;0,12;S/CO;01.03.2026 10:15\r\n", "UNREADABLE"),
        (HEADER + "A1;S-1;P-1;HBs;;S/CO;01.03.2026 10:15\r\n", "UNREADABLE"),
        (b"\x00\xff\xfe\x01" * 50, "UNREADABLE"),
    ],
    ids=["no such column", "cut row", "open quote", "no specimen", "no value", "no text"],
)
async def test_a_damaged_file_is_a_dead_letter_and_never_a_result(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    channels = elisa_site(tmp_path)
    async with running_site(tmp_path, channels) as site:
        put(tmp_path / "plates", "plate.csv", content)
        await until(lambda: finished(tmp_path / "plates") == ["plate.csv"])
        await site.settled()

        assert site.ends() == [reason]


async def test_files_of_hl7_messages_with_and_without_framing(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    channels = {"his": folder_channel(inbox, format="hl7v2")}
    async with running_site(tmp_path, channels) as site:
        put(inbox, "1.hl7", hl7("1") + hl7("2"))
        await until(lambda: len(finished(inbox)) == 1)
        put(inbox, "2.hl7", b"\x0b" + hl7("3") + b"\x1c\r\x0b" + hl7("4") + b"\x1c\r")
        await until(lambda: len(finished(inbox)) == 2)

        assert [view.control_id for view in site.messages()] == _ids(4)


async def test_a_file_of_astm_records_needs_its_last_record(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    channels = {"coagulation": folder_channel(inbox, format="astm")}
    message = b"H|\\^&|||STA\rP|1\rO|1|S1||^^^PT\rR|1|^^^PT|12.1|s\r"
    async with running_site(tmp_path, channels) as site:
        put(inbox, "whole.astm", message + b"L|1|N\r")
        await until(lambda: finished(inbox) == ["whole.astm"])
        put(inbox, "cut.astm", message.replace(b"S1", b"S2"))
        await until(lambda: [path.name for path in (inbox / "failed").iterdir()] == ["cut.astm"])
        await site.settled()

        assert [specimen for specimen, *_ in results(site)] == ["S1"]
        assert site.app.parts.sources["coagulation"].channel.counts.faults == {"not-whole": 1}
        await until(lambda: look(site).notice != "")
        row = look(site)  # to be looked at, and not down: other files are taken
        assert (row.state, row.level, row.link.state) == (
            ChannelState.RECEIVING, Level.ATTENTION, LinkState.CONNECTED,
        )  # fmt: skip
        assert site.app.observer.obstacles() == []


async def test_map_reads_a_file_as_the_channel_would(tmp_path: Path) -> None:
    channels = elisa_site(tmp_path)
    async with running_site(tmp_path, channels) as site:
        put(tmp_path, "plate.csv", HEADER + "".join(ROWS))
        ran = await site.labrelay("map", "--channel", "elisa", str(tmp_path / "plate.csv"), "-o", "table")

        assert ran.code == 0, ran.err
        assert ran.out.count("Observation") == 2


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("", "source: format: text needs layout: the name of one, or give format: hl7v2, astm, json or fhir"),
        ("layout: arkray-spotchem-el, format: hl7v2", "source: layout is for format: text; take one of them out"),
        (
            "format: hl7v2, finished: /srv/in",
            "source: folder, finished and failed are three folders; give each its own",
        ),
        ("format: hl7v2, marker: ok/x", "source: marker is an ending, as .ok"),
    ],
)
def test_what_is_wrong_with_the_source_is_said(tmp_path: Path, more: str, problem: str) -> None:
    source = f"{{{', '.join(filter(None, ('kind: folder', 'folder: /srv/in', more)))}}}"
    text = f"channel: a\nsource: {source}\nroutes:\n  - to: archive\n"
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(tmp_path, channels={"a.yaml": text}))
    assert problem in caught.value.problems[0]


def test_a_folder_belongs_to_one_channel(tmp_path: Path) -> None:
    text = "channel: {name}\nsource: {{kind: folder, folder: {folder}, format: hl7v2}}\nroutes:\n  - to: archive\n"
    channels = {
        "a.yaml": text.format(name="a", folder="/srv/in"),
        "b.yaml": text.format(name="b", folder="/srv/../srv/in"),
    }
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(tmp_path, channels=channels))
    assert "is the folder of channel a (channels/a.yaml) too" in caught.value.problems[0]


def _ids(count: int) -> Sequence[str]:
    from adapters.codecs.hl7v2.message import header

    return [header(hl7(str(number))).control_id for number in range(1, count + 1)]


async def test_a_file_that_comes_while_its_channel_is_paused_is_left_until_it_goes_on(tmp_path: Path) -> None:
    channels = elisa_site(tmp_path)
    why = ("--reason", "the reader is calibrated", "--yes")
    async with running_site(tmp_path, channels) as site:
        assert (await site.labrelay("pause", "channel", "elisa", *why)).code == 0
        assert look(site).state is ChannelState.PAUSED
        put(tmp_path / "plates", "plate.csv", HEADER + ROWS[0])
        other = await site.labrelay("pause", "channel", "elisa", *why)
        assert "was paused already" in other.out
        assert site.messages() == []
        assert (tmp_path / "plates" / "plate.csv").exists()
        assert (await site.labrelay("resume", "channel", "elisa", *why)).code == 0
        await until(lambda: len(site.messages()) == 1)
        await site.settled()
        assert site.ends() == ["delivered"]
