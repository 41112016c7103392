"""A tee before another LabRelay, and a simulated analyzer with every fault: both have the same messages."""

from pathlib import Path

import pytest

from engine.receiving.tee import TeeChannel
from engine.store.queries.reader import stored_payload
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.waiting import until

HOST = "127.0.0.1"


@pytest.mark.parametrize(("pack", "kind"), [("sysmex-xn", "astm"), ("mindray-bc5380", "mllp")])
async def test_whatever_goes_wrong_the_tee_has_what_is_behind_it(tmp_path: Path, pack: str, kind: str) -> None:
    """A simulated analyzer with every fault; the middleware is a LabRelay, and decides what is a message."""
    channel = astm_channel if kind == "astm" else hl7_channel
    behind = channel(source={"kind": kind, "listen": f"{HOST}:0"})
    async with running_site(tmp_path / "behind", {"chem": behind}) as middleware:
        teed = channel(
            source={"kind": kind, "tee": {"listen": f"{HOST}:0", "connect": f"{HOST}:{middleware.port('chem')}"}}
        )
        async with running_site(tmp_path / "tee", {"chem": teed}) as site:
            ran = await site.labrelay(
                *("simulate", pack, "--connect", f"{HOST}:{site.port('chem')}", "--specimens", "5"),
                *("--faults", "bad-checksum,lost-ack,drop,contention,garbage,split", "--seed", "11", "--quiet"),
            )
            assert ran.code == 0, ran.out + ran.err
            await middleware.settled()
            await until(lambda: not middleware.app.parts.sources["chem"].channel.connections)
            await until(lambda: sorted(evidence(site)) == sorted(evidence(middleware)))
            await until(lambda: len(kept(site)) >= len(kept(middleware)))  # the last one passed before it was stored
            await site.settled()
            expected = kept(middleware)
            assert len(expected) >= 5
            assert kept(site) == expected
            assert sorted(evidence(site)) == sorted(evidence(middleware))
            heard = site.app.parts.sources["chem"].channel
            assert isinstance(heard, TeeChannel)
            assert heard.tee.not_kept == 0


def kept(site: RunningSite) -> list[tuple[str, bytes]]:
    """Messages in order, and whether their bytes came before. Whether those are a repeat depends on whose answer was
    lost: the middleware has written it, and the tee has seen it pass."""
    return [
        ("again" if view.repeat_of or view.equal_to else view.state, stored_payload(site.journal, view.id))
        for view in site.messages()
        if view.state != "incomplete"
    ]


def evidence(site: RunningSite) -> list[bytes]:
    """What was cut off; in which order a line's end and the next line's begin are noticed is chance."""
    return [stored_payload(site.journal, view.id) for view in site.messages() if view.state == "incomplete"]
