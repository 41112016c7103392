r"""How each maker's analyzers ask for orders, byte by byte, and how they are answered.

The makers' examples, captures and public drivers that the dialects name are the oracle: the frames, with their sums,
stand here as they were printed. What each maker's analyzer says and gets, in a table: `test_dialogues`.
"""

import pytest

from adapters.codecs.astm import records
from adapters.codecs.astm.dialogue import AstmDialogue, dialogue
from adapters.codecs.astm.sender import frames_of
from engine.config import registry
from engine.model.message import FormatOptions, Parsed
from engine.model.orders import AnswerContext, Asked, ItemState, OrderedPatient, OrderLine, Question, Tube, WorkItem
from tests.support.astm_peer import read_session, session

NOW = "20261120101500"
CONTEXT = AnswerContext(now=NOW, control_id="W7", host="LabRelay")
ASKS = {
    "abbott-architect-astm",
    "beckman-access",
    "cepheid-genexpert",
    "erba-em",
    "horiba-pentra-400",
    "mindray-bs-astm",
    "roche-cobas-c111",
    "roche-cobas-c311",
    "roche-cobas-e411",
    "sysmex",
}


def message(*lines: str) -> bytes:
    return "".join(f"{line}\r" for line in lines).encode()


def read(payload: bytes) -> Parsed:
    return records.parse(payload, FormatOptions())


def talk(dialect: str | None) -> AstmDialogue:
    found = dialogue(dialect)
    assert found is not None
    return found


def items(*codes: str, first: int = 1, run: int = 1, **line: object) -> tuple[WorkItem, ...]:
    return tuple(
        WorkItem(number=number, line=OrderLine(**line), state=ItemState.WAITING, code=code, run=run)
        for number, code in enumerate(codes, first)
    )


def answers(
    dialect: str | None, payload: bytes, *tubes: tuple[WorkItem, ...], context: AnswerContext = CONTEXT
) -> list:
    """The payloads that answer a question; its specimens have these items, in order."""
    parsed = read(payload)
    speaks = talk(dialect)
    question = speaks.question(parsed)
    assert question is not None
    assert len(tubes) == len(question.asked)
    found = [Tube(asked=asked, items=items) for asked, items in zip(question.asked, tubes, strict=True)]
    return [reply.payload for reply in speaks.answer(parsed, question, found, context)]


def asked_by(dialect: str | None, payload: bytes) -> list[str]:
    question = talk(dialect).question(read(payload))
    assert question is not None
    return [asked.specimen for asked in question.asked]


def test_these_dialects_ask_and_all_others_send_results_only() -> None:
    assert {name for name in registry.dialects() if dialogue(name) is not None} == ASKS
    assert dialogue("siemens-dca-vantage") is None


# -- Roche ---------------------------------------------------------------------------------------------------------

E411_ASKS = (
    b"\x05\x021H|\\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1\r"
    b"Q|1|^^0000000387^587^0^2^^S1^SC||ALL||||||||A\rL|1|N\r\x0393\r\n\x04"
)


@pytest.mark.parametrize(
    ("dialect", "code", "ordered"),
    [
        ("roche-cobas-e411", "8/1/not", b"|^^^8^1|"),
        ("roche-cobas-c311", "685/", b"|^^^685^|"),
        ("roche-cobas-c311", "685", b"|^^^685^|"),
        ("horiba-pentra-400", "A/G", b"|^^^A/G^|"),
    ],
)
def test_a_code_as_results_have_it_is_ordered_without_its_dilution(dialect: str, code: str, ordered: bytes) -> None:
    """The table of results read backwards has such codes; the analyzer stops at a test that it does not know."""
    [answer] = answers(dialect, read_session(E411_ASKS), items(code, specimen_type="SER"))
    assert ordered in answer


def test_roche_without_orders_gets_the_order_without_tests() -> None:
    asks = message("H|\\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1", "Q|1|^^@192^192^0^5^^S1^SC||ALL||||||||A", "L|1|N")
    assert asked_by("roche-cobas-e411", asks) == [""]
    assert answers("roche-cobas-e411", asks, ()) == [
        message(
            "H|\\^&|||host^1|||||cobas-e411|TSDWN^REPLY|P|1",
            "P|1",
            "O|1|@192|192^0^5^^S1^SC||R||||||A||||1||||||||||O",
            "L|1|N",
        )
    ]


