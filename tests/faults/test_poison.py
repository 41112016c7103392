"""T11: messages that cannot be read, mapped or delivered are dead at once, and those behind them do not notice."""

import asyncio
import random
from pathlib import Path

import pytest

from engine.model.errors import RefusedDeliveryError
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.letters import dead_letters
from tests.faults.harness.trial import Trial
from tests.support.plant import plant
from tests.support.running import hl7_channel, running_site
from tests.support.senders import lines, send_blocks
from workbench.bench.messages import oru

HEADER = b"MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|%s|P|2.5\r"
# What the mapping of results gets to see, and cannot make a document of.
POISON = {
    "not HL7": b"GET / HTTP/1.1",
    "a header cut off": b"MSH|^~",
    "a header and nothing else": HEADER % b"P1",
    "no bytes of any text": HEADER % b"P2" + bytes(range(128, 256)) * 20 + b"\r",
    "100,000 segments": HEADER % b"P3" + b"OBX|1|NM|^^^|\r" * 100_000,
    "100,000 repetitions": HEADER % b"P4" + b"PID|1||" + b"1~" * 100_000 + b"\r",
    "100,000 components": HEADER % b"P5" + b"PID|1||" + b"1^" * 100_000 + b"\r",
    "escapes that open and never close": HEADER % b"P6" + b"OBX|1|ST|C^N^L||" + b"\\H\\.\\X4" * 30_000 + b"\r",
    "a number of a megabyte": HEADER % b"P7" + b"OBX|1|NM|C^N^L||" + b"9" * 1_000_000 + b"|mg/dL|||||F\r",
}

ENDS = {reason.value for reason in ReasonCode} | {"filtered", "delivered"}


async def test_what_cannot_be_mapped_is_dead_and_the_next_message_is_delivered(tmp_path: Path, trial: Trial) -> None:
    loop = asyncio.get_running_loop()
    slowest_ms, dead = 0.0, 0
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        for turn in trial.rounds(quick=1, long=10, unit="rounds of poison"):
            for number, (what, poison) in enumerate(POISON.items(), 1 + turn * len(POISON)):
                good = oru(0, number, random.Random(number))
                before = site.messages()
                began = loop.time()
                answers = await send_blocks(site.port("chem"), [poison, good])
                await site.settled()
                slowest_ms = max(slowest_ms, (loop.time() - began) * 1000)
                assert lines(answers[-1])["MSA"][1] == "AA", what
                taken = site.messages()[len(before) :]
                ends = [site.end_of(message.id) for message in taken]
                assert ends[-1] == "delivered", (what, ends)
                # Kept and accounted for, whatever could be made of it.
                assert all(end in ENDS for end in ends[:-1]), (what, ends)
                dead += sum(end not in ("delivered", "filtered", ReasonCode.REPEAT.value) for end in ends[:-1])
    assert dead >= 3
    trial.figures(slowest_ms=round(slowest_ms), dead=dead)


@pytest.mark.promise("P7")
async def test_a_fault_of_ours_a_refusal_and_a_dead_end_cost_one_message_each(tmp_path: Path) -> None:
    """A mapping that falls over, one that gives up, a destination that answers 422."""
    async with plant(tmp_path) as site:
        taker = await site.destination("fhir")
        taker.script = lambda channel, body, attempt: (
            RefusedDeliveryError(ReasonCode.REFUSED, "422") if body.startswith("refused") else None
        )
        site.channel("chem", "fhir")
        await site.send("chem", "1", "!falls over", "2", "~gives up", "3", "refused", "4")
        await site.settle()
        assert taker.of("chem") == ["1", "2", "3", "4"]
        letters = {letter.message_id: letter.reason for letter in dead_letters(site.journal)}
        assert letters == {2: "MAPPING_FAULT", 4: "UNMAPPED_CODE", 6: "REFUSED"}
        assert sum(taker.attempts.values()) == 5  # a refusal is an answer: it is not tried again
