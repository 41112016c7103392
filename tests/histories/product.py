"""The program under test, as far as the checker touches it: keys of its configuration, commands, causes.

Everything that changes with the program is here and in `hand`. In place of this checkout it may be another one, with a
`.venv` of its own.
"""

import asyncio
import contextlib
import itertools
import json
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tests.histories.history import PANEL, Act, Channel, Json, ordered_as
from tests.histories.render import ISOLATE
from tests.histories.senders import Sender

ROOT = Path(__file__).parents[2]
HAND = Path(__file__).with_name("hand.py")
HEARING_PORT = 19_999  # where laboratory systems hear of their orders
FIRST_PORT = 20_000
TAKING_PORT = 5_000  # so much behind the port of its channel an analyzer takes orders (`law-own`)
DIALECTS = {"mindray-bs": "mindray-bs", "genexpert": "cepheid-genexpert-hl7"}  # what an analyzer speaks
DEADLINE = "60s"  # of answers to orders and questions
START_WITHIN_S = 120.0
STOP_WITHIN_S = 60.0
ANSWER_WITHIN_S = 240.0
LINE_LIMIT = 1 << 30
REASON = "the history says so"
DONE = (0, 1, 5)  # exit codes: done, nothing to do, done in part
# A conflict of identity is answered (`answer`), never waved through.
_IDENTITY = ("IDENTITY", "PATIENT", "PERSON")


