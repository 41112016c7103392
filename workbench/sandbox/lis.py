"""A laboratory system that orders: over MLLP, with the answers that it gets. All of it is made up.

    LIS   ORM^O01 | OML^O21           (a new order, a cancel)
    host           ORR^O02 | ORL^O22

Each order is one test of one tube, with an order number of its own in ORC-2. What it sends is written from
HL7 v2.5.1, chapter 4, and not by the code that reads orders.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from engine.model.texts.units import HostPort

VT, END = b"\x0b", b"\x1c\r"
ANSWER_WITHIN_S = 30.0
OPEN_WITHIN_S = 10.0
ACTIONS = {"new": "NW", "cancel": "CA", "hold": "HD", "release": "RL"}
FAMILY, GIVEN = ("Rao", "Iyer", "Khan", "Das", "Nair"), ("Meera", "Arjun", "Fatima", "Ravi", "Divya")

MessageKind = Literal["ORM", "OML"]
Action = Literal["new", "cancel", "hold", "release"]


@dataclass(frozen=True, slots=True)
class LisOrder:
    """One test of one tube. ``number``: ORC-2. ``patient``: PID-3."""

    number: str
    tube: str
    test: str
    patient: str
    stat: bool = False


@dataclass(frozen=True, slots=True)
class OrderAnswer:
    """What the host says of a message.

    Attributes:
        code: MSA-1. orders: order number -> ORC-1 (``OK``, ``UA``, ``CR``, ``UC``).
    """

    code: str
    orders: dict[str, str] = field(default_factory=dict)


def message(kind: MessageKind, control: str, orders: Sequence[LisOrder], action: Action, at: datetime) -> bytes:
    """An order message for tests of one patient."""
    now = at.strftime("%Y%m%d%H%M%S")
    patient = orders[0].patient
    rng = random.Random(patient)
    name = f"{rng.choice(FAMILY)}^{rng.choice(GIVEN)}"
    structure = "ORM^O01^ORM_O01" if kind == "ORM" else "OML^O21^OML_O21"
    rows = [
        f"MSH|^~\\&|LIS|CITYLAB|LABRELAY|CITYLAB|{now}||{structure}|{control}|P|2.5.1",
        f"PID|1||{patient}^^^CITYLAB^MR||{name}||{rng.randrange(1940, 2015)}0102|{rng.choice('MF')}",
    ]
    for count, order in enumerate(orders, 1):
        priority = "S" if order.stat else "R"
        rows.append(f"ORC|{ACTIONS[action]}|{order.number}|||||||{now}")
        if kind == "OML":
            rows.append(f"TQ1|1||||||||{priority}")
        rows.append(f"OBR|{count}|{order.number}|{order.tube}|{order.test}" + "|" * 23 + f"^^^^^{priority}")
        if kind == "OML":
            rows.append(f"SPM|1|{order.tube}||SER^Serum^HL70487")
    return "".join(f"{row}\r" for row in rows).encode()


def read_answer(block: bytes) -> OrderAnswer:
    """MSA-1, and ORC-1 of each order. What is no answer has an empty code."""
    code, orders = "", {}
    for row in block.decode("utf-8", "replace").split("\r"):
        parts = row.split("|")
        if parts[0] == "MSA":
            code = parts[1] if len(parts) > 1 else ""
        elif parts[0] == "ORC" and len(parts) > 2:
            orders[parts[2].partition("^")[0]] = parts[1]
    return OrderAnswer(code, orders)


class Lis:
    """One connection to the host. ``counts``: messages and orders, and their answers by code."""

    def __init__(
        self, address: HostPort, kind: MessageKind = "OML", *, say: Callable[[str], None] | None = None
    ) -> None:
        self._address, self._kind = address, kind
        self._say = say or (lambda text: None)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._control = 0
        self.counts: Counter[str] = Counter()

    async def order(self, orders: Sequence[LisOrder], action: Action = "new", *, at: datetime) -> OrderAnswer:
        """Send one message, and wait for what becomes of its orders. A commit accept (CA) before it is passed over.

        Raises:
            OSError, TimeoutError: there is no line, or no answer.
        """
        self._control += 1
        control = f"LIS{at:%Y%m%d%H%M%S}-{self._control}"
        reader, writer = await self._open()
        writer.write(VT + message(self._kind, control, orders, action, at) + END)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = OrderAnswer("CA")
                while answer.code == "CA":
                    answer = read_answer((await reader.readuntil(END)).strip(VT + END))
        except (OSError, EOFError, TimeoutError):
            await self.close()
            raise
        self.counts["messages"] += 1
        self.counts[f"answered {answer.code or 'with what is no answer'}"] += 1
        for one in orders:
            said = answer.orders.get(one.number, "")
            self.counts[f"{action}: {said or 'not named'}"] += 1
            self._say(f"{action} {one.number} {one.tube} {one.test}: {answer.code} {said}".rstrip())
        return answer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            async with asyncio.timeout(OPEN_WITHIN_S):
                self._reader, self._writer = await asyncio.open_connection(self._address.host, self._address.port)
        return self._reader, self._writer

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None


class Ordering(Protocol):
    """How a laboratory system orders: over MLLP (`Lis`), or at its FHIR server (`fhir_lis`)."""

    async def order(self, orders: Sequence[LisOrder], action: Action = "new", *, at: datetime) -> OrderAnswer: ...


async def play(
    lis: Ordering,
    tests: Sequence[str],
    *,
    tubes: int,
    cancels: float,
    rate: float,
    seed: int,
    at: Callable[[], datetime] = datetime.now,
) -> None:
    """Order for so many tubes, one to all of ``tests`` each; of a share of them cancel one test.

    Args:
        tubes: 0: without end. rate: tubes a second; 0: as fast as they are answered.
    """
    rng = random.Random(seed)
    run = f"{seed % 1_000_000:06d}"
    count = 0
    while tubes == 0 or count < tubes:
        count += 1
        number = f"{run}{count:05d}"
        chosen = rng.sample(list(tests), rng.randrange(1, len(tests) + 1))
        orders = [
            LisOrder(f"LIS-{number}-{place}", number, test, f"SIM-{number}", stat=rng.random() < 0.1)
            for place, test in enumerate(chosen, 1)
        ]
        await lis.order(orders, at=at())
        if rng.random() < cancels:
            await lis.order([rng.choice(orders)], "cancel", at=at())
        if rate:
            await asyncio.sleep(1 / rate)
