"""What a service says that answers 200 and refuses all the same is kept on the dead letter."""

from pathlib import Path

from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.scripted_http import http, scripted
from tests.support.senders import send_blocks
from tests.support.waiting import until

REFUSAL = b'{"Status":0,"ErrorDetails":[{"ErrorCode":"2150","ErrorMessage":"Duplicate IRN"}]}'
ORU = b"MSH|^~\\&|XN|LAB|||20260302090100||ORU^R01|M1|P|2.5\rOBR|1|||CBC\rOBX|1|NM|HGB||13.5|g/dL|||||F\r"


async def test_the_services_own_words_are_on_the_dead_letter(tmp_path: Path) -> None:
    async with scripted(http(200, REFUSAL)) as server:
        destinations = {"irp": {"kind": "http", "url": server.url, "taken": '"Status":1,', **QUICK}}
        make_running_site(tmp_path, {"chem": channel(MLLP, {"to": "irp"})}, destinations)
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]  # no sandbox in this one
            await send_blocks(site.port("chem"), [ORU])
            await until(lambda: site.ends() == ["REFUSED"], 240.0)
            (delivery,) = site.deliveries(1)
            assert [attempt.answer for attempt in delivery.attempts] == [REFUSAL]
            shown = await site.labrelay("messages", "show", "1", "--unmask", "--purpose", "why it was refused")
            assert "Duplicate IRN" in shown.out, shown.err