def test_roche_e411_dilutes_only_by_a_factor_that_it_has() -> None:
    asks = read_session(E411_ASKS)
    orders = items("10", dilution="1:10") + items("40", first=2, dilution="1:7")
    [answer] = answers("roche-cobas-e411", asks, orders)
    assert b"|^^^10^10|" in answer
    assert b"40" not in answer
    assert answers("roche-cobas-c311", asks, items("10", dilution="1:10")) == answers("roche-cobas-c311", asks, ())


def test_horiba_pentra_400_gets_no_order_for_a_tube_whose_kind_is_unknown() -> None:
    asks = message("H|\\^&|||abxpentra400^1|||||host|TSREQ^REAL|P|1", "Q|1|^^12345^1^2^3^^S1^SC||ALL", "L|1|N")
    [answer] = answers("horiba-pentra-400", asks, items("GLU"))
    assert b"O|1|12345|1^2^3^^S1^SC|^^^GLU^|R||||||A||||1||||||||||O\r" in answer
    unknown = asks.replace(b"^^S1^SC", b"")
    [answer] = answers("horiba-pentra-400", unknown, items("GLU"))
    assert b"GLU" not in answer
    [answer] = answers("horiba-pentra-400", unknown, items("GLU", specimen_type="PLAS"))
    assert b"|^^^GLU^|R||||||A||||1|" in answer


# -- other makers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "asked"), [("B", "1234567890"), ("M", "1234567890"), ("C", "1234567890"), ("A", "")]
)
def test_a_number_that_a_sysmex_has_counted_is_not_looked_up(attribute: str, asked: str) -> None:
    asks = message("H|\\^&|||XN-550", f"Q|1|2^1^            1234567890^{attribute}||||20011001153000", "L|1|N")
    assert asked_by("sysmex", asks) == [asked]
    [none] = answers("sysmex", asks, ())
    assert f"O|1|2^1^            1234567890^{attribute}||||{NOW}|||||N||||||||||||||Y\r".encode() in none


def test_sysmex_has_the_patients_number_and_name_where_it_reads_them() -> None:
    patient = OrderedPatient(number="100", family="Brown", given="Jim", birth_date="20010820", sex="M")
    context = AnswerContext(now=NOW, control_id="W7", demographics=True)
    asks = message("H|\\^&|||XN-550", "Q|1|2^1^            1234567890^B||||20011001153000", "L|1|N")
    [answer] = answers("sysmex", asks, items("WBC", patient=patient), context=context)
    assert answer.split(b"\r")[1] == b"P|1|||100|^Jim^Brown||20010820|M"


def test_abbott_architect_hears_none_in_the_frames_of_the_maker() -> None:
    asks = message("H|\\^&||||||||||P|1", "Q|1|^SID13||^^^ALL||||||||O", "L|1")
    [none] = answers("abbott-architect-astm", asks, ())
    assert frames_of(none)[1:] == [b"\x022Q|1|^SID13||^^^ALL||||||||X\r\x0381\r\n", b"\x023L|1\r\x033C\r\n"]


def test_abbott_architect_repeats_the_question_of_each_tube() -> None:
    asks = message("H|\\^&||||||||||P|1", "Q|1|^S1||^^^ALL||||||||O", "Q|2|^S2\\^S3||^^^ALL||||||||O", "L|1")
    first, second, third = answers("abbott-architect-astm", asks, (), (), ())
    assert first.split(b"\r")[1] == b"Q|1|^S1||^^^ALL||||||||X"
    assert second.split(b"\r")[1] == b"Q|2|^S2||^^^ALL||||||||X"
    assert third.split(b"\r")[1] == b"Q|2|^S3||^^^ALL||||||||X"


BECKMAN_ASKS = [
    b"\x021H|\\^&|||ACCESS^500001|||||LIS||P|1|20111231235959\r\x0320\r\n",
    b"\x022Q|1|^SPEC1234||ALL||||||||O\r\x03",
    b"\x023L|1|F\r\x03FE\r\n",
]


