"""How analyzers that speak HL7 v2 ask for orders, and how they are answered (`engine.model.ports.Dialogue`). Pure.

A dialect declares its dialogue: ``HL7_DIALOGUE`` is an instance of a class of this folder. Analyzers without a dialect
are known by the message with which they ask (`ByMessage`).
"""

from collections.abc import Sequence
from importlib import import_module

from adapters.codecs.hl7v2.dialogues.asked import UNDILUTED, Demographics
from adapters.codecs.hl7v2.dialogues.genexpert import GeneXpert
from adapters.codecs.hl7v2.dialogues.law import Law
from adapters.codecs.hl7v2.dialogues.mindray import MindrayBc, MindrayBs
from engine.model.message import Parsed
from engine.model.orders import AnswerContext, Confirmation, Question, Reply, Tube


class ByMessage:
    """The dialogue with analyzers without a dialect: IHE LAW, but for messages that only others ask with."""

    dilutions = UNDILUTED

    def __init__(self) -> None:
        self._law = Law()
        self._blood_counter = MindrayBc()
        self._others: dict[str, Demographics | MindrayBc] = {"ORM^O01": self._blood_counter, "QRY^A19": Demographics()}

    def question(self, parsed: Parsed) -> Question | None:
        return self._of(parsed).question(parsed)

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
        return self._of(parsed).answer(parsed, question, tubes, context)

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        return self._law.download(tube, context)

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        return self._of(parsed).confirmation(parsed)

    def ordered_as(self, parsed: Parsed) -> dict[int, str]:
        return self._blood_counter.ordered_as(parsed)

    def self_made(self, parsed: Parsed) -> dict[int, tuple[str, str]]:
        return self._law.self_made(parsed)

    def _of(self, parsed: Parsed) -> Demographics | MindrayBc | Law:
        return self._others.get(parsed.message_type, self._law)


Hl7Dialogue = ByMessage | Demographics | GeneXpert | Law | MindrayBc | MindrayBs


def dialogue(dialect: str | None) -> Hl7Dialogue | None:
    """The dialogue with analyzers of ``dialect``. None: they send results only."""
    if dialect is None:
        return ByMessage()
    found = getattr(import_module(f"adapters.dialects.{dialect.replace('-', '_')}"), "HL7_DIALOGUE", None)
    return found if isinstance(found, Hl7Dialogue) else None
