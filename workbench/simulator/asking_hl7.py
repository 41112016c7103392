"""How analyzers ask for orders over HL7 v2, how they take and confirm them, and how they then send their results.

    Mindray BS    QRY^Q02 -> QCK^Q02, DSR^Q03 -> ACK^Q03                results ORU^R01, one for each test
    Mindray BC    ORM^O01 with ORC-1 RF -> ORR^O02                      ORU^R01
    GeneXpert     QBP^Z03 -> RSP^Z02, then SSU^U03, or ORU^R32 refuses  ORU^R32
    IHE LAW       QBP^Q11 -> RSP^K11, OML^O33 -> ORL^O34                OUL^R22 with the work steps (AWOS)

It is the analyzer's side, written from the makers' examples and not from the code that answers
(`adapters.codecs.hl7v2.dialogues`): the two must fit each other.
"""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from workbench.errors import WrongAnswerError
from workbench.simulator.asking_forms import Told
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.mllp import END, MAX_ANSWER, VT
from workbench.simulator.wires import Wire

WITHIN_S, BC_WITHIN_S = 10.0, 2.0  # how long the analyzer waits for an answer
Rows = list[list[str]]


class Blocks:
    """Messages over MLLP on one wire, as rows of fields: ``row[3]`` is field 3, also of MSH."""

    def __init__(self, wire: Wire, dialogue: Dialogue) -> None:
        self.wire = wire
        self._talk = dialogue
        self._buffer = b""

    async def say(self, *lines: str) -> None:
        """Raises: OSError, TimeoutError: there is no line."""
        if not self.wire.is_open:
            self._buffer = b""
            await self.wire.open()
        block = VT + "".join(f"{line}\r" for line in lines).encode() + END
        self._talk.sent(block)
        self._talk.tally.frames += 1
        await self.wire.write([block])

    async def hear(self, within_s: float) -> Rows | None:
        """The next message; None: there is none in time. Raises: OSError, TimeoutError: there is no line."""
        if not self.wire.is_open:
            self._buffer = b""
            await self.wire.open()
        clock = asyncio.get_running_loop().time
        due = clock() + within_s
        while END not in self._buffer:
            if len(self._buffer) > MAX_ANSWER:
                raise ConnectionError("a message without an end")
            try:
                self._buffer += await self.wire.read(max(0.0, due - clock()))
            except TimeoutError:
                return None
        content, _, self._buffer = self._buffer.partition(END)
        self._talk.came(content + END)
        if content[:1] != VT:
            raise WrongAnswerError("a message without its VT")
        rows = [line.split("|") for line in content[1:].decode("utf-8", "replace").split("\r") if line]
        return [["MSH", "|", *row[1:]] if row[0] == "MSH" else row for row in rows]


def get(row: Sequence[str], number: int) -> str:
    return row[number] if len(row) > number else ""


def of(rows: Rows, name: str) -> Rows:
    return [row for row in rows if row[0] == name]


def one(rows: Rows, name: str) -> list[str]:
    """Raises: WrongAnswerError: there is none, or several."""
    found = of(rows, name)
    if len(found) != 1:
        raise WrongAnswerError(f"it has {len(found)} segments {name}, where one is due")
    return found[0]


def due(said: str, wanted: str, what: str) -> None:
    if said != wanted:
        raise WrongAnswerError(f"{what} is '{said}'; due is '{wanted}'")


class Way(Protocol):
    """How one kind of analyzer asks."""

    async def put(self, tube: str, at: datetime) -> None:
        """Ask for a tube. Raises: OSError, TimeoutError: there is no line."""

    async def hear(self, tube: str) -> Told | None:
        """Take the answer, and confirm it; None: it does not come in time.

        Raises:
            WrongAnswerError: it is not as the maker wants it. OSError: the line broke.
        """

    def results(self, tube: str, told: Told, at: datetime) -> list[bytes]:
        """Results of exactly these tests."""


