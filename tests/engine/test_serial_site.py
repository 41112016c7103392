"""Results from serial lines through a running site: real ptys and sockets, a real journal, a sandbox that receives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.astm_peer import one_record_a_frame, session
from tests.support.running import astm_channel, running_site
from tests.support.serial_peers import Cable
from tests.support.waiting import until

MESSAGE = (
    b"H|\\^&|||XN-550^1^S1|||||||P|1394-97|20261120101500\rP|1|||4711|Doe^Jane||19800101|F\r"
    b"O|1|S-100||^^^GLU|R||20261120101000\rR|1|^^^GLU|5.4|mmol/L||N||F||||20261120101400\rL|1|N\r"
)


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    made = Cable(tmp_path / "analyzer")
    yield made
    made.close()


async def test_results_come_over_a_serial_line(tmp_path: Path, cable: Cable) -> None:
    source = {"kind": "astm-serial", "device": cable.path}
    async with running_site(tmp_path / "site", {"chem": astm_channel(source=source)}) as site:
        await until(lambda: bool(site.app.sources["chem"].channel.connections))
        played = await cable.play(session(*one_record_a_frame(MESSAGE)))
        assert played.acknowledged == 5
        await site.settled()
        assert site.ends("chem") == ["delivered"]