def test_beckman_access() -> None:
    printed = session(
        BECKMAN_ASKS[0], b"\x022Q|1|^E2DD9F||ALL||||||||O\r\x0398\r\n", BECKMAN_ASKS[2]
    )  # each sum as the maker printed it
    asks = read_session(printed)
    assert asked_by("beckman-access", asks) == ["E2DD9F"]
    asks = asks.replace(b"E2DD9F", b"SPEC1234")
    patient = OrderedPatient(number="098765678")
    context = AnswerContext(now=NOW, control_id="W7", demographics=True)
    [answer] = answers("beckman-access", asks, items("Ferritin", specimen_type="SER", patient=patient), context=context)
    header, *rest = frames_of(answer)
    assert header.startswith(b"\x021H|\\^&|W7||LIS|||||ACCESS^500001||P|1|20261120101500\r\x03")
    assert rest == [
        b"\x022P|1|098765678\r\x03A3\r\n",
        b"\x023O|1|SPEC1234||^^^Ferritin|R||||||A||||Serum\r\x03F8\r\n",
        b"\x024L|1|F\r\x03FF\r\n",
    ]
    [none] = answers("beckman-access", asks, ())
    assert none.split(b"\r")[1:] == [b"L|1|I", b""]


def test_erba_gets_a_message_for_each_tube() -> None:
    asks = message("H|`^&||||||||||P|E 1394-97|20181207121804", "Q|1|^0000000406`00001001|||S|||||||O", "L|1|N")
    assert asked_by("erba-em", asks) == ["0000000406", "00001001"]
    header = f"H|`^&|W7||LabRelay|||||||P|E 1394-97|{NOW}"
    first, second = answers("erba-em", asks, items("GLU", "UREA", specimen_type="SERUM"), ())
    assert first == message(header, "P|1", "O|1|0000000406||^^^GLU`^^^UREA|R||||||A||||SERUM", "L|1|F")
    assert second == message(header.replace("W7", "W7.2"), "L|1|I")


def test_genexpert_gets_a_record_for_each_test_and_all_in_one_message() -> None:
    asks = message("H|@^\\|||GeneXpert^4.7|||||LIS||P|1394-97|20250715120000", "Q|1|^T1@T2@^T3||||||||||O", "L|1|F")
    assert asked_by("cepheid-genexpert", asks) == ["T1", "T2", "T3"]
    tubes = items("HIVVL", "HBV", priority="stat"), (), items("MTB", first=3, requested="2026-11-19T08:00:00Z")
    assert answers("cepheid-genexpert", asks, *tubes) == [
        message(
            f"H|@^\\|W7||LIS|||||GeneXpert^4.7||P|1394-97|{NOW}",
            "P|1",
            f"O|1|T1||^^^HIVVL|S|{NOW}|||||A||||ORH||||||||||Q",
            f"O|2|T1||^^^HBV|S|{NOW}|||||A||||ORH||||||||||Q",
            "P|2",
            "O|1|T3||^^^MTB|R|20261119080000|||||A||||ORH||||||||||Q",
            "L|1|F",
        )
    ]
    assert answers("cepheid-genexpert", asks, (), (), ()) == [
        message(f"H|@^\\|W7||LIS|||||GeneXpert^4.7||P|1394-97|{NOW}", "L|1|I")
    ]


def test_genexpert_asks_for_everything() -> None:
    asks = read(message("H|\\^&|||GeneXpert^4.7||||||Q|1394-97|20250715120000", "Q|1|ALL", "L|1|F"))
    speaks = talk("cepheid-genexpert")
    assert speaks.question(asks) == Question(kind="all")
    tube = Tube(asked=Asked(specimen="T1"), items=items("MTB"))
    [reply] = speaks.answer(asks, Question(kind="all"), [tube], CONTEXT)
    assert b"O|1|T1||^^^MTB|R|" in reply.payload
    assert reply.items == (1,)
    [reply] = speaks.answer(asks, Question(kind="all"), [], CONTEXT)
    assert reply.payload.split(b"\r")[1:] == [b"L|1|I", b""]


# -- E1394 as it is, and what all share ----------------------------------------------------------------------------

ASKS_ONE = message("H|\\^&|||MADE-UP|||||LIS||P|1", "Q|1|^S1||ALL||||||||O", "L|1|N")