class _Way:
    """What the ways have in common.

    Attributes:
        refuses: codes of tests that the analyzer refuses.
    """

    def __init__(
        self, blocks: Blocks, rng: random.Random, units: Mapping[str, str], refuses: Collection[str] = ()
    ) -> None:
        self._blocks = blocks
        self._rng = rng
        self._units = units
        self._refuses = frozenset(refuses)
        self._number = rng.randrange(10_000, 90_000)
        self._asked = self._time = ""

    def _head(self, kind: str, at: str, version: str, more: str, number: str = "", maker: str = "SIM|Analyzer") -> str:
        if not number:
            self._number += 1
            number = str(self._number)
        return f"MSH|^~\\&|{maker}|||{at}||{kind}|{number}|P|{version}{more}"

    def _begin(self, at: datetime) -> str:
        self._number += 1
        self._asked, self._time = str(self._number), at.strftime("%Y%m%d%H%M%S")
        return self._time

    def _answer(self, rows: Rows, kind: str) -> None:
        """Check MSH-9 and MSA-2 of the answer to the question."""
        due("^".join(get(rows[0], 9).split("^")[:2]), kind, "MSH-9")
        due(get(one(rows, "MSA"), 2), self._asked, "MSA-2")

    def _value(self) -> str:
        return f"{self._rng.uniform(1, 9):.2f}"

    @staticmethod
    def _told(codes: Sequence[str]) -> Told:
        if "" in codes or len(set(codes)) < len(codes):
            raise WrongAnswerError(f"a test is empty or comes twice: {', '.join(codes)}")
        return Told(tuple(codes))


class MindrayBs(_Way):
    async def put(self, tube: str, at: datetime) -> None:
        now = self._begin(at)
        await self._blocks.say(
            self._head("QRY^Q02", now, "2.3.1", "||||||ASCII|||", self._asked, "Mindray|BS-200E"),
            f"QRD|{now}|R|D|{self._asked}|||RD|{tube}|OTH|||T|",
            f"QRF|BS-200E|{now}|{now}|||RCT|COR|ALL||",
        )

    async def hear(self, tube: str) -> Told | None:
        check = await self._blocks.hear(WITHIN_S)
        if check is None:
            return None
        self._answer(check, "QCK^Q02")
        if get(one(check, "QAK"), 2) == "NF":
            return Told(())
        due(get(one(check, "QAK"), 2), "OK", "QAK-2")
        display = await self._blocks.hear(WITHIN_S)
        if display is None:
            return None
        self._answer(display, "DSR^Q03")
        lines = of(display, "DSP")
        due(" ".join(get(row, 1) for row in lines), " ".join(map(str, range(1, len(lines) + 1))), "DSP-1 of all lines")
        due(get(lines[20], 3) if len(lines) > 20 else "", tube, "DSP 21")
        due(get(one(display, "DSC"), 1), "", "DSC-1")
        codes = [get(row, 3).split("^")[0] for row in lines[28:]]
        refused = not self._refuses.isdisjoint(codes)
        code, words, number = ("AR", "test not known", "101") if refused else ("AA", "Message accepted", "0")
        await self._blocks.say(
            self._head("ACK^Q03", self._time, "2.3.1", "||||||ASCII|||", maker="Mindray|BS-200E"),
            f"MSA|{code}|{get(display[0], 10)}|{words}|||{number}|",
            "ERR|0|",
        )
        return Told(()) if refused else self._told(codes)

    def results(self, tube: str, told: Told, at: datetime) -> list[bytes]:
        now = at.strftime("%Y%m%d%H%M%S")
        made = []
        for code in told.codes:
            head = self._head("ORU^R01", now, "2.3.1", "||||0||ASCII|||", maker="Mindray|BS-200E")
            unit = self._units.get(code, "")
            lines = (
                head,
                "PID|1|||||||O",
                f"OBR|1|{tube}|{self._number}|Mindray^BS-200E|N||{now}||||||||serum",
                f"OBX|1|NM|{code}||{self._value()}|{unit}|||||F|||{now}",
            )
            made.append("".join(f"{line}\r" for line in lines).encode())
        return made


