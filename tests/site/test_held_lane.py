"""A lane that a dead letter holds, and a configuration that does not want that any more."""

from pathlib import Path

import pytest
import yaml

from engine.store.queries.lanes import list_lanes
from tests.support.mllp_peer import ack, mllp_peer
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until


def oru(number: int) -> bytes:
    return (
        f"MSH|^~\\&|XN|LAB|||2026030209{number:02}||ORU^R01|M{number}|P|2.5\r"
        f"OBR|1|||CBC\rOBX|1|NM|HGB||1{number}.5|g/dL|||||F\r"
    ).encode()


def write(folder: Path, on_dead: str) -> None:
    file = folder / "channels" / "chem.yaml"
    said = yaml.safe_load(file.read_text())
    said["routes"][0]["on_dead"] = on_dead
    file.write_text(yaml.safe_dump(said))


async def held(site: RunningSite) -> None:
    await send_blocks(site.port("chem"), [oru(1)])
    await until(lambda: site.ends() == ["REFUSED"], 240.0)
    await send_blocks(site.port("chem"), [oru(2)])
    await until(lambda: site.ends() == ["REFUSED", "waiting"], 240.0)
    assert [bool(view.held_by) for view in list_lanes(site.journal)] == [True]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_lane_goes_on_once_its_route_does_not_want_it_held(tmp_path: Path, restarts: bool) -> None:
    async with mllp_peer(ack("AR"), ack()) as lis:
        destinations = {"lis": {"kind": "mllp", "connect": f"127.0.0.1:{lis.port}", **QUICK}}
        make_running_site(tmp_path, {"chem": channel(MLLP, {"to": "lis", "on_dead": "hold"})}, destinations)
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]  # no sandbox in this one
            await held(site)
            await app.reload()
            assert site.ends() == ["REFUSED", "waiting"], "it is still wanted"
            write(tmp_path, "continue")
            if not restarts:
                await app.reload()
                await until(lambda: site.ends() == ["REFUSED", "delivered"], 240.0)
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]
            await until(lambda: site.ends() == ["REFUSED", "delivered"], 240.0)
            assert [(view.held_by, view.dead) for view in list_lanes(site.journal)] == [(0, 1)]


async def test_a_lane_stays_held_over_a_start_while_its_route_wants_it(tmp_path: Path) -> None:
    async with mllp_peer(ack("AR"), ack()) as lis:
        destinations = {"lis": {"kind": "mllp", "connect": f"127.0.0.1:{lis.port}", **QUICK}}
        make_running_site(tmp_path, {"chem": channel(MLLP, {"to": "lis", "on_dead": "hold"})}, destinations)
        async with running_app(tmp_path) as app:
            await held(RunningSite(tmp_path, app, None))  # type: ignore[arg-type]
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]
            assert site.ends() == ["REFUSED", "waiting"]
            assert [bool(view.held_by) for view in list_lanes(site.journal)] == [True]