class Product:
    """One site of the program, with its daemon and the hand beside it.

    Attributes:
        host: a loopback address of this site's own. A port of an address that others use could be taken by one of them
            while the daemon is away, and an analyzer would be answered by a stranger.
        ports: by channel name.
    """

    _made = itertools.count()
    _known: ClassVar[dict[Path, frozenset[str]]] = {}  # keys that not every version has, by checkout

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.folder = folder
        pid, number = os.getpid(), next(self._made)
        self.host = f"127.{100 + pid % 100}.{pid // 100 % 250}.{number % 250 + 1}"
        self.ports: dict[str, int] = {}
        self._checkout = checkout
        self._python = str(checkout / ".venv" / "bin" / "python")
        self._environ = {**os.environ, "PYTHONPATH": str(checkout)}
        self._daemon: asyncio.subprocess.Process | None = None
        self._hand: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    # -- the site ------------------------------------------------------------------------------------------------------

    async def write_site(self, channels: dict[str, Channel], server: str) -> None:
        (self.folder / "config").mkdir(parents=True)
        (self.folder / "channels").mkdir()
        site = {
            "site": {"name": "Test Lab", "timezone": "Asia/Kolkata"},
            "web": {"enabled": False},
            "destinations": {
                "server": {
                    "kind": "fhir",
                    "url": server,
                    "retry": {"first": "20ms", "max": "200ms"},
                    "breaker": {"probe_after": "50ms"},
                }
            },
        }
        if any(channel.protocol == "lis" for channel in channels.values()):
            site["destinations"]["back"] = {
                "kind": "mllp",
                "connect": f"{self.host}:{HEARING_PORT}",
                "retry": {"first": "20ms", "max": "200ms"},
                "breaker": {"probe_after": "50ms"},
            }
        (self.folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
        self.ports = {name: FIRST_PORT + number for number, name in enumerate(channels)}
        if (known := self._known.get(self._checkout)) is None:
            known = self._known[self._checkout] = await self._known_keys()
        for name, channel in channels.items():
            if channel.protocol == "lis":
                self._write(self._lis(name, channel))
                self._write({"channel": news_of(name), "source": {"kind": "order-status", "of": name},
                             "routes": [{"to": "back"}]})  # fmt: skip
            else:
                self._write(self._channel(name, channel, known))

    def _write(self, content: Json) -> None:
        text = yaml.safe_dump(content)
        (self.folder / "channels" / f"{content['channel']}.yaml").write_text(text, encoding="utf-8")

    def _lis(self, name: str, channel: Channel) -> Json:
        panel, tests = PANEL
        history = name.partition("c")[0]
        return {
            "channel": name,
            "role": "orders",
            "source": {"kind": "mllp", "listen": f"{self.host}:{self.ports[name]}"},
            "routes": [{"mapping": "orders-hl7"}],
            "settings": {"order_specimen": "OBR-3"},
            "lis": {
                "targets": [f"{history}c{number}" for number in channel.serves],
                "panels": {panel: [ordered_as(test) for test in tests]},
                "deadline": DEADLINE,
            },
        }

    def _channel(self, name: str, channel: Channel, known: frozenset[str]) -> Json:
        content: Json = {
            "channel": name,
            "source": {
                "kind": "mllp" if channel.protocol == "hl7" else "astm",
                "listen": f"{self.host}:{self.ports[name]}",
            },
            "routes": [_route(channel)],
        }
        if channel.shared:
            of_astm = {"patient_system_lab": "urn:test:people"}
            content["settings"] = {
                "patient_system": "urn:test:people",
                **(of_astm if channel.protocol == "astm" else {}),
            }
        if channel.asks:
            how = {"answer": "query"} if channel.asks == "query" else {"answer": "query", "download": "on_order"}
            content["orders"] = {
                **how, "deadline": DEADLINE, "codes": {ordered_as(test): test for test in channel.tests}
            }  # fmt: skip
            if channel.speaks == "law-own":
                taking = f"{self.host}:{self.taking_port(name)}"
                content["orders"] |= {"orders_on": "own", "connect": taking}
            elif channel.speaks in DIALECTS:
                content["dialect"] = DIALECTS[channel.speaks]
        if channel.cultures:
            content.setdefault("settings", {})["head_codes"] = [ISOLATE]
        if channel.numbers and "patient_numbers" in known:
            content["patient_numbers"] = channel.numbers
        if channel.specimens == "unique" or f"specimen_ids={channel.specimens}" in known:
            content["specimen_ids"] = channel.specimens
        return content

    def taking_port(self, name: str) -> int:
        return self.ports[name] + TAKING_PORT

    async def _known_keys(self) -> frozenset[str]:
        """Keys that not every version has, as far as this one knows them."""
        found = set()
        for word, line in (("patient_numbers", "patient_numbers: counter"), ("specimen_ids=day", "specimen_ids: day")):
            path = self.folder / "channels" / "probe.yaml"
            path.write_text(
                "channel: probe\nsource: {kind: mllp, listen: '127.0.0.1:1'}\n"
                f"routes: [{{mapping: hl7-results, to: server}}]\n{line}\n",
                encoding="utf-8",
            )
            told = await self.command("check", "-o", "json")
            path.unlink()
            key = line.partition(":")[0]
            if not any(f"probe.yaml: {key}" in problem for problem in _problems(told["out"])):
                found.add(word)
        return frozenset(found)

    def sender(self, name: str, protocol: str) -> Sender:
        """An analyzer at this channel."""
        return Sender(self.host, self.ports[name], protocol)

    # -- the daemon ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Return once it listens.

        Raises:
            RuntimeError: it does not.
        """
        with self.log.open("ab") as output:
            self._daemon = await asyncio.create_subprocess_exec(
                self._python, "-m", "engine", "--site", str(self.folder), "run", "--log", "json",
                cwd=self._checkout, env=self._environ, stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        port = [*self.ports.values()][-1]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WITHIN_S):
                while self._daemon.returncode is None:
                    with contextlib.suppress(OSError), socket.create_connection((self.host, port), timeout=1.0):
                        return
                    await asyncio.sleep(0.02)
        raise RuntimeError(f"the daemon does not listen: {self.log.read_text()[-2000:]}")

    async def kill(self) -> None:
        """As a power cut: no signal that could be handled."""
        if self._daemon is not None and self._daemon.returncode is None:
            self._daemon.kill()
            await self._daemon.wait()

    async def stop(self) -> None:
        """End all that was started."""
        await self.kill()
        if self._hand is not None:
            assert self._hand.stdin is not None
            self._hand.stdin.close()
            try:
                async with asyncio.timeout(STOP_WITHIN_S):
                    await self._hand.wait()
            except TimeoutError:
                self._hand.kill()
                await self._hand.wait()

    # -- the hand ------------------------------------------------------------------------------------------------------

    async def command(self, *arguments: str) -> Json:
        return await self._ask(do="run", arguments=list(arguments))

    async def messages(self, channels: Iterable[str] = ()) -> list[Json]:
        """What the journal has, oldest first."""
        found: list[Json] = (await self._ask(do="read", channels=list(channels)))["messages"]
        return found

    async def orders(self) -> Json:
        """The worklist, and the log of questions."""
        return await self._ask(do="orders")

    async def has_alerts_to_send(self) -> bool:
        return bool((await self._ask(do="alerts"))["waiting"])

    async def is_processed(self, channels: Iterable[str]) -> bool:
        return bool((await self._ask(do="processed", channels=list(channels)))["processed"])

    async def is_settled(self) -> bool:
        return bool((await self._ask(do="settled"))["settled"])

    async def newest(self) -> int:
        """The number of the newest message."""
        return int((await self._ask(do="settled"))["messages"])

    async def _ask(self, **what: Any) -> Json:
        async with self._asking, asyncio.timeout(ANSWER_WITHIN_S):
            if self._hand is None:
                with self.folder.joinpath("hand.log").open("ab") as log:
                    self._hand = await asyncio.create_subprocess_exec(
                        self._python, "-P", str(HAND), cwd=self._checkout, env=self._environ, stderr=log,
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_LIMIT,
                    )  # fmt: skip
            assert self._hand.stdin is not None
            assert self._hand.stdout is not None
            self._hand.stdin.write(json.dumps({"site": str(self.folder), **what}).encode() + b"\n")
            line = await self._hand.stdout.readline()
        if not line:
            raise RuntimeError(f"the hand has ended: {self.folder.joinpath('hand.log').read_text()[-2000:]}")
        answer: Json = json.loads(line)
        return answer

    async def repair(self, channels: Iterable[str]) -> None:
        """Let the channels know of a decimal comma, and map what came again.

        Raises:
            RuntimeError: the program refuses it.
        """
        again = [
            ("reprocess", "--channel", channel, "--since", "1d", "--apply", "--reason", REASON, "--yes")
            for channel in self.taught(channels)
        ]
        for command in (("reload",), *again):
            done = await self.command(*command)
            if done["code"] not in DONE:
                raise RuntimeError(f"{command[0]}: {done['code']} {done['out'][-500:]} {done['err'][-500:]}")

    def taught(self, channels: Iterable[str]) -> Iterator[str]:
        """The channels, once the file of each has the decimal comma."""
        for channel in channels:
            path = self.folder / "channels" / f"{channel}.yaml"
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            content["settings"] = {**content.get("settings", {}), "decimal_comma": "yes"}
            path.write_text(yaml.safe_dump(content), encoding="utf-8")
            yield channel

    # -- people --------------------------------------------------------------------------------------------------------

    async def answer(self, message: int, said: str) -> bool:
        """Say whose a message is that is held for its patient number, ``same`` or ``other``; whether that was done.

        One answer is for all messages with this number and name, so the next of them may not be held any more.
        """
        show = ("held", "show", str(message), "--unmask", "--purpose", REASON, "-o", "json")
        persons = json.loads((await self.command(*show))["out"] or "{}").get("whose") or []
        codes = []
        for one in persons if len(persons) == 1 or said == "other" else ():  # one answer may be right for one alone
            marked = ("held", "answer", str(message), said, "--mark", one["mark"], "--reason", REASON, "--yes")
            codes.append((await self.command(*marked))["code"])
        return bool(codes) and set(codes) <= set(DONE)

    async def act(self, act: Act, messages: list[Json]) -> list[int]:
        """Do it to those of ``messages`` that it can be done to; returns the numbers of these."""
        wanted = [one["id"] for one in messages if is_open_to(act.act, one)]
        if not wanted:
            return []
        ids = [str(one) for one in wanted]
        match act.act:
            case "release" | "reject":
                done = await self.command("held", act.act, *ids, "--reason", REASON, "--yes", "-o", "json")
            case "retry":
                done = await self.command("dlq", "retry", *ids, "--yes", "-o", "json")
            case "dismiss":
                done = await self.command("dlq", "dismiss", *ids, "--reason", REASON, "--yes", "-o", "json")
            case "replay":
                done = await self.command("replay", *ids, "--reason", REASON, "--yes", "-o", "json")
            case _:
                return []
        return wanted if done["code"] in DONE else []


def _route(channel: Channel) -> Json:
    if channel.speaks.startswith("law"):
        return {"when": "=MSH-9.1 == 'OUL'", "mapping": "hl7-oul-results", "to": "server"}
    if channel.speaks:
        return {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results", "to": "server"}
    return {"mapping": "hl7-results" if channel.protocol == "hl7" else "astm-results", "to": "server"}


def news_of(lis: str) -> str:
    """The channel that tells a laboratory system of its orders."""
    return f"{lis}-news"


def _problems(out: str) -> list[str]:
    """What `check` refuses, one text each."""
    return [f"{one['file']}: {one['text']}" for one in json.loads(out)["remarks"] if one["severity"] == "problem"]


def is_identity(cause: str) -> bool:
    return any(word in cause for word in _IDENTITY)


def is_asked(message: Json) -> bool:
    """Whether it waits for a person to say whose it is."""
    return (message["state"] in ("held", "dead") and is_identity(message["reason"])) or any(
        one["state"] == "held" and is_identity(one["cause"]) for one in message["deliveries"]
    )


def is_open_to(act: str, message: Json) -> bool:
    causes = {one["state"]: one["cause"] for one in message["deliveries"]}
    match act:
        case "release" | "reject":
            return "held" in causes and (act == "reject" or not is_identity(causes["held"]))
        case "retry":
            return (message["state"] == "dead" and not is_identity(message["reason"])) or "dead" in causes
        case "dismiss":
            return message["state"] == "dead" or "dead" in causes
        case "replay":
            return "delivered" in causes
    return False