class MindrayBc(_Way):
    async def put(self, tube: str, at: datetime) -> None:
        now = self._begin(at)
        head = self._head("ORM^O01", now, "2.3.1", "||||||UNICODE", self._asked, "BC-5380|Mindray")
        await self._blocks.say(head, f"ORC|RF||{tube}||IP")

    async def hear(self, tube: str) -> Told | None:
        answer = await self._blocks.hear(BC_WITHIN_S)
        if answer is None:
            return None
        self._answer(answer, "ORR^O02")
        if get(one(answer, "MSA"), 1) == "AR":
            due(" ".join(row[0] for row in answer), "MSH MSA", "the answer without an order")
            return Told(())
        due(get(one(answer, "MSA"), 1), "AA", "MSA-1")
        due(get(one(answer, "ORC"), 2), tube, "ORC-2")
        due(get(one(answer, "OBR"), 2), tube, "OBR-2")
        modes = [get(row, 5) for row in of(answer, "OBX") if get(row, 3).startswith("08003^")]
        if len(modes) != 1:
            raise WrongAnswerError(f"it has {len(modes)} test modes (08003), where one is due")
        return self._told(modes)

    def results(self, tube: str, told: Told, at: datetime) -> list[bytes]:
        now = at.strftime("%Y%m%d%H%M%S")
        lines = [
            self._head("ORU^R01", now, "2.3.1", "||||||UNICODE", maker="BC-5380|Mindray"),
            "PID|1||||^",
            f"OBR|1||{tube}|00001^Automated Count^99MRC||{now}|{now}|||||||||||||||||HM",
            f"OBX|1|IS|08003^Test Mode^99MRC||{told.codes[0]}||||||F",
            f"OBX|2|NM|6690-2^WBC^LN||{self._value()}|10*9/L|||||F",
            f"OBX|3|NM|718-7^HGB^LN||{self._rng.uniform(11, 16):.1f}|g/dL|||||F",
        ]
        return ["".join(f"{line}\r" for line in lines).encode()]


