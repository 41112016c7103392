"""Answers to orders, byte for byte: each event of an order, and each kind of order message."""

from typing import Any

import pytest

from adapters.codecs.hl7v2 import message, order_answers
from adapters.codecs.hl7v2.order_answers import answer
from engine.model.message import FormatOptions
from engine.model.orders import Action, ItemReason, LineAnswer

NOW = "20260301101531"


def answered(order: str, *outcomes: LineAnswer) -> list[str]:
    parsed = message.parse(order.replace("\n", "\r").encode(), FormatOptions())
    made = answer(parsed, outcomes, "LR7", NOW)
    assert made.endswith(b"\r")
    assert b"\n" not in made
    return made.decode().removesuffix("\r").split("\r")


def one(kind: str, version: str, orc: str) -> str:
    head = f"MSH|^~\\&|HIS|HOSP|LR|LAB|20260301101530||{kind}|M1|P|{version}\n"
    return f"{head}PID|1||7^^^HOSP||Rao^Asha||19800412\nORC|{orc}|P1^HIS|F1\nOBR|1|P1^HIS|F1|GLU^Glucose^L|||2026\n"


ORDER = {"placer": "P1", "filler": "F1", "test": "GLU"}


@pytest.mark.parametrize(
    ("action", "done", "expected"),
    [
        ("new", True, "ORC|OK|P1^HIS|F1||SC"),
        ("add", True, "ORC|OK|P1^HIS|F1||SC"),
        ("new", False, "ORC|UA|P1^HIS|F1"),
        ("cancel", True, "ORC|CR|P1^HIS|F1||CA"),
        ("cancel", False, "ORC|UC|P1^HIS|F1"),
        ("change", True, "ORC|XR|P1^HIS|F1||SC"),
        ("change", False, "ORC|UX|P1^HIS|F1"),
        ("hold", True, "ORC|HR|P1^HIS|F1||HD"),
        ("hold", False, "ORC|UH|P1^HIS|F1"),
        ("release", True, "ORC|OR|P1^HIS|F1||SC"),
        ("release", False, "ORC|UR|P1^HIS|F1"),
        ("unknown", False, "ORC|UA|P1^HIS|F1"),
    ],
)
def test_each_event_has_its_code(action: Action, done: bool, expected: str) -> None:
    reason = ItemReason.NONE if done else ItemReason.UNKNOWN_TEST
    outcome = LineAnswer(**ORDER, action=action, done=done, reason=reason)  # type: ignore[arg-type]
    assert expected in answered(one("OML^O21^OML_O21", "2.5.1", "NW"), outcome)


def test_an_order_that_is_taken_over_orm() -> None:
    assert answered(one("ORM^O01", "2.3", "NW"), LineAnswer(**ORDER)) == [
        "MSH|^~\\&|LR|LAB|HIS|HOSP|20260301101531||ORR^O02|LR7|P|2.3",
        "MSA|AA|M1",
        "PID|1||7^^^HOSP||Rao^Asha",
        "ORC|OK|P1^HIS|F1||SC",
        "OBR|1|P1^HIS|F1|GLU^Glucose^L",
    ]


def test_before_2_5_the_reason_is_in_msa_and_escaped() -> None:
    refused = LineAnswer(**ORDER, done=False, reason=ItemReason.UNKNOWN_TEST, text="no code for A|B")
    found = answered(one("ORM^O01", "2.3.1", "NW"), refused)
    assert found[:2] == [
        "MSH|^~\\&|LR|LAB|HIS|HOSP|20260301101531||ORR^O02^ORR_O02|LR7|P|2.3.1",
        "MSA|AA|M1|no code for A\\F\\B",
    ]
    assert found[3] == "ORC|UA|P1^HIS|F1"


O21 = """\
MSH|^~\\&|HIS|HOSP|LR|LAB|20260301101530||OML^O21^OML_O21|M1|T|2.5.1||||||UNICODE UTF-8
PID|1||7^^^HOSP||Rao^Asha||19800412|F
ORC|NW|P1
OBR|1|P1||GLU
OBX|1|CWE|FAST||Y||||||O
SPM|1|S1||SER
ORC|NW|P2
OBR|1|P2||NOPE
OBR|2|P3||NA
PID|1||7
ORC|RE|P0
OBR|1|P0||CBC
OBX|1|NM|HGB||14.8|g/dL|||||F
"""


def test_one_refused_order_leaves_the_others_and_has_an_err() -> None:
    found = answered(
        O21,
        LineAnswer(placer="P1", test="GLU"),
        LineAnswer(placer="P2", test="NOPE", done=False, reason=ItemReason.UNKNOWN_TEST, text="unknown test"),
        LineAnswer(placer="P3", test="NA", action="unknown", done=False, reason=ItemReason.UNKNOWN_ACTION),
    )
    assert found == [
        "MSH|^~\\&|LR|LAB|HIS|HOSP|20260301101531||ORL^O22^ORL_O22|LR7|T|2.5.1||||||UNICODE UTF-8",
        "MSA|AA|M1",
        "ERR||OBR^2^4|103^Table value not found^HL70357|E||||unknown test",
        "ERR||OBR^3|103^Table value not found^HL70357|E||||UNKNOWN_ACTION",
        "PID|1||7^^^HOSP||Rao^Asha",
        "ORC|OK|P1|||SC",
        "OBR|1|P1||GLU",
        "SPM|1|S1||SER",
        "ORC|UA|P2",
        "OBR|1|P2||NOPE",
        "ORC|UA|P3",
        "OBR|2|P3||NA",
    ]