def test_without_a_dialect() -> None:
    patient = OrderedPatient(number="P7", family="Doe", given="Jane", birth_date="19800102", sex="F")
    orders = items("GLU", "CRE", patient=patient, specimen_type="SER", priority="asap")
    assert answers(None, ASKS_ONE, orders) == [
        message(
            f"H|\\^&|W7||LIS|||||MADE-UP||P|1|{NOW}",
            "P|1",
            "O|1|S1||^^^GLU\\^^^CRE|A||||||N||||SER||||||||||Q",
            "L|1|F",
        )
    ]
    context = AnswerContext(now=NOW, control_id="W7", demographics=True)
    [answer] = answers(None, ASKS_ONE, orders, context=context)
    assert answer.split(b"\r")[1] == b"P|1|P7|||Doe^Jane||19800102|F"
    assert answers(None, ASKS_ONE, ()) == [message(f"H|\\^&|W7||LIS|||||MADE-UP||P|1|{NOW}", "L|1|I")]


def test_only_items_with_a_code_and_an_order_are_sent() -> None:
    cancelled = items("K", first=4, action="cancel")
    [answer] = answers(None, ASKS_ONE, items("GLU", "") + items("NA", first=3, dilution="1:2") + cancelled)
    assert b"|^^^GLU|" in answer
    assert answers(None, ASKS_ONE, items("")) == answers(None, ASKS_ONE, ())
    assert answers(None, ASKS_ONE, cancelled) == answers(None, ASKS_ONE, ())


def test_a_test_added_or_done_again_says_so() -> None:
    for orders in (items("GLU", action="add"), items("GLU", run=2), items("GLU", action="rerun")):
        assert b"|^^^GLU|R||||||A|" in answers(None, ASKS_ONE, orders)[0]
    assert b"|R||||||N|" in answers(None, ASKS_ONE, items("GLU") + items("CRE", first=2, action="add"))[0]


def test_a_test_of_two_orders_is_asked_for_once_and_both_have_gone() -> None:
    twice = items("GLU", "NA", "GLU")
    assert b"|^^^GLU\\^^^NA|" in answers(None, ASKS_ONE, twice)[0]
    question = talk("cepheid-genexpert").question(read(ASKS_ONE))
    assert question is not None
    tubes = [Tube(asked=asked, items=twice) for asked in question.asked]
    for dialect, records_of_tests in ((None, 1), ("cepheid-genexpert", 2), ("mindray-bs-astm", 1)):
        [reply] = talk(dialect).answer(read(ASKS_ONE), question, tubes, CONTEXT)
        assert sorted(reply.items) == [1, 2, 3]
        assert reply.payload.count(b"GLU") == 1
        assert reply.payload.count(b"\rO|") == records_of_tests


def test_the_kind_of_a_tube_is_not_that_of_the_first_order_alone() -> None:
    """Urine measured as serum has wrong results. Where the orders disagree, the analyzer's own word counts."""
    asked = message(r"H|\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1", "Q|1|^^007^5^0^2^^S1^SC||ALL||||||||O", "L|1|N")
    for kinds, kind in (("", "UR"), "2"), (("UR", "URINE"), "2"), (("UR", "SER"), "1"), (("CSF", "SER"), "1"):
        of_tube = tuple(items("8", first=at, specimen_type=one)[0] for at, one in enumerate(kinds, 1))
        order = answers("roche-cobas-e411", asked, of_tube)[0].split(b"\r")[2].split(b"|")
        assert order[15] == kind.encode()
    odd = items("8", specimen_type="UR") + items("9", first=2, specimen_type="SER")
    assert b"SER" not in answers(None, ASKS_ONE, odd)[0]
    assert b"UR" not in answers(None, ASKS_ONE, odd)[0]


def test_a_download_offers_and_takes_back() -> None:
    tube = Tube(asked=Asked(specimen="S1"), items=items("GLU") + items("CRE", first=2, action="cancel"))
    context = AnswerContext(now=NOW, control_id="W7", unasked=True, settings=(("charset", "latin-1"),))
    back, new = talk(None).download(tube, context)
    header = f"H|\\^&|W7||LabRelay|||||||P|1|{NOW}"
    assert back.payload == message(header, "P|1", "O|1|S1||^^^CRE|R||||||C||||||||||||||O", "L|1|F")
    assert new.payload == message(
        header.replace("W7", "W7.2"), "P|1", "O|1|S1||^^^GLU|R||||||N||||||||||||||O", "L|1|F"
    )
    assert (back.items, new.items) == ((2,), (1,))
    assert talk(None).download(Tube(asked=Asked(specimen="S1"), items=items("")), context) == []


