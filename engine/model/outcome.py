"""The outcome of processing a message: its state, its documents, and its warnings.

What a message says of results, as it is stored and judged.
"""

from typing import Generic, Literal, NamedTuple, TypeVar

from engine.model.content.facts import Facts
from engine.model.content.order_results import TubeResults
from engine.model.content.quality_controls import ControlResult
from engine.model.content.result_times import ResultGroup
from engine.model.content.search_keys import Number
from engine.model.message import Document, Issue, Reagent, Unmapped
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value
from engine.model.worklist import Ordered


class ReadResults(NamedTuple):
    """The facts of a message, and how its channel means them.

    Attributes:
        facts: as `engine.model.content.facts.packed` writes them.
        reader: of what has read them, ``name@hash``.
        is_hl7, of_site, whole, runs_apart, one_by_one, unique, of_a_day: as of `engine.succession.judge.words.Receipt`.
        computed: as `engine.model.content.computed.sources_by_test` takes it.
        numbers, orders: patterns of controls.
        known: the same facts, where they were read in this process.
    """

    facts: bytes
    reader: str = ""
    is_hl7: bool = True
    of_site: bool = False
    whole: bool = False
    runs_apart: bool = False
    one_by_one: bool = False
    unique: bool = False
    of_a_day: bool = False
    computed: dict[str, list[str]] | None = None
    numbers: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    known: Facts | None = None


NOTHING_READ = ReadResults(b"[null,null,null,null,null,[],[]]")
UNREAD = ReadResults(b"")  # of a message that has results, and they cannot be read

State = Literal["mapped", "filtered", "dead"]
R = TypeVar("R")


@value()
class Outcome(Generic[R]):
    """The result of processing one message.

    Attributes:
        detail: more words on ``reason``, for a person.
        mapping: names and hashes of the mappings, ``name@hash,...``.
        documents: each with the route that it takes.
        controls: its results of control materials, also where they go nowhere.
        tubes: its results, as the worklist sees them; none where the channel has no orders.
        results: with their times, for the reports on turnaround.
        ordered: its orders for the worklist; None: it is no order.
        critical: the places of its critical results; 0: its documents alone show one.
        read: its results as facts; None: it has none.
        conflict: why a number of controls is a patient's here: people decide about all documents. Empty: none is.
        controls_of: as `engine.model.routes.ChannelRoutes` has it.
        doubted: numbers that a pattern alone makes those of controls, and the outcome where they are patients'.
    """

    state: State
    reason: ReasonCode | None = None
    detail: str = ""
    mapping: str = ""
    documents: tuple[tuple[Document, R], ...] = ()
    issues: tuple[Issue, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    reagents: tuple[Reagent, ...] = ()
    controls: tuple[ControlResult, ...] = ()
    numbers: tuple[Number, ...] = ()
    tubes: tuple[TubeResults, ...] = ()
    ordered: Ordered | None = None
    results: tuple[ResultGroup, ...] = ()
    critical: tuple[int, ...] = ()
    read: ReadResults | None = None
    conflict: str = ""
    controls_of: str = ""
    doubted: "tuple[tuple[str, ...], Outcome[R]] | None" = None