def test_an_order_of_which_no_line_was_made_is_never_ok() -> None:
    found = answered(one("OML^O21^OML_O21", "2.5.1", "NW"), LineAnswer(placer="P9", test="GLU"))
    assert "ORC|UA|P1^HIS|F1" in found


SPECIMENS = """\
MSH|^~\\&|HIS|HOSP|LR|LAB|20260301101530||OML^{event}^OML_{event}|M1|P|2.5.1
PID|1||7
SPM|1|S1||SER
SAC|||T1
ORC|NW|P1
OBR|1|P1||GLU
SPM|2|S2||SER
SAC|||T2
ORC|NW|P1
OBR|1|P1||GLU
"""


@pytest.mark.parametrize(("event", "back"), [("O33", "O34"), ("O35", "O36")])
def test_the_same_test_of_two_tubes_is_answered_by_its_place(event: str, back: str) -> None:
    found = answered(
        SPECIMENS.replace("{event}", event),
        LineAnswer(placer="P1", test="GLU"),
        LineAnswer(placer="P1", test="GLU", done=False, reason=ItemReason.SPECIMEN_CONFLICT),
    )
    assert found == [
        f"MSH|^~\\&|LR|LAB|HIS|HOSP|20260301101531||ORL^{back}^ORL_{back}|LR7|P|2.5.1",
        "MSA|AA|M1",
        "ERR||OBR^2|205^Duplicate key identifier^HL70357|E||||SPECIMEN_CONFLICT",
        "PID|1||7",
        "SPM|1|S1||SER",
        "SAC|||T1",
        "ORC|OK|P1|||SC",
        "OBR|1|P1||GLU",
        "SPM|2|S2||SER",
        "SAC|||T2",
        "ORC|UA|P1",
        "OBR|1|P1||GLU",
    ]


def test_an_order_with_two_lines_is_done_only_where_both_are() -> None:
    order = one("OML^O21^OML_O21", "2.5.1", "NW")
    refused = LineAnswer(**ORDER, done=False, reason=ItemReason.NO_SPECIMEN)
    assert "ORC|UA|P1^HIS|F1" in answered(order, LineAnswer(**ORDER), refused)
    assert "ORC|OK|P1^HIS|F1||SC" in answered(order, LineAnswer(**ORDER), LineAnswer(**ORDER))


def test_a_cancellation_without_obr_names_what_it_cannot_find() -> None:
    order = one("OML^O21^OML_O21", "2.5.1", "CA").rpartition("OBR")[0]
    late = LineAnswer(placer="P1", filler="F1", action="cancel", done=False, text="no such order")
    assert answered(order, late)[2:] == [
        "ERR||ORC^1^2|204^Unknown key identifier^HL70357|E||||no such order",
        "PID|1||7^^^HOSP||Rao^Asha",
        "ORC|UC|P1^HIS|F1",
    ]


IN_OBR_2 = """\
MSH|^~\\&|HIS|HOSP|LR|LAB|20260301101530||ORM^O01|M1|P|2.3.1
PID|1||7
ORC|{orc}|P1
OBR|1|T5||GLU
ORC|{orc}
OBR|2|T5||GLU
"""


@pytest.mark.parametrize(
    ("orc", "action", "placer", "codes"),
    [("NW", "new", "T5", ["OK", "UA"]), ("CA", "cancel", "", ["CR", "UC"]), ("HD", "hold", "", ["HR", "UH"])],
)
def test_where_obr_2_is_the_tube_each_order_is_answered_by_its_own_number(
    orc: str, action: Action, placer: str, codes: list[str]
) -> None:
    """One that acts on an order has none without ORC-2."""
    found = answered(
        IN_OBR_2.replace("{orc}", orc),
        LineAnswer(placer="P1", test="GLU", action=action),
        LineAnswer(placer=placer, test="GLU", action=action, done=False, reason=ItemReason.NO_SUCH_ORDER),
    )
    assert [line.split("|")[1:3] for line in found if line.startswith("ORC")] == [[codes[0], "P1"], [codes[1], "T5"]]


def test_a_message_that_is_no_order_has_no_answer_here() -> None:
    with pytest.raises(KeyError):
        answered("MSH|^~\\&|A|B|C|D|2026||ORU^R01|M1|P|2.5\nOBR|1||F1|GLU\n")


def test_a_thousand_orders_are_each_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop writes the answer: with the square of the orders all analyzers would wait."""
    looked = 0
    key = order_answers._key

    def counted(*arguments: Any) -> tuple[str, str, str]:
        nonlocal looked
        looked += 1
        return key(*arguments)

    monkeypatch.setattr(order_answers, "_key", counted)
    head = "MSH|^~\\&|HIS|HOSP|LR|LAB|20260301101530||ORM^O01|M1|P|2.3.1\nPID|1||7\n"
    orders = "".join(f"ORC|NW|P{at}\nOBR|1|P{at}||GLU\n" for at in range(1_000))
    told = [LineAnswer(placer=f"P{at}", test="GLU", done=at != 7, reason=ItemReason.NO_SPECIMEN) for at in range(1_000)]

    said = [line for line in answered(head + orders, *told) if line.startswith("ORC")]

    assert said == ["ORC|UA|P7" if at == 7 else f"ORC|OK|P{at}|||SC" for at in range(1_000)]
    assert looked == 1_000