@pytest.mark.parametrize("dialect", [None, *sorted(ASKS)])
def test_a_question_is_taken_back_by_a_and_t(dialect: str | None) -> None:
    speaks = talk(dialect)
    ids = "^^S1" if speaks.habits.asks_at == 3 else "^S1"
    back = read(message("H|\\^&", f"Q|1|{ids}||ALL||||||||A", "L|1|T"))
    assert speaks.question(back) == Question(kind="cancel")
    assert speaks.answer(back, Question(kind="cancel"), [], CONTEXT) == []
    assert asked_by(dialect, message("H|\\^&", f"Q|1|{ids}||ALL||||||||A", "L|1|N")) == ["S1"]
    assert speaks.confirmation(back) is None


def test_a_range_is_no_list_of_specimens() -> None:
    parsed = read(message("H|\\^&", "Q|1|^S1|^S9|ALL", "L|1|N"))
    question = talk(None).question(parsed)
    assert question == Question(kind="numbers", since="S1", until="S9")
    assert len(talk(None).answer(parsed, question, [], CONTEXT)) == 1
    [reply] = talk("abbott-architect-astm").answer(parsed, question, [], CONTEXT)
    assert b"\rQ|1|^S1|^S9|ALL||||||||X\r" in reply.payload
    assert asked_by(None, message("H|\\^&", "Q|1|^S1|^S1|ALL", "L|1|N")) == ["S1"]


@pytest.mark.parametrize(
    "lines",
    [["P|1", "O|1|S1||^^^GLU", "R|1|^^^GLU|5"], ["O|1|S1", "Q|1|^S1"], ["Q|1|^S1", "R|1|^^^GLU|5"]],
)
def test_results_are_no_question(lines: list[str]) -> None:
    assert talk(None).question(read(message("H|\\^&", *lines, "L|1|N"))) is None


@pytest.mark.parametrize("ids", ["", "^", "^   ", "^@12", "^ @", "S1", f"^{'9' * 81}", "^S\ufffd1", "^S\n1"])
def test_a_number_that_is_none_is_never_looked_up_and_always_answered(ids: str) -> None:
    asks = message("H|\\^&", f"Q|1|{ids}||ALL", "L|1|N")
    assert asked_by(None, asks) == [""]
    for dialect in sorted(ASKS):
        for answer in answers(dialect, asks, ()):
            frames_of(answer)


def test_no_more_specimens_are_asked_than_a_limit() -> None:
    asks = message("H|\\^&", "Q|1|" + "\\".join(f"^S{n}" for n in range(1_200)), "L|1|N")
    assert len(asked_by(None, asks)) == 1_000


Q13_A = [  # dialect, the channel's own q13_a, Q-3, Q-13, L-3 -> whether it asks
    (None, None, "^S1", "A", "N", True),
    (None, "query", "^S1", "A", "N", True),
    (None, "cancel", "^S1", "A", "N", False),
    (None, "cancel", "^S1", "O", "N", True),
    (None, "barcode-only", "^S1", "A", "N", True),
    (None, "barcode-only", "^@192", "A", "N", True),
    (None, "barcode-only", "^", "A", "N", False),
    (None, "barcode-only", "", "O", "N", True),
    (None, "query", "^S1", "A", "T", False),
    ("roche-cobas-e411", None, "^^0000000387^587^0^2^^S1^SC", "A", "N", True),
    ("roche-cobas-e411", None, "^^@192^587^0^2^^S1^SC", "A", "N", True),
    ("roche-cobas-e411", None, "^^^587^0^2^^S1^SC", "A", "N", False),
    ("roche-cobas-e411", "query", "^^^587^0^2^^S1^SC", "A", "N", True),
    ("roche-cobas-e411", "cancel", "^^0000000387^587^0^2^^S1^SC", "A", "N", False),
    ("horiba-pentra-400", None, "^^^587", "A", "N", False),
]


