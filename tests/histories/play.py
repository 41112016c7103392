"""A batch of histories on one daemon, with sockets, a journal and a server; what is judged is what they left behind."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.histories import look, orders_model
from tests.histories.called import CalledProduct, CalledServer
from tests.histories.history import Act, Asking, Batch, Channel, Group, History, Json, Ordering, Send, Step, Weather
from tests.histories.hl7_two_way import UNORDERED, Hl7TwoWay
from tests.histories.laboratory import START, stamp
from tests.histories.model import Fault, judge
from tests.histories.product import HEARING_PORT, Product, is_asked, news_of
from tests.histories.render import asking, here, ordering, payload, retimed
from tests.histories.seen import Seen, SeenOrders
from tests.histories.senders import Sender
from tests.histories.two_way import Hearing, Lis, TwoWay
from workbench.sandbox import Faults, Sandbox

QUIET_WITHIN_S = 300.0
ZONE = ZoneInfo("Asia/Kolkata")  # of the site
LOOK_EVERY_S = 0.05
MOODS = {
    "well": Faults(fail=0.0),
    "down": Faults(fail=1.0, kinds=("503",), retry_after=0),
    "lost": Faults(fail=0.5, kinds=("lost",)),
    "flaky": Faults(fail=0.3, kinds=("503", "reset", "lost", "cut"), retry_after=0),
}


@dataclass(slots=True, kw_only=True)
class Ending:
    """How one history ended."""

    history: History
    seen: Seen
    faults: list[Fault]


@dataclass(slots=True)
class _Line:
    """A channel of one history."""

    name: str
    history: int
    channel: Channel
    sender: Sender | TwoWay | Hl7TwoWay


class _Times:
    """Times of a history with orders: what is measured in it is measured now, for the product may compare that with the
    time of the order. A time before the first morning is as long before now.
    """

    def __init__(self) -> None:
        self._began = datetime.now(ZONE)
        self._bound: dict[str, str] = {}

    def __call__(self, said: str) -> str:
        if said < stamp(0):
            ago = START - datetime.strptime(said, "%Y%m%d%H%M%S")
            return (self._began - ago).strftime("%Y%m%d%H%M%S")
        if said not in self._bound:
            self._bound[said] = (datetime.now(ZONE) + timedelta(seconds=1)).strftime("%Y%m%d%H%M%S")
        return self._bound[said]


@dataclass(slots=True)
class _Progress:
    """Answers of a round, and who waits for so many."""

    answered: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self) -> None:
        self.answered += 1
        self.changed.set()

    async def reached(self, number: int) -> None:
        while self.answered < number:
            self.changed.clear()
            await self.changed.wait()


async def play(batch: Batch, checkout: Path, folder: Path, *, called: bool = False) -> list[Ending]:
    """Play it on a new site in ``folder``, and judge each history.

    Args:
        called: in this process, without a daemon (`called`).

    Raises:
        RuntimeError: the program does not start, or refuses the site.
        TimeoutError: an analyzer has no answer.
    """
    sandbox: Sandbox | CalledServer
    product: Product
    if called:
        sandbox = CalledServer(folder / "server")
        product = CalledProduct(checkout, folder / "site", sandbox)
    else:
        sandbox = Sandbox(folder=folder / "server", seed=1)
        product = Product(checkout, folder / "site")
    await sandbox.start()
    try:
        player = _Player(batch, product, sandbox)
        await player.play()
        server = look.Server(folder / "server")
        return [player.ending(place, server) for place in range(len(batch.histories))]
    finally:
        await product.stop()
        await sandbox.stop()


def play_alone(batch: Batch, checkout: Path, folder: Path, called: bool = False) -> list[Ending]:
    """The same for a process of its own. Nothing is left of ``folder``."""
    try:
        return asyncio.run(play(batch, checkout, folder, called=called))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Player:
    def __init__(self, batch: Batch, product: Product, sandbox: Sandbox | CalledServer) -> None:
        self._batch = batch
        self._product = product
        self._sandbox = sandbox
        self._lines: dict[tuple[int, int], _Line] = {}
        self._acts: dict[int, list[look.Done]] = defaultdict(list)  # what was done to each message
        self._messages: dict[str, list[Json]] = defaultdict(list)  # at the end, by channel
        self._quiet = True
        self._times: dict[int, _Times] = defaultdict(_Times)
        self._hearing = Hearing()
        self._has_orders = any(history.has_orders for history in batch.histories)
        self._orders: Json = {"items": [], "questions": [], "busy": False}

    async def play(self) -> None:
        channels = {
            f"h{place}c{number}": channel
            for place, history in enumerate(self._batch.histories)
            for number, channel in enumerate(history.channels)
        }
        await self._product.write_site(channels, self._sandbox.url)
        for place, history in enumerate(self._batch.histories):
            for number, channel in enumerate(history.channels):
                name = f"h{place}c{number}"
                self._lines[place, number] = _Line(name, place, channel, self._sender(name, channel))
        if self._has_orders:
            await self._hearing.start(self._product.host, HEARING_PORT)
        await self._product.start()
        for number, weather in enumerate(self._batch.weather):
            await self._round(number, weather)
        self._set_mood("well")
        self._hearing.set_up(True)
        self._quiet = await self._settled() and await self._orders_rest()
        for line in self._lines.values():
            await line.sender.close()
        await self._hearing.stop()
        for message in await self._product.messages():
            self._messages[message["channel"]].append(message)

    def _sender(self, name: str, channel: Channel) -> Sender | TwoWay | Hl7TwoWay:
        host, port = self._product.host, self._product.ports[name]
        if channel.protocol == "lis":
            return Lis(host, port)
        if channel.speaks:
            own = self._product.taking_port(name) if channel.speaks == "law-own" else 0
            return Hl7TwoWay(host, port, channel.speaks, own)
        return TwoWay(host, port) if channel.asks else self._product.sender(name, channel.protocol)

    async def _orders_rest(self) -> bool:
        """Until all that is to go unasked has gone, and all news of it."""
        if not self._has_orders:
            return True
        unasked = {line.name: line.channel.tests for line in self._lines.values() if line.channel.asks == "download"}
        loop = asyncio.get_running_loop()
        end = loop.time() + QUIET_WITHIN_S
        while True:
            self._orders = await self._product.orders()
            if not self._orders["busy"] and not orders_model.is_moving(self._orders, unasked) and await self._settled():
                return True
            if loop.time() > end:
                return False
            await asyncio.sleep(LOOK_EVERY_S)

    async def _round(self, number: int, weather: Weather) -> None:
        self._set_mood(weather.server)
        self._hearing.set_up(weather.lis)
        rounds = {
            place: history.rounds[number]
            for place, history in enumerate(self._batch.histories)
            if number < len(history.rounds)
        }
        if not any(one.steps or one.acts for one in rounds.values()):
            return
        progress = _Progress()
        async with asyncio.TaskGroup() as group:
            for place, one in rounds.items():
                group.create_task(self._steps(place, one.steps, progress))
            if weather.kill is not None:
                total = sum(len(one.steps) for one in rounds.values())
                group.create_task(self._kill(progress, int(total * weather.kill)))
        acts = {place: one.acts for place, one in rounds.items() if one.acts}
        if acts:
            self._set_mood("well")
            self._hearing.set_up(True)
            if await self._settled():
                await self._people(acts)

    def _set_mood(self, server: str) -> None:
        self._sandbox.faults.change(MOODS[server])

    async def _steps(self, place: int, steps: tuple[Step, ...], progress: _Progress) -> None:
        analyzers = [
            line.sender
            for (history, _), line in self._lines.items()
            if history == place and isinstance(line.sender, TwoWay | Hl7TwoWay)
        ]
        for step in steps:
            for analyzer in analyzers:
                analyzer.step = step.id
            await self._step(place, step)
            progress.note()

    async def _step(self, place: int, step: Step) -> None:
        if isinstance(step, Send):
            line = self._lines[place, step.channel]
            sent = retimed(step, self._times[place]) if self._batch.histories[place].has_orders else step
            sender = line.sender
            step_of = sender.step_of if isinstance(sender, Hl7TwoWay) and sender.is_law else None
            await line.sender.send(step.id, payload(sent, line.channel, place, step_of))
        elif isinstance(step, Ordering):
            lis = self._lines[place, step.channel].sender
            assert isinstance(lis, Lis)
            await lis.order(step.id, ordering(step, place))
        elif isinstance(step, Asking):
            line = self._lines[place, step.channel]
            assert isinstance(line.sender, TwoWay | Hl7TwoWay)
            question, tubes = asking(step, line.channel, place), tuple(here(tube, place) for tube in step.tubes)
            await line.sender.ask(step.id, question, tubes, cut=step.cut, acks=step.acks)
        else:
            names = [line.name for line in self._lines.values() if line.history == place]
            await self._processed(names)

    async def _processed(self, names: list[str]) -> None:
        while not await self._product.is_processed(names):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(LOOK_EVERY_S)

    async def _kill(self, progress: _Progress, after: int) -> None:
        await progress.reached(after)
        await self._product.kill()
        await self._product.start()

    async def _settled(self) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + QUIET_WITHIN_S
        while not await self._product.is_settled():
            if loop.time() > end:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    async def _people(self, acts: dict[int, tuple[Act, ...]]) -> None:
        newest = await self._product.newest()
        names = [line.name for line in self._lines.values() if line.history in acts]
        by_channel: dict[str, list[Json]] = defaultdict(list)
        for message in await self._product.messages(names):
            by_channel[message["channel"]].append(message)
        repaired = [place for place, some in acts.items() if any(act.act == "reprocess" for act in some)]
        if repaired:
            await self._product.repair(line.name for line in self._lines.values() if line.history in repaired)
        for place, some in acts.items():
            for act in some:
                if act.act == "reprocess":
                    continue
                if act.act == "answer":
                    await self._answer(place, by_channel, newest)
                    continue
                found = []
                for line, messages in self._channels(place, by_channel):
                    send_of = look.align(line.sender.tries, messages)
                    found += [one for one in messages if not act.of or send_of.get(one["id"]) in act.of]
                for number in await self._product.act(act, found):
                    self._acts[number].append((act.act, newest))
        await self._settled()

    async def _answer(self, place: int, by_channel: dict[str, list[Json]], newest: int) -> None:
        """Whose each message is that is held for its number, as the history knows."""
        sends = {send.id: send for send in self._batch.histories[place].sends}
        # By number, by channel where numbers are the channel's, and by order where a number alone names no person.
        bearer: dict[tuple[str, str, str], int] = {}
        rows = []
        for line, messages in self._channels(place, by_channel):
            send_of = look.align(line.sender.tries, messages)
            where = "shared" if line.channel.shared else line.name
            lasting = line.channel.numbers == "lasting"
            rows += [(one, sends[send_of[one["id"]]], where, lasting) for one in messages if one["id"] in send_of]
        for message, send, where, lasting in sorted(rows, key=lambda row: int(row[0]["id"])):
            group = send.groups[0]
            person = group.results[0].person
            of = (where, group.number, "" if lasting else group.order)
            if is_asked(message):
                said = "same" if bearer.get(of) == person else "other"
                if await self._product.answer(message["id"], said):
                    self._acts[message["id"]].append(("answer", newest))
            elif any(one["state"] == "delivered" for one in message["deliveries"]):
                bearer.setdefault(of, person)

    def _channels(self, place: int, by_channel: dict[str, list[Json]]) -> Iterator[tuple[_Line, list[Json]]]:
        """Those that bring results."""
        for (history, _), line in self._lines.items():
            if history == place and line.channel.protocol != "lis":
                yield line, by_channel.get(line.name, [])

    def ending(self, place: int, server: look.Server) -> Ending:
        history = self._batch.histories[place]
        messages: list[Json] = []
        send_of: dict[int, int] = {}
        answered: set[int] = set()
        for line, some in self._channels(place, self._messages):
            messages += some
            send_of |= look.align(line.sender.tries, some)
            answered |= {ident for ident, _, taken in line.sender.tries if taken}
        history = self._by_work_steps(place, history)
        rows = look.rows_of(sorted(messages, key=lambda one: int(one["id"])), send_of, self._acts)
        busy = any(
            row.state == "stored" or any(one.state in ("waiting", "sending") for one in row.deliveries) for row in rows
        )
        seen = server.seen(frozenset(answered), rows, quiet=self._quiet or not busy)
        faults = judge(history, seen)
        if history.has_orders:
            seen = replace(seen, orders=self._seen_orders(place))
            calm = all(one.kill is None for one in self._batch.weather)
            faults += orders_model.judge(history, seen, place, calm=calm)
        return Ending(history=history, seen=seen, faults=faults)

    def _by_work_steps(self, place: int, history: History) -> History:
        """The history as the analyzers of IHE LAW have told it: results of two work steps are of two orders."""

        def told(step: Step) -> Step:
            sender = self._lines[place, step.channel].sender if isinstance(step, Send) else None
            if not isinstance(step, Send) or not isinstance(sender, Hl7TwoWay) or not sender.is_law:
                return step
            return replace(step, groups=tuple(of_steps(group, sender) for group in step.groups))

        def of_steps(group: Group, sender: Hl7TwoWay) -> Group:
            steps = [sender.step_of(here(group.order, place), result) for result in group.results]
            results = [
                result if step == UNORDERED else replace(result, order=1_000 + int(step[1:]))
                for result, step in zip(group.results, steps, strict=True)
            ]
            return replace(group, results=tuple(results))

        rounds = [replace(one, steps=tuple(map(told, one.steps))) for one in history.rounds]
        return replace(history, rounds=tuple(rounds))

    def _seen_orders(self, place: int) -> SeenOrders:
        said: dict[int, tuple[str, ...]] = {}
        replies, news, told, log = {}, {}, {}, []
        asked: list[int] = []
        perhaps: list[int] = []
        unanswered: list[int] = []
        numbers = {line.name: number for (history, number), line in self._lines.items() if history == place}
        for name, number in numbers.items():
            sender = self._lines[place, number].sender
            if isinstance(sender, Lis):
                said |= sender.said
                told[number] = tuple(look.control_of(one) for one in self._messages.get(news_of(name), ()))
                news[number] = tuple(one for one in self._hearing.news if one.control in told[number])
            elif isinstance(sender, TwoWay | Hl7TwoWay):
                replies[number] = tuple(sender.replies)
                asked += [ident for ident, _, taken in sender.questions if taken]
                perhaps += [ident for ident, _, taken in sender.questions if not taken]
                unanswered += sender.unanswered
                asking_of = look.align(sender.questions, self._messages.get(name, ()))
                log += [
                    look.logged_of(one, asking_of[one["message"]])
                    for one in self._orders["questions"]
                    if one["channel"] == name and one["message"] in asking_of
                ]
        return SeenOrders(
            said=said, replies=replies, log=tuple(log), asked=tuple(asked), perhaps_asked=tuple(perhaps),
            unanswered=tuple(unanswered), news=news, told=told,
            items=tuple(look.kept_of(one) for one in self._orders["items"] if one["source"] in numbers),
        )  # fmt: skip
