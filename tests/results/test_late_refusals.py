"""A receiver that accepts a message and refuses it afterwards: the delivery does not stay delivered."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.store.queries.tallies import counters_of
from tests.support.mllp_peer import PAUSE, ack, mllp_peer
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until


def oru(number: int) -> bytes:
    """Without MSH-15 and MSH-16: the receiver sends a commit acknowledgement unasked."""
    return (
        f"MSH|^~\\&|XN|LAB|||2026030209{number:02}||ORU^R01|M{number}|P|2.5\r"
        f"OBR|1|||CBC\rOBX|1|NM|HGB||1{number}.5|g/dL|||||F\r"
    ).encode()


@pytest.mark.parametrize("on_dead", ["continue", "hold"])
async def test_what_is_accepted_and_refused_later_is_a_dead_letter(tmp_path: Path, on_dead: str) -> None:
    async with mllp_peer((ack("CA"), PAUSE, ack("AE", "{id}", "ERR||PID^1^3|204^Unknown^HL70357|E")), ack()) as lis:
        destinations = {"lis": {"kind": "mllp", "connect": f"127.0.0.1:{lis.port}", **QUICK}}
        raw = channel(MLLP, {"to": "lis", "on_dead": on_dead})
        make_running_site(tmp_path, {"chem": raw}, destinations)
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]  # no sandbox in this one
            (answer,) = await send_blocks(site.port("chem"), [oru(1)])
            assert lines(answer)["MSA"][1] == "AA"
            await site.settled()
            assert site.ends() == ["delivered"]
            assert delivered(site) == (1, 1)
            lis.go_on.set()
            await until(lambda: site.ends() == ["REFUSED_LATE"], 240.0)
            assert delivered(site) == (0, 0)

            shown = await site.labrelay("dlq", "list", "-o", "json")
            (letter,) = shown.json["dead_letters"]
            assert (letter["destination"], letter["code"]) == ("lis", "REFUSED_LATE")
            (delivery,) = site.deliveries(1)
            (attempt,) = delivery.attempts
            assert attempt.detail == "answered AE after it had accepted it"
            assert b"204^Unknown" in attempt.answer

            await send_blocks(site.port("chem"), [oru(2)])
            if on_dead == "hold":  # nothing goes out behind it before a person has decided
                await until(lambda: site.ends() == ["REFUSED_LATE", "waiting"])
            done = await site.labrelay("dlq", "retry", "1", "--yes", "-o", "json")
            assert done.code == 0, done.err
            await site.settled()
            assert site.ends() == ["delivered", "delivered"]
            assert delivered(site) == (2, 2)


def delivered(site: RunningSite) -> tuple[int, int]:
    """What is counted today: messages of the channel, deliveries of its lane."""
    today = f"{datetime.now(ZoneInfo('Asia/Kolkata')):%Y-%m-%d}"
    counts = {one.destination: one.n for one in counters_of(site.journal, today) if one.name == "delivered"}
    return counts.get("", 0), counts.get("lis", 0)
