"""`labrelay add`: the steps of the page, at a terminal."""

import asyncio
from pathlib import Path

from tests.engine.features.adding.test_engineers_day import NEXT, ROWS, laboratory, send_text
from tests.support.command_line import Ran, labrelay
from tests.support.ports import quiet_ports
from tests.support.waiting import until


async def test_the_same_day_at_a_terminal(tmp_path: Path) -> None:
    async with laboratory(tmp_path / "site") as lab:

        async def add(*arguments: str) -> Ran:
            ran = await asyncio.to_thread(labrelay, "add", *arguments, site=lab.folder)
            assert ran.code == 0, ran.err
            return ran

        (port,) = quiet_ports(1)
        await add("listen", "Chemistry 5", "--listen", f"127.0.0.1:{port}")
        await send_text(lab, "chemistry-5", ROWS)
        assert "proposed  specimen=Sample ID" in (await add("look", "chemistry-5")).out
        columns = ("specimen=Sample ID", "test=Test", "value=Result", "unit=Unit")
        await add("recognise", "chemistry-5", *columns, "--decimal", ",")
        codes = (await add("look", "chemistry-5", "codes", "--search", "glucose serum")).out
        assert "718-7" in codes
        assert "2345-7" in codes
        await add("code", "chemistry-5", "HGB", "718-7", "--unit", "g/dL")
        first = await add("look", "chemistry-5", "first")
        assert "13.4                     13.4                     right" in first.out
        number = str(lab.newest("chemistry-5"))
        refused = await asyncio.to_thread(labrelay, "add", "start", "chemistry-5", "999", "--yes", site=lab.folder)
        assert refused.code != 0
        await add("start", "chemistry-5", number, "--yes")
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(NEXT)  # a text ends with a silence; the end of a connection may cut it short
        await until(lambda: lab.deliveries("chemistry-5") == ["delivered"], 60)
        writer.close()
        assert await lab.at_his("718-7") == [9.8]
        again = await asyncio.to_thread(labrelay, "add", "look", "chemistry-5", site=lab.folder)
        assert "there is no draft chemistry-5" in again.err
