"""Any text of an order comes back unchanged through our own reader, or is not sent; none of it becomes a record."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.astm import records
from adapters.codecs.astm.dialogue import AstmDialogue
from adapters.codecs.astm.habits import GENERIC, Habits
from adapters.codecs.astm.orders import escaped
from adapters.codecs.astm.sender import frames_of
from adapters.codecs.astm.text import components, repetitions, unescape
from engine.model.errors import ContentError
from engine.model.message import Delimiters, FormatOptions
from engine.model.orders import AnswerContext, Asked, ItemState, OrderedPatient, OrderLine, Tube, WorkItem
from tests.support.examples import examples

CONTEXT = AnswerContext(now="20261120101500", control_id="W7", demographics=True)
texts = st.text(st.sampled_from("|\\^&`@~FRSEX0dD \r\n\t\x02\x7fAé漢S{}n1"), max_size=12) | st.text(max_size=12)
signs = st.sampled_from(["|\\^&", "|`^&", "|@^\\", "!~$%", "|\\^"])


@settings(max_examples=examples(300))
@given(texts, texts, texts, st.lists(texts, max_size=4), signs, st.sampled_from(["utf-8", "latin-1", "cp1252"]))
def test_any_text_comes_back_or_is_not_sent(
    specimen: str, family: str, given_name: str, codes: list[str], delimiters: str, charset: str
) -> None:
    patient = OrderedPatient(number=specimen, family=family, given=given_name, birth_date=family, sex="F")
    line = OrderLine(patient=patient, specimen_type=given_name)
    items = tuple(
        WorkItem(number=number, line=line, state=ItemState.WAITING, code=code) for number, code in enumerate(codes, 1)
    )
    dialogue = AstmDialogue(Habits(delimiters=delimiters))
    context = AnswerContext(
        now=CONTEXT.now, control_id="W7", demographics=True, settings=(("charset", charset),), host=family
    )
    replies = dialogue.download(Tube(asked=Asked(specimen=specimen), items=items), context)
    if not replies:
        return
    [reply] = replies
    frames_of(reply.payload)
    parsed = records.parse(reply.payload, FormatOptions(charsets=(charset,)))
    assert [one.name for one in parsed.segments] == ["H", "P", "O", "L"]
    _, sent_patient, order, _ = parsed.segments
    fields = [unescape(text, parsed.delimiters) for text in order.fields]
    assert fields[3] == specimen
    sent = [components(one, parsed.delimiters) for one in repetitions(order.fields[5], parsed.delimiters)]
    assert [len(parts) for parts in sent] == [4] * len(sent)
    by_number = {item.number: item.code for item in items}
    codes_sent = dict.fromkeys(by_number[number] for number in reply.items)
    assert [unescape(parts[3], parsed.delimiters) for parts in sent] == list(codes_sent)
    assert (fields[16] if len(fields) > 16 else "") in ("", given_name)
    names = components(sent_patient.fields[6], parsed.delimiters) if len(sent_patient.fields) > 6 else []
    said = [unescape(name, parsed.delimiters) for name in names]
    assert said in ([], [""]) or [*said, ""][:2] == [family, given_name]


@given(texts, signs, st.sampled_from(["utf-8", "ascii", "shift_jis"]))
def test_an_escaped_text_is_read_as_it_was(text: str, sign: str, charset: str) -> None:
    delimiters = Delimiters(field=sign[0], repetition=sign[1], component=sign[2], escape=sign[3:], subcomponent="")
    made = escaped(text, delimiters, charset)
    if made is not None:
        assert unescape(made, delimiters) == text
        assert not set(made) & set(sign[:3])


@pytest.mark.parametrize("name", ["Doe\rO|2|OTHER||^^^K", "Doe\nL|1|N", "Doe\x03", "Doe\x85"])
def test_a_name_cannot_bring_a_record(name: str) -> None:
    line = OrderLine(patient=OrderedPatient(family=name, given="Jane"))
    item = WorkItem(number=1, line=line, state=ItemState.WAITING, code="GLU")
    [reply] = AstmDialogue(GENERIC).download(Tube(asked=Asked(specimen="S1"), items=(item,)), CONTEXT)
    assert reply.payload.split(b"\r")[1] == b"P|1"
    assert b"Jane" not in reply.payload


@pytest.mark.parametrize(
    ("charset", "name"),
    [("gb18030", "王‐"), ("big5", "αβ"), ("shift_jis", "ソ"), ("utf-16", "Rao"), ("ascii", "Müller")],
)
def test_no_byte_of_a_name_is_a_delimiter_or_a_control_character(charset: str, name: str) -> None:
    assert escaped(name, Delimiters(field="|", repetition="\\", component="^", escape="&"), charset) is None
    assert escaped("王" if charset.startswith("gb") else "A", Delimiters(), "gb18030")


@settings(max_examples=examples(200))
@given(st.lists(st.text(max_size=15), min_size=1, max_size=14), signs, st.sampled_from([2, 3]), st.booleans())
def test_whatever_a_question_holds_each_specimen_gets_an_answer_that_can_be_read(
    fields: list[str], sign: str, asks_at: int, found: bool
) -> None:
    payload = sign[0].join([f"H{sign}", "", "", *fields[:4]]) + "\r" + sign[0].join(["Q", "1", *fields]) + "\rL|1\r"
    try:
        parsed = records.parse(payload.encode("utf-8", "replace"), FormatOptions())
    except ContentError:
        return
    for none in ("end", "order", "question"):
        for specimen in ("number", "whole", "instrument"):
            dialogue = AstmDialogue(
                Habits(asks_at=asks_at, none=none, specimen=specimen, keeps=asks_at + 1, version=True)
            )
            question = dialogue.question(parsed)
            if question is None or question.kind == "cancel":
                continue
            item = WorkItem(number=1, line=OrderLine(), state=ItemState.WAITING, code="GLU")
            tubes = [Tube(asked=asked, items=(item,) if found else ()) for asked in question.asked]
            replies = dialogue.answer(parsed, question, tubes, CONTEXT)
            assert replies
            for reply in replies:
                frames_of(reply.payload)
                again = records.parse(reply.payload, FormatOptions(charsets=(parsed.charset,)))
                names = [one.name for one in again.segments]
                assert names[0] == "H"
                assert names[-1] == "L"
                assert set(names[1:-1]) <= {"P", "O", "Q"}


@pytest.mark.parametrize(
    ("text", "escape", "charset", "made"),
    [
        ("a|b", "&", "utf-8", "a&F&b"),
        ("a|b", "", "utf-8", None),
        ("ab", "", "utf-8", "ab"),
        ("Müller", "&", "ascii", None),
    ],
)
def test_a_text_is_written_so_that_it_can_be_read_or_not_at_all(
    text: str, escape: str, charset: str, made: str | None
) -> None:
    delimiters = Delimiters(field="|", repetition="\\", component="^", escape=escape, subcomponent="")
    assert escaped(text, delimiters, charset) == made


def test_a_specimen_number_that_no_record_can_hold_is_not_sent() -> None:
    item = WorkItem(number=1, line=OrderLine(specimen="1\r2"), state=ItemState.WAITING, code="GLU")
    assert AstmDialogue(GENERIC).download(Tube(asked=Asked(specimen="1\r2"), items=(item,)), CONTEXT) == []


def test_a_question_that_cannot_be_repeated_gets_no_order_under_an_empty_number() -> None:
    parsed = records.parse(b"H|\\^&|||A\rQ|1|^1001^\t||ALL||||||||O\rL|1|N\r", FormatOptions())
    dialogue = AstmDialogue(GENERIC)
    question = dialogue.question(parsed)
    assert question is not None
    [asked] = question.asked
    line = OrderLine(specimen=asked.specimen)
    item = WorkItem(number=1, line=line, state=ItemState.WAITING, code="GLU")
    replies = dialogue.answer(parsed, question, [Tube(asked=asked, items=(item,))], CONTEXT)
    assert not any(reply.items or b"GLU" in reply.payload for reply in replies)