@pytest.mark.parametrize(("dialect", "own", "ids", "q13", "l3", "asks"), Q13_A)
def test_what_a_in_q13_means(dialect: str | None, own: str | None, ids: str, q13: str, l3: str, asks: bool) -> None:
    speaks = dialogue(dialect, **({} if own is None else {"q13_a": own}))
    assert speaks is not None
    question = speaks.question(read(message("H|\\^&", f"Q|1|{ids}||ALL||||||||{q13}", f"L|1|{l3}")))
    assert question is not None
    assert (question.kind == "specimens") is asks
    assert asks or question == Question(kind="cancel")


@pytest.mark.parametrize(
    ("ids", "end", "since", "until"),
    [("^S1", "^S9", "S1", "S9"), ("^ 01", "^09 ", "01", "09"), ("^@1", "^S9", "", "S9"), ("^S1", "^", "S1", "")],
)
def test_the_ends_of_a_range_are_numbers_as_others(ids: str, end: str, since: str, until: str) -> None:
    question = talk(None).question(read(message("H|\\^&", f"Q|1|{ids}|{end}|ALL", "L|1|N")))
    assert question == Question(kind="numbers", since=since, until=until)


@pytest.mark.parametrize("code", ["I", "F"])
def test_genexpert_gets_none_with_the_code_that_the_channel_says(code: str) -> None:
    speaks = dialogue("cepheid-genexpert", none_end=code)
    assert speaks is not None
    parsed = read(message("H|@^\\|||GeneXpert", "Q|1|^S1||||||||||O", "L|1|N"))
    question = speaks.question(parsed)
    assert question is not None
    tubes = [Tube(asked=one) for one in question.asked]
    [reply] = speaks.answer(parsed, question, tubes, CONTEXT)
    assert reply.payload.endswith(f"L|1|{code}\r".encode())


def test_stored_results_are_asked_for_as_e1394_says() -> None:
    speaks = talk(None)
    of_one, of_all = speaks.fetch("00|42", "", NOW, CONTEXT), speaks.fetch("", "20261120080000", NOW, CONTEXT)
    assert of_one is not None
    assert of_all is not None
    assert b"\rQ|1|^00&F&42||ALL||||||||F\rL|1|F\r" in of_one.payload
    assert f"\rQ|1|ALL||ALL|R|20261120080000|{NOW}|||||F\rL|1|F\r".encode() in of_all.payload
    assert speaks.fetch("00\x0142", "", NOW, CONTEXT) is None
    assert talk("roche-cobas-c111").fetch("", "20261120080000", NOW, CONTEXT) is None


def test_a_test_for_a_tube_that_the_analyzer_has_is_added() -> None:
    [new] = talk(None).download(Tube(asked=Asked(specimen="S1"), items=items("GLU")), CONTEXT)
    [added] = talk(None).download(Tube(asked=Asked(specimen="S1"), items=items("GLU"), known=True), CONTEXT)
    assert b"|R||||||N|" in new.payload
    assert b"|R||||||A|" in added.payload


@pytest.mark.parametrize(
    ("dialect", "form", "ordered"),
    [
        ("mindray-bs-astm", "{}^^2^1", b"|GLU^^2^1\\ALT^^2^1|"),
        ("mindray-bs-astm", "{n}^{}^2^1", b"|1^GLU^2^1\\2^ALT^2^1|"),
        (None, "^^^{}^", b"|^^^GLU^\\^^^ALT^|"),
        ("roche-cobas-e411", "^^^{}^", b"|^^^GLU^\\^^^ALT^|"),
    ],
)
def test_a_channel_may_have_another_form_of_a_test(dialect: str | None, form: str, ordered: bytes) -> None:
    speaks = dialogue(dialect, test=form)
    assert speaks is not None
    parsed = read(message("H|\\^&|||X", f"Q|1|{'^' * (speaks.habits.asks_at - 1)}S1||ALL||||||||O", "L|1|N"))
    question = speaks.question(parsed)
    assert question is not None
    orders = items("GLU", "ALT", specimen_type="SER") + items("AST", first=3, specimen_type="SER", dilution="1:10")
    [reply] = speaks.answer(parsed, question, [Tube(asked=question.asked[0], items=orders)], CONTEXT)
    assert ordered in reply.payload
    assert b"AST" not in reply.payload
