"""What stands between Playwright and Debian's Firefox: a program that starts Firefox, as its arguments say.

Playwright begins with a command of WebDriver BiDi that Firefox 153 does not have, and opens no page without an answer.
The program answers that command, and passes everything else on. It can go once Firefox has the command.
"""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE

from aiohttp import ClientSession, web

LISTENS = re.compile(r"(WebDriver BiDi listening on )(ws://\S+)")
UNKNOWN = "emulation.setMediaFeaturesOverride"


def _between(address: str) -> web.Application:
    """``address``: where Firefox listens."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        asks = web.WebSocketResponse(max_msg_size=0)
        await asks.prepare(request)
        async with ClientSession() as client, client.ws_connect(address + request.path, max_msg_size=0) as browser:

            async def answers() -> None:
                async for said in browser:
                    await asks.send_str(said.data)
                await asks.close()

            answering = asyncio.create_task(answers())
            async for said in asks:
                command = json.loads(said.data)
                if command["method"] == UNKNOWN:
                    await asks.send_json({"type": "success", "id": command["id"], "result": {}})
                else:
                    await browser.send_str(said.data)
            await browser.close()
            await answering
        return asks

    app = web.Application()
    app.router.add_get("/session", talk)
    return app


async def main(*firefox: str) -> int:
    process = await asyncio.create_subprocess_exec(*firefox, stderr=PIPE)
    assert process.stderr is not None
    async for line in process.stderr:
        said = line.decode(errors="replace")
        if (at := LISTENS.search(said)) is not None:
            runner = web.AppRunner(_between(at[2]), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            said = LISTENS.sub(rf"\1ws://127.0.0.1:{runner.addresses[0][1]}", said)
        print(said, end="", file=sys.stderr, flush=True)
    return await process.wait()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(*sys.argv[1:])))
