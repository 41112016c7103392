"""The package astm 0.5 against our frames, records and dialogues: `make validate-astm`.

It runs in an environment of its own, as a program of its own (`analyzer.py`). `Spoken.judge` says what it can judge;
the table of who judged what is in docs/conformance.md.
"""

import asyncio
import json
import os
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.codecs.astm import records
from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.sender import frames_of
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.message import FormatOptions
from tests.adapters.dialects.test_dialogues import talk
from tests.support.astm_dialogues import ASTM, SPOKEN, Spoken, message
from tests.support.astm_peer import Line, session
from tests.support.running import RunningSite, astm_channel, running_site
from tests.support.waiting import until
from workbench.simulator.asking import results
from workbench.simulator.asking_forms import FORMS, GENERIC, Told

Record = list[Any]  # as the package has it: None, a text, components, or repetitions of components

HERE = Path(__file__).parent
WITHIN_S = 90.0
JUDGED = [one for one in SPOKEN if one.judge == ASTM]
of_each = pytest.mark.parametrize("spoken", JUDGED, ids=lambda spoken: spoken.maker)


async def package(*commands: dict[str, Any]) -> list[Any]:
    """What the package answers to these commands."""
    ran = await asyncio.create_subprocess_exec(
        _python(),
        str(HERE / "analyzer.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(HERE / "removed_names")},
    )
    async with asyncio.timeout(WITHIN_S):
        out, err = await ran.communicate(json.dumps(commands).encode())
    assert ran.returncode == 0, err.decode()[-2000:]
    return list(json.loads(out))


def _python() -> str:
    python = os.environ.get("LABRELAY_ASTM")
    if python is None:
        pytest.fail("run this with: make validate-astm")
    return str(Path(python).absolute())


def ours(payload: bytes) -> list[Record]:
    """Our reading of a message, in the package's form."""
    parsed = records.parse(payload, FormatOptions())
    return [_plain([one.name, *map(_field, one.fields[2:])]) for one in parsed.segments]


def _field(text: str) -> Any:
    if "\\" in text:
        return [[part or None for part in one.split("^")] for one in text.split("\\")]
    if "^" in text:
        return [part or None for part in text.split("^")]
    return text or None


def _plain(record: Record) -> Record:
    """Without empty ends: the package keeps those that it reads, and leaves out those that it writes."""

    def cut(part: Any) -> Any:
        if not isinstance(part, list):
            return part
        parts = [cut(one) for one in part]
        while parts and parts[-1] in (None, []):
            parts.pop()
        return parts[0] if len(parts) == 1 and not isinstance(parts[0], list) else parts or None

    return list(cut(record))


def frames(spoken: Spoken, payload: bytes) -> list[str]:
    sending = talk(spoken).sending
    return [one.decode("latin-1") for one in frames_of(payload, sending["frame_limit"], sending["pack"])]


@of_each
async def test_it_reads_the_same_records_in_what_we_send(spoken: Spoken) -> None:
    said = [message(one) for one in (spoken.answer, spoken.none, spoken.download, spoken.back, spoken.fetch) if one]
    read = await package(*({"do": "decode", "frames": frames(spoken, one)} for one in said))
    for found, payload in zip(read, said, strict=True):
        assert [_plain(record) for record in found] == ours(payload)


async def test_it_joins_frames_that_go_on_after_240_bytes() -> None:
    spoken = next(one for one in JUDGED if one.packed)
    tests = "\\".join(f"^^^{code}^1" for code in range(100, 180))
    payload = message((*spoken.answer[:2], f"O|1|0000000387|587^0^2^^S1^SC|{tests}|R||||||A", "L|1|N"))
    sent = frames(spoken, payload)
    assert len(sent) > 3
    assert all("\x17" in one for one in sent[:-1])
    [found] = await package({"do": "decode", "frames": sent})
    assert [_plain(record) for record in found] == ours(payload)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("^^^GLU", "^^^GLV"), ("\r\x03", "\x03"), ("\x021H", "\x02xH")],
    ids=["a byte", "no CR before ETX", "no frame number"],
)
async def test_it_refuses_what_is_damaged(was: str, becomes: str) -> None:
    """So that what it takes says something."""
    sent = [frame.replace(was, becomes, 1) for frame in frames(SPOKEN[0], message(SPOKEN[0].answer))]
    with pytest.raises(AssertionError, match="Checksum failure"):
        await package({"do": "decode", "frames": sent})


@of_each
async def test_we_read_the_same_records_in_what_it_sends(spoken: Spoken) -> None:
    now = datetime.now(ZoneInfo("Asia/Kolkata"))  # of the site; what was measured before its order closes none
    measured = results(FORMS[spoken.dialect or GENERIC], spoken.tube, Told(spoken.tests), now, {}, Random(7))
    for payload in (message(spoken.asks), measured):
        [wire] = await package({"do": "encode", "records": nested(payload)})
        line = Line(AstmReceiver())
        line.send(session(*(frame.encode("latin-1") for frame in wire)))
        assert line.faults == []
        [heard] = line.messages
        assert ours(heard) == ours(payload)


def nested(payload: bytes) -> list[Record]:
    """The records of a message for the package to write; it writes H-2 as it is."""
    rows = [row.split("|") for row in payload.decode().split("\r") if row]
    return [[text if row[0] == "H" and at == 1 else _field(text) for at, text in enumerate(row)] for row in rows]


@of_each
async def test_it_asks_gets_its_orders_and_sends_their_results(spoken: Spoken, tmp_path: Path) -> None:
    dialect = {} if spoken.dialect is None else {"dialect": spoken.dialect}
    orders = {"answer": "query", "codes": {test: test for test in spoken.tests}, "deadline": "60s"}
    now = datetime.now(ZoneInfo("Asia/Kolkata"))  # of the site; what was measured before its order closes none
    measured = results(FORMS[spoken.dialect or GENERIC], spoken.tube, Told(spoken.tests), now, {}, Random(7))
    asks = nested(message(spoken.asks))
    async with running_site(tmp_path, {"asked": astm_channel(orders=orders, **dialect)}) as site:
        ran = await site.labrelay("orders", "add", spoken.tube, *spoken.tests, "--patient", "P-1")
        assert ran.code == 0, ran.err
        port = site.port("asked")

        [[answer]] = await package({"do": "talk", "port": port, "sessions": [asks], "answers": 1})

        said = [record for record in answer if record[0] == "O"]
        assert [spoken.tube in flat(record) for record in said] == [True] * len(said)
        assert [test for record in said for test in spoken.tests if test in flat(record[4])] == list(spoken.tests)
        await until(lambda: states(site) == {"offered"})

        [[none]] = await package({"do": "talk", "port": port, "sessions": [nested(measured), asks], "answers": 1})

        await until(lambda: states(site) == {"resulted"})
        assert not [test for record in none if record[0] == "O" for test in spoken.tests if test in flat(record)]
        assert none[-1][0] == "L"


def states(site: RunningSite) -> set[str]:
    return {one.state.value for one in read_items(site.journal, ItemFilter())}


def flat(part: Any) -> list[str]:
    """All texts of a field, however deep, without blanks around them."""
    if isinstance(part, list):
        return [text for one in part for text in flat(one)]
    return [] if part is None else [str(part).strip()]
