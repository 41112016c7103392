"""Nothing that a message leaves waits for the garbage collector: reference counts free it at once.

A message leaves some hundred objects. In a reference cycle they stay until a collection, which stops the event loop and
looks at all of them.
"""

import contextlib
import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.errors import ContentError
from engine.runtime import event_loop
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.mapping_texts import context, parse
from tests.support.running import ASTM, astm_channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, send_blocks
from tests.support.shipped import program
from workbench.bench.messages import astm, oru

MESSAGES = 100
FOUND_AT_MOST = 100  # objects in cycles, of all these messages together


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """The block leaves nearly nothing to the collector, which does not run in it."""
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() < FOUND_AT_MOST
    finally:
        gc.enable()


ODDITIES = {
    "none": (b"", b""),
    "a time that is none": (b"|F|||2026", b"|F|||2099"),
    "a unit without a row": (b"|g/dL|", b"|zq|"),
    "dead": (b"|P|2.5", b"|T|2.5"),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_mapping_leaves_nothing_to_the_collector(oddity: str) -> None:
    rng = random.Random(1)
    messages = [oru(0, number, rng).replace(*ODDITIES[oddity]) for number in range(MESSAGES + 1)]
    mapping, given = program("hl7-results"), context()

    def apply(message: bytes) -> None:
        with contextlib.suppress(ContentError):
            mapping.apply(parse(message), given)

    apply(messages.pop())  # compiles the code
    with no_garbage():
        for message in messages:
            apply(message)


def test_a_running_site_leaves_nothing_to_the_collector(tmp_path: Path) -> None:
    """On the daemon's event loop: Python's own leaves the transport of each connection that is closed."""
    event_loop.run(_play_to_a_site(tmp_path / "site"))


async def _play_to_a_site(folder: Path) -> None:
    """From the socket to the receiver's answer, with a connection for each tenth message of HL7 v2."""
    rng = random.Random(1)
    channels = {
        "hl7": hl7_channel(),
        "astm": astm_channel(),
        "frames": astm_channel(source={**ASTM, "commit": "frame"}),
    }
    async with running_site(folder, channels) as site:

        async def play(number: int) -> None:
            await send_blocks(site.port("hl7"), [oru(0, 10 * number + one, rng) for one in range(10)])
            frames = session(*one_record_a_frame(b"".join(astm(0, number, rng))))
            for name in ("astm", "frames"):
                await AstmAnalyzer(site.port(name)).play(frames)
            await site.settled()

        await play(0)
        with no_garbage():
            for number in range(1, 1 + MESSAGES // 10):
                await play(number)
        assert set(site.ends()) == {"delivered"}
