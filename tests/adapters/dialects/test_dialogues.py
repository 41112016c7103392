"""Each dialogue of `tests.support.astm_dialogues`, byte for byte: question, answer, "none", download, cancel, fetch.

The same table is the oracle of the simulated analyzers, which share no code with what answers them.
"""

import re
from datetime import datetime
from pathlib import Path

import pytest

from adapters.codecs.astm import records
from adapters.codecs.astm.capture import text_of_capture
from adapters.codecs.astm.dialogue import AstmDialogue, dialogue
from adapters.codecs.astm.sender import frames_of
from engine.config import registry
from engine.model.message import FormatOptions, Parsed
from engine.model.orders import AnswerContext, Asked, ItemState, NoOrder, OrderLine, Question, Tube, WorkItem
from tests.support.astm_dialogues import CONTROL, NOW, SPOKEN, Spoken, message
from tests.support.astm_peer import sum_of
from tests.support.corpus import CORPUS
from workbench.simulator.asking import question as simulated_question
from workbench.simulator.asking import read_answer
from workbench.simulator.asking_forms import FORMS, GENERIC

CHECKOUT = Path(__file__).parents[3]
CONTEXT = AnswerContext(now=NOW, control_id=CONTROL)
of_each = pytest.mark.parametrize("spoken", SPOKEN, ids=lambda spoken: spoken.maker)


def read(payload: bytes) -> Parsed:
    return records.parse(payload, FormatOptions())


def talk(spoken: Spoken) -> AstmDialogue:
    found = dialogue(spoken.dialect)
    assert found is not None
    return found


def items(spoken: Spoken, action: str = "new") -> tuple[WorkItem, ...]:
    line = OrderLine(action=action, specimen=spoken.tube, **spoken.line)
    return tuple(
        WorkItem(number=number, line=line, state=ItemState.WAITING, code=code)
        for number, code in enumerate(spoken.tests, 1)
    )


def answered(spoken: Spoken, *, found: bool) -> bytes:
    parsed = read(message(spoken.asks))
    question = talk(spoken).question(parsed)
    assert question is not None
    asked = question.asked or (Asked(specimen=spoken.tube),)
    assert [one.specimen for one in asked] == [spoken.tube]
    tubes = [Tube(asked=one, items=items(spoken)) if found else Tube(asked=one, none=NoOrder.UNKNOWN) for one in asked]
    if question == Question(kind="all") and not found:
        tubes = []
    [reply] = talk(spoken).answer(parsed, question, tubes, CONTEXT)
    assert sorted(reply.items) == (list(range(1, len(spoken.tests) + 1)) if found else [])
    return reply.payload


@of_each
def test_orders_and_none_are_the_bytes_of_the_maker(spoken: Spoken) -> None:
    assert answered(spoken, found=True) == message(spoken.answer)
    assert answered(spoken, found=False) == message(spoken.none)


@of_each
def test_frames_have_the_makers_packing_and_right_sums(spoken: Spoken) -> None:
    sending = talk(spoken).sending
    frames = frames_of(message(spoken.answer), sending["frame_limit"], sending["pack"])
    for number, frame in enumerate(frames, 1):
        assert frame[1:2] == str(number % 8).encode()
        assert frame[-4:-2].decode() == sum_of(frame[1:-4])
    if spoken.wire:
        assert frames == list(spoken.wire)
    assert len(frames) == (1 if spoken.packed else len(spoken.answer))


@of_each
def test_orders_unasked_and_what_is_taken_back(spoken: Spoken) -> None:
    tube = Tube(asked=Asked(specimen=spoken.tube), items=items(spoken))
    taken_back = Tube(asked=Asked(specimen=spoken.tube), items=items(spoken, action="cancel"))
    if spoken.download:
        assert [reply.payload for reply in talk(spoken).download(tube, CONTEXT)] == [message(spoken.download)]
    if spoken.back:
        assert [reply.payload for reply in talk(spoken).download(taken_back, CONTEXT)] == [message(spoken.back)]
    assert talk(spoken).cancels is bool(spoken.back)


@of_each
def test_results_are_asked_for_where_a_source_says_how(spoken: Spoken) -> None:
    reply = talk(spoken).fetch(spoken.tube, "", NOW, CONTEXT)
    assert (None if reply is None else reply.payload) == (message(spoken.fetch) if spoken.fetch else None)


@of_each
def test_the_simulated_analyzer_asks_as_the_maker_and_reads_the_answer(spoken: Spoken) -> None:
    form = FORMS[spoken.dialect or GENERIC]
    asked = read(simulated_question(form, spoken.tube, datetime(2026, 11, 20, 10, 15)))
    question = talk(spoken).question(asked)
    assert question is not None
    assert [one.specimen for one in question.asked] == [spoken.tube]
    for found in (True, False):
        tubes = [Tube(asked=one, items=items(spoken) if found else ()) for one in question.asked]
        [reply] = talk(spoken).answer(asked, question, tubes, CONTEXT)
        assert read_answer(reply.payload, form, spoken.tube).codes == (spoken.tests if found else ())


CAPTURED = {  # file of the corpus -> dialect, tubes asked for; None: all
    "roche-e411-query-wire": ("roche-cobas-e411", ["0000000387"]),
    "roche-e411-query-unknown": ("roche-cobas-e411", [""]),
    "erba-em200-query": ("erba-em", ["010520182"]),
    "erba-em200-query-multi": ("erba-em", ["0000000406", "00001001"]),
    "cepheid-genexpert-queryall": ("cepheid-genexpert", None),
}


@pytest.mark.corpus
@pytest.mark.parametrize("name", CAPTURED)
def test_captured_questions_are_understood_and_answered(name: str) -> None:
    dialect, tubes = CAPTURED[name]
    [payload] = text_of_capture((CORPUS / "astm" / f"{name}.astm").read_bytes())
    parsed = read(payload)
    spoken = next(one for one in SPOKEN if one.dialect == dialect)
    question = talk(spoken).question(parsed)
    assert question is not None
    assert (None if question.kind == "all" else [one.specimen for one in question.asked]) == tubes
    of_tubes = [Tube(asked=one, items=items(spoken) if one.specimen else ()) for one in question.asked]
    replies = talk(spoken).answer(parsed, question, of_tubes, CONTEXT)
    assert len(replies) == len(tubes or [""])
    for tube, reply in zip(tubes or [""], replies, strict=True):
        assert (f"O|1|{tube}|".encode() in reply.payload) is bool(tube)
        assert [code.encode() in reply.payload for code in spoken.tests] == [bool(tube)] * len(spoken.tests)
    if tubes == [spoken.tube]:
        assert [reply.payload for reply in replies] == [message(spoken.answer)]


def test_every_dialect_that_asks_is_in_the_table() -> None:
    assert {one.dialect for one in SPOKEN} == {name for name in registry.dialects() if dialogue(name)} | {None}


def test_the_documents_say_who_judged_each_dialogue() -> None:
    text = (CHECKOUT / "docs" / "conformance.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ASTM: (.+?) \| (.+?) \|", text, re.MULTILINE))
    assert rows == {one.maker: one.judge for one in SPOKEN}