class GeneXpert(_Way):
    async def put(self, tube: str, at: datetime) -> None:
        self._begin(at)
        head = self._header("QBP^Z03^QBP_Z03", self._asked)
        await self._blocks.say(head, f"QPD|Z03^HOST QUERY|{self._asked}||{tube}", "RCP|I")

    def _header(self, kind: str, number: str = "", more: str = "") -> str:
        if not number:
            self._number += 1
            number = str(self._number)
        return f"MSH|^~\\&|GeneXpert PC^GeneXpert^6.2||LIS||{self._time}||{kind}|{number}|P|2.5{more}"

    async def hear(self, tube: str) -> Told | None:
        answer = await self._blocks.hear(WITHIN_S)
        if answer is None:
            return None
        self._answer(answer, "RSP^Z02")
        due(get(one(answer, "MSA"), 1), "AA", "MSA-1")
        due("|".join(one(answer, "QAK")[1:4]), f"{self._asked}|OK|Z03^HOST QUERY", "QAK")
        due("|".join(one(answer, "QPD")), f"QPD|Z03^HOST QUERY|{self._asked}||{tube}", "QPD")
        if not of(answer, "OBR"):
            due(" ".join(row[0] for row in answer), "MSH MSA QAK QPD", "the answer without an order")
            return Told(())
        due(get(answer[4], 0), "PID", "the segment behind QPD")
        groups = [row[0] for row in answer[4:] if row[0] != "PID"]
        due(" ".join(groups), " ".join(["ORC OBR TQ1 SPM"] * len(of(answer, "OBR"))), "the sequence of an order")
        for row in of(answer, "SPM"):
            due(get(row, 2), f"{tube}^", "SPM-2")
        told = self._told([get(row, 4) for row in of(answer, "OBR")])
        refused = [code for code in told.codes if code in self._refuses]
        more = "|||AL|NE"
        if refused:
            lines = [self._header("ORU^R32^ORU_R30", more=more), f"PID|1||{get(answer[4], 3)}"]
            for at, code in enumerate(refused, 1):
                lines += [f"ORC|OC|{at}", f"OBR|{at}|||{code}{'|' * 21}X", f"NTE|{at}|L|Error^unknown^assay not known"]
                lines += [f"TQ1|{'|' * 8}R", f"SPM|{at}|{tube}^||ORH|||||||P"]
            await self._tell(lines)
        if len(refused) < len(told.codes):
            head = self._header("SSU^U03^SSU_U03", more=more)
            await self._tell([head, f"EQU|N/D|{self._time}", "SAC|N/D", f"SPM|1|{tube}^{self._asked}||ORH|||||||P"])
        return Told(tuple(code for code in told.codes if code not in refused))

    async def _tell(self, lines: list[str]) -> None:
        """A message that the host acknowledges with CA."""
        number = lines[0].split("|")[9]
        await self._blocks.say(*lines)
        answer = await self._blocks.hear(WITHIN_S)
        if answer is None:
            raise WrongAnswerError(f"no acknowledgement of message {number}")
        due("|".join(one(answer, "MSA")[1:3]), f"CA|{number}", "MSA")

    def results(self, tube: str, told: Told, at: datetime) -> list[bytes]:
        self._time = at.strftime("%Y%m%d%H%M%S")
        lines = [self._header("ORU^R32^ORU_R30"), "PID|1||"]
        for number, code in enumerate(told.codes, 1):
            lines += [
                f"ORC|RE|{number}|||||||{self._time}",
                f"OBR|{number}|||{code}{'|' * 21}F",
                f"TQ1|||||||{self._time}|{self._time}|R",
                f"OBX|1|ST|{code}&{code}&{code} assay&1||NOT DETECTED^||||||F",
                f"SPM|{number}|{tube}^||ORH|||||||P",
            ]
        return ["".join(f"{line}\r" for line in lines).encode()]


