"""A server that answers 500 to one document for ever: which message that is, and the way out that the runbook names."""

import asyncio
from pathlib import Path

import yaml

from engine.commands.shared.output import ExitCode
from engine.store.queries.letters import dead_letters
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import CANARY, payload
from tests.support.http_answers import http_server, response
from tests.support.running import QUICK, channel, make_running_site, running_app
from tests.support.waiting import until

BAD = 2


async def test_the_message_that_a_destination_waits_for_is_named_and_can_be_given_up(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    taken: list[bytes] = []

    async def answer(request: bytes) -> bytes:
        if payload(BAD) in request:
            return response("500 Internal Server Error")
        taken.append(request)
        return response("200 OK")

    async with http_server(answer) as port:
        destination = {"kind": "http", "url": f"http://127.0.0.1:{port}/", **QUICK}
        listen = {"kind": "mllp", "listen": f"127.0.0.1:{unused_tcp_port}"}
        folder = make_running_site(tmp_path, {"hema": channel(listen, {"to": "lab-fhir"})}, {"lab-fhir": destination})

        async def command(*arguments: str) -> Ran:
            return await asyncio.to_thread(labrelay, *arguments, site=folder)

        async with running_app(folder) as app:
            reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
            for number in (1, BAD, 3):
                writer.write(b"\x0b" + payload(number) + b"\x1c\r")
                assert b"MSA|AA" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
            writer.close()
            await writer.wait_closed()
            await until(lambda: app.parts.delivery_workers["lab-fhir"].counts.failed.total() > 2)
            app.observer.expire()
            said = await command("status", "-o", "json")
            (told,) = said.json["destinations"]
            assert (told["retrying"]["channel"], told["retrying"]["message"]) == ("hema", BAD)
            (lane,) = said.json["channels"][0]["lanes"]
            assert lane["retrying"]["message"] == BAD
            assert told["retrying"]["code"] == "BUSY"
            people = await command("status")
            assert f"lab-fhir waits for message {BAD} of hema: BUSY, " in people.out
            assert CANARY not in people.out + said.out
            assert len(taken) == 1  # what came later waits behind it

            file = folder / "config" / "labrelay.yaml"
            site = yaml.safe_load(file.read_text())
            site["destinations"]["lab-fhir"]["retry"]["give_up_after"] = "1s"
            file.write_text(yaml.safe_dump(site))
            assert (await command("reload")).code == ExitCode.OK
            await until(lambda: len(taken) == 2 and bool(dead_letters(app.journal)), within_s=60.0)
            (letter,) = (await command("dlq", "list", "--each", "-o", "json")).json["dead_letters"]
            assert (letter["message"], letter["code"]) == (BAD, "GAVE_UP")
            app.observer.expire()
            assert "waits for message" not in (await command("status")).out
            ended = await command("dlq", "dismiss", str(BAD), "--reason", "read at the server", "--yes")
            assert ended.code == ExitCode.OK, ended.err
