"""The dialogues of `samples/order_dialogues`: each question has the answer that `NAME.expected.json` beside it says,
with its orders on the worklist and without them. The first of them also goes out unasked.

After a change that is meant: LABRELAY_UPDATE_SAMPLES=1, then look at the difference.
"""

import inspect
import json
import pkgutil
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.codecs.astm.dialogue import dialogue as astm_dialogue
from adapters.codecs.hl7v2 import dialogues
from adapters.codecs.hl7v2.dialogues import ByMessage
from engine.config import registry
from engine.model.message import FormatOptions, Parsed
from engine.model.orders import (
    AnswerContext,
    Asked,
    ItemState,
    NoOrder,
    OrderedPatient,
    OrderLine,
    Question,
    Reply,
    Tube,
    WorkItem,
)
from engine.model.ports import Dialogue
from tests.support.astm_dialogues import SPOKEN
from tests.support.expected import UPDATE

FOLDER = Path(__file__).parents[2] / "samples" / "order_dialogues"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CONTEXT = AnswerContext(now="20261120101500", control_id="W7", demographics=True)

Json = dict[str, Any]


def sample(name: str) -> Json:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def talk(given: Json) -> Dialogue:
    found = registry.load(registry.DIALOGUES, given["format"]).dialogue(given.get("dialect"))
    assert found is not None
    return found


def asked_in(given: Json) -> Parsed:
    payload = given["question"].replace("\n", "\r").encode()
    return registry.load(registry.FORMATS, given["format"]).parse(payload, FormatOptions())


def items(given: Json) -> list[WorkItem]:
    made = []
    for number, order in enumerate(given["orders"], 1):
        code, patient = order["code"], OrderedPatient(**order.get("patient", {}))
        known = {name: value for name, value in order.items() if name not in ("code", "patient")}
        line = OrderLine(test=code, patient=patient, **known)
        made.append(WorkItem(number=number, line=line, state=ItemState.WAITING, code=code))
    return made


def tubes(question: Question, orders: list[WorkItem]) -> list[Tube]:
    """What was asked for, with its orders; of all orders each specimen, in their order."""
    specimens = dict.fromkeys(item.line.specimen for item in orders)
    found = []
    for asked in question.asked or tuple(Asked(specimen=one) for one in specimens):
        of_tube = tuple(item for item in orders if item.line.specimen == asked.specimen)
        found.append(Tube(asked=asked, items=of_tube, none=None if of_tube else NoOrder.UNKNOWN))
    return found


def shown(replies: list[Reply]) -> list[list[str]]:
    return [reply.payload.decode().removesuffix("\r").split("\r") for reply in replies]


def outcome(name: str) -> Json:
    given = sample(name)
    dialogue, parsed, orders = talk(given), asked_in(given), items(given)
    question = dialogue.question(parsed)
    assert question is not None
    found = {
        "kind": question.kind,
        "specimens": [one.specimen for one in question.asked],
        "answer": shown(dialogue.answer(parsed, question, tubes(question, orders), CONTEXT)),
        "none": shown(dialogue.answer(parsed, question, tubes(question, []), CONTEXT)),
    }
    if not isinstance(dialogue, ByMessage):  # it sends as IHE LAW, whatever asked
        tube = Tube(asked=Asked(specimen=orders[0].line.specimen), items=(orders[0],))
        found["unasked"] = shown(dialogue.download(tube, CONTEXT))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_the_expected_one(name: str) -> None:
    expected = FOLDER / f"{name}.expected.json"
    found = json.dumps(outcome(name), indent=1, ensure_ascii=False) + "\n"
    if UPDATE:
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_orders_of_the_specimens_asked_for_go_out_and_no_others(name: str) -> None:
    given = sample(name)
    dialogue, parsed, orders = talk(given), asked_in(given), items(given)
    question = dialogue.question(parsed)
    assert question is not None
    replies = dialogue.answer(parsed, question, tubes(question, orders), CONTEXT)
    asked = {one.specimen for one in question.asked}
    wanted = [one.number for one in orders if one.line.specimen in asked or question.kind == "all"]
    assert sorted(number for reply in replies for number in reply.items) == wanted
    assert not any(reply.items for reply in dialogue.answer(parsed, question, tubes(question, []), CONTEXT))


# -- every dialogue has one --------------------------------------------------------------------------------------------


def of_format(message_format: str) -> Iterator[Json]:
    return (given for given in map(sample, NAMES) if given["format"] == message_format)


def test_every_row_of_the_table_of_astm_dialogues_has_a_sample() -> None:
    rows, samples = (
        Counter(one) for one in ([one.dialect for one in SPOKEN], [one.get("dialect") for one in of_format("astm")])
    )
    assert rows <= samples, f"a question in {FOLDER.name}/NAME.yaml is missing, of {rows - samples}"
    assert samples.keys() == {name for name in registry.dialects() if astm_dialogue(name)} | {None}


def test_every_dialogue_of_hl7_has_a_sample() -> None:
    modules = [
        import_module(f"{dialogues.__name__}.{found.name}") for found in pkgutil.iter_modules(dialogues.__path__)
    ]
    declared = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and hasattr(kind, "question")
    }
    answering = []
    for given in of_format("hl7v2"):
        found = talk(given)
        answering.append(type(found._of(asked_in(given)) if isinstance(found, ByMessage) else found))
    assert set(answering) == declared, f"a question in {FOLDER.name}/NAME.yaml is missing"


def test_no_expected_answer_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        f"{name}{end}" for name in NAMES for end in (".yaml", ".expected.json")
    }
