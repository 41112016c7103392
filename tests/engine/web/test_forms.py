"""Forms: within limits, of our own page alone, acted on once; each is sent over a real connection."""

import asyncio
from collections.abc import AsyncIterator
from unittest import mock
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import web

from engine.web import forms
from engine.web.forms import MAX_FORM, Answers, form_token, read_form
from tests.support.waiting import until

SECRET = "the secret of a cookie"
FORM_TYPE = "application/x-www-form-urlencoded"


class Server:
    def __init__(self) -> None:
        self.acts: list[str] = []
        self.came = 0
        self.address = ""
        self.port = 0
        self.began = asyncio.Event()
        self.waits: asyncio.Event | None = None
        self.breaks = False
        self.answers = Answers()

    async def take(self, request: web.Request) -> web.Response:
        form = await read_form(request, request.headers.get("X-Secret", SECRET))
        self.came += 1

        async def act() -> web.Response:
            self.acts.append(form["what"])
            self.began.set()
            if self.waits is not None:
                await self.waits.wait()
            if self.breaks:
                raise web.HTTPConflict
            answer = web.Response(text=f"act {len(self.acts)}", status=201)
            answer.set_cookie("shown", "x")
            return answer

        return await self.answers.once(form, act)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_post("/act", made.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    made.address = f"http://127.0.0.1:{made.port}/act"
    yield made
    await runner.cleanup()


def fields(what: str = "retry", once: str = "1", **more: str) -> dict[str, str]:
    return {"form": form_token(SECRET), "once": once, "what": what} | more


async def send(server: Server, body: object, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.post(server.address, data=body, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_a_form_is_acted_on_once(server: Server) -> None:
    assert await send(server, fields()) == (201, "act 1")
    assert await send(server, fields()) == (201, "act 1")
    assert await send(server, fields(once="2")) == (201, "act 2")
    assert await send(server, fields(what="dismiss")) == (201, "act 3"), "another form never gets this one's answer"
    assert server.acts == ["retry", "retry", "dismiss"]


async def test_a_second_press_while_the_first_is_under_way_waits_for_it(server: Server) -> None:
    server.waits = asyncio.Event()
    both = [asyncio.create_task(send(server, fields())) for _ in range(2)]
    await until(lambda: server.came == 2)
    server.waits.set()
    assert await asyncio.gather(*both) == [(201, "act 1"), (201, "act 1")]
    assert server.acts == ["retry"]


async def test_a_second_press_acts_by_itself_where_the_first_fails(server: Server) -> None:
    server.waits, server.breaks = asyncio.Event(), True
    both = [asyncio.create_task(send(server, fields())) for _ in range(2)]
    await until(lambda: server.came == 2)
    server.waits.set()
    assert [status for status, _ in await asyncio.gather(*both)] == [409, 409]
    assert server.acts == ["retry", "retry"]


async def test_other_forms_do_not_put_out_an_act_under_way(server: Server) -> None:
    server.waits = asyncio.Event()
    with mock.patch.object(forms, "ANSWERS_KEPT", 1):
        first = asyncio.create_task(send(server, fields()))
        await asyncio.wait_for(server.began.wait(), 240.0)
        server.began.clear()
        other = asyncio.create_task(send(server, fields(once="2")))
        await asyncio.wait_for(server.began.wait(), 240.0)
        again = asyncio.create_task(send(server, fields()))
        await until(lambda: server.came == 3)
        server.waits.set()
        assert {status for status, _ in await asyncio.gather(first, other, again)} == {201}
    assert server.acts == ["retry", "retry"]


async def test_an_act_that_failed_may_be_tried_again(server: Server) -> None:
    server.breaks = True
    assert (await send(server, fields()))[0] == 409
    server.breaks = False
    assert await send(server, fields()) == (201, "act 2")


async def test_answers_are_kept_for_a_while_and_within_a_number(server: Server) -> None:
    with mock.patch.object(forms, "ANSWERS_KEPT", 2):
        for number in ("1", "2", "3"):
            await send(server, fields(once=number))
        assert await send(server, fields(once="3")) == (201, "act 3")
        assert await send(server, fields(once="1")) == (201, "act 4")
    with mock.patch.object(forms, "KEPT_S", 0.0):
        assert await send(server, fields(once="1")) == (201, "act 5")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (urlencode(fields(form="")), {}, 403),
        (urlencode(fields(form=form_token("another browser"))), {}, 403),
        (urlencode(fields(form="\u00e4")), {}, 403),
        (urlencode(fields()), {"X-Secret": ""}, 403),
        (urlencode({"form": form_token("")}), {"X-Secret": ""}, 403),
        ("", {}, 403),
        (urlencode(fields(once="")), {}, 400),
        (urlencode(fields(once="  ")), {}, 400),
        (urlencode(fields()), {"Content-Type": "text/plain"}, 415),
        ('{"form": 1}', {"Content-Type": "application/json"}, 415),
        (urlencode(fields()), {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        (urlencode(fields(what="x" * MAX_FORM)), {}, 413),
        ("&".join(f"a{n}=1" for n in range(300)), {}, 400),
        ("a=%ff%fe", {}, 400),
        ("\u00e4=1", {}, 400),
        ("no equals sign", {}, 400),
    ],
)
async def test_no_form_of_our_page_is_refused(server: Server, body: str, headers: dict[str, str], status: int) -> None:
    assert (await send(server, body.encode(), **({"Content-Type": FORM_TYPE} | headers)))[0] == status
    assert server.acts == []


async def test_a_form_without_a_length_is_cut_at_the_limit(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    part = b"a" * 8192
    for _ in range(MAX_FORM // len(part) + 1):
        writer.write(b"%x\r\n%s\r\n" % (len(part), part))
    assert (await asyncio.wait_for(reader.readline(), 240.0)).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(server: Server) -> None:
    with mock.patch.object(forms, "BODY_WITHIN_S", 0.05):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\nContent-Length: 500\r\n\r\nform="
        writer.write(head.encode())
        assert (await asyncio.wait_for(reader.readline(), 240.0)).startswith(b"HTTP/1.1 408 ")
        await asyncio.wait_for(reader.read(), 240.0)  # it closes
        writer.close()