class Law(_Way):
    """``orders``: where orders come; the line of the question, or one that the host opens."""

    def __init__(
        self,
        blocks: Blocks,
        rng: random.Random,
        units: Mapping[str, str],
        refuses: Collection[str] = (),
        orders: Blocks | None = None,
    ) -> None:
        super().__init__(blocks, rng, units, refuses)
        self._orders = orders or blocks
        self._has: dict[str, str] = {}  # work step -> its tube
        self._measured: set[str] = set()

    async def put(self, tube: str, at: datetime) -> None:
        now = self._begin(at)
        await self._blocks.say(
            self._law_head("QBP^Q11^QBP_Q11", now, "LAB-27", self._asked, "NE|AL"),
            f"QPD|WOS^Work Order Step^IHE_LABTF|{self._asked}|{tube}",
            "RCP|I||R",
        )

    def _law_head(self, kind: str, at: str, profile: str, number: str = "", accept: str = "|") -> str:
        head = self._head(kind, at, "2.5.1", f"|||{accept}||UNICODE UTF-8|||{profile}^IHE", number, "SIM|Analyzer")
        return head.replace("|||" + at, "|Host||" + at, 1)

    async def hear(self, tube: str) -> Told | None:
        answer = await self._blocks.hear(WITHIN_S)
        while answer is not None and get(answer[0], 9).startswith("OML") and self._orders is self._blocks:
            if await self._take(answer, tube) is not None:
                raise WrongAnswerError("orders come before the response RSP^K11")
            answer = await self._blocks.hear(WITHIN_S)
        if answer is None:
            return None
        self._answer(answer, "RSP^K11")
        due(" ".join(row[0] for row in answer), "MSH MSA QAK QPD", "RSP^K11")
        due("|".join(one(answer, "QAK")[1:3]), f"{self._asked}|OK", "QAK")
        due("|".join(one(answer, "QPD")), f"QPD|WOS^Work Order Step^IHE_LABTF|{self._asked}|{tube}", "QPD")
        while (order := await self._orders.hear(WITHIN_S)) is not None:
            due(get(order[0], 9).split("_")[0], "OML^O33^OML", "MSH-9")
            if (told := await self._take(order, tube)) is not None:
                return told
        return None

    async def _take(self, order: Rows, tube: str) -> Told | None:
        """Answer an OML^O33; None: it takes orders back, and the answer for the tube is still to come."""
        hows = [get(row, 1) for row in of(order, "ORC")]
        if hows == ["DC"]:
            due(get(one(order, "SAC"), 3), tube, "SAC-3")
            due(" ".join(row[0] for row in order), "MSH SPM SAC ORC", "the answer without work")
            await self._say_orl(order, [], [])
            return Told(())
        steps = [get(row, 2) for row in of(order, "OBR")]
        if hows == ["CA"] * len(steps):
            said = ["UC" if step in self._measured else "CR" for step in steps]
            for step in steps:
                self._has.pop(step, None)
            await self._say_orl(order, steps, said)
            return None
        due(get(one(order, "SAC"), 3), tube, "SAC-3")
        due(" ".join(hows), " ".join(["NW"] * len(steps)), "ORC-1")
        codes = [get(row, 4).split("^")[0] for row in of(order, "OBR")]
        if "" in steps or len(set(steps)) < len(steps):
            raise WrongAnswerError(f"a work step is empty or comes twice: {', '.join(steps)}")
        said = []
        for step, code in zip(steps, codes, strict=True):
            known = step in self._has or step in self._measured
            said.append("UA" if known or code in self._refuses else "OK")
            if not known and code not in self._refuses:
                self._has[step] = tube
        await self._say_orl(order, steps, said)
        runs = [(code, step) for step, code in zip(steps, codes, strict=True) if step in self._has]
        return Told(tuple(code for code, _ in runs), steps=tuple(step for _, step in runs))

    async def _say_orl(self, order: Rows, steps: Sequence[str], said: Sequence[str]) -> None:
        head = self._law_head("ORL^O34^ORL_O42", self._time, "LAB-28")
        lines = [head, f"MSA|AA|{get(order[0], 10)}"]
        if steps:
            lines += ["|".join(row) for row in order if row[0] in ("SPM", "SAC")]
        for step, how in zip(steps, said, strict=True):
            lines.append(f"ORC|{how}|{step}|||{'SC' if how == 'OK' else 'CA'}")
        await self._orders.say(*lines)

    def results(self, tube: str, told: Told, at: datetime) -> list[bytes]:
        now = at.strftime("%Y%m%d%H%M%S")
        head = self._law_head("OUL^R22^OUL_R22", now, "LAB-29", accept="NE|AL")
        lines = [head, f"SPM|1|{tube}|||||||||P^^HL70369", f"SAC|||{tube}"]
        for number, (step, code) in enumerate(zip(told.steps, told.codes, strict=True), 1):
            unit = self._units.get(code, "")
            lines += [f"OBR|{number}|{step}||{code}", "ORC|SC||||CM"]
            lines.append(f"OBX|1|NM|{code}||{self._value()}|{unit}|||||F|||||||||{now}")
            self._has.pop(step, None)
            self._measured.add(step)
        return ["".join(f"{line}\r" for line in lines).encode()]


LAW = "ihe-law"  # the name of an analyzer that asks as IHE LAW has it
WAYS: Mapping[str, type[MindrayBs | MindrayBc | GeneXpert | Law]] = {
    LAW: Law,
    "cepheid-genexpert-hl7": GeneXpert,
    "mindray-bc5380": MindrayBc,
    "mindray-bs": MindrayBs,
    "roche-cobas-6800": Law,
    "roche-cobas-pro": Law,
}
"""By dialect, or where an analyzer has none by its pack."""
