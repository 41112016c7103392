"""How one kind of analyzer asks for orders in E1394, and the form in which it takes them: a table, as data.

A dialect (`adapters.dialects`) declares its own as ``DIALOGUE``. `adapters.codecs.astm.orders` and `dialogue` read
it. The defaults are those of E1394-97.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PRIORITIES = {"stat": "S", "asap": "A", "callback": "C", "pre-op": "P"}  # O-6; all others are R
STAT_OR_ROUTINE = {"stat": "S"}  # of makers that know no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What one kind of analyzer does, and wants.

    ``{}`` is the place of the code in `test`, and of the number in `downloads_as`; ``{n}`` that of a count from 1,
    ``{x}`` that of the dilution. The delimiters of a text here are ``|\\^&``; a message has the analyzer's own.

    Attributes:
        asks_at: the component of Q-3 with the number of the specimen.
        asks_alone: a Q-3 of one component is that number, too.
        q13_a: what ``A`` in Q-13 is where L-3 is not ``T``: a ``query``; ``cancel``, it takes the question before back;
            ``barcode-only``, a query where Q-3 has a number, read or not, else a cancel.
        counted: a component of Q-3, and the text there that says that the analyzer has counted, and read no number.
        fetches: Q-13 with which we ask for results that the analyzer keeps; empty: it gives none.
        fetch_at: the component of Q-3 with the number then. fetch_comment: H-11. fetches_since: it gives all of a time,
            too.
        delimiters: H-2 of a download; an answer has those of the question.
        named: H-3 holds our control id. timed: H-14 holds the time.
        version: our name in H-5 is followed by the components that follow the analyzer's.
        comment: H-11 of an answer, and of a download. processing: H-12 of orders and of "none"; empty: as asked, or P.
        specimen: O-3 is the ``number``; or the ``whole`` of Q-3 (`downloads_as`, with blanks before the number up to
            `pads` characters, where nothing was asked); ``instrument``: O-4 is the number, and `place` is O-3.
        keeps: the components of Q-3 from this one on are O-4; 0: none.
        code_until: a code of its results goes on behind this, with the dilution; an order has the part before it, and
            a result at any dilution is of it.
        assay_at: the component of R-3 with the test that was ordered, where an assay has several results with codes of
            their own (R-3, component 4); 0: none.
        test: O-5 of one test. dilutions: the form of ``1:10`` as ``{x}``; the dilution "" is that of a test without.
        pack, frame_limit: how records are put into frames, and the most bytes of text in one
            (`adapters.codecs.astm.sender`).
        together: all tests of a specimen share one O record; else each has its own.
        one_message: all specimens of a question share one message; else each has its own.
        new: O-12 of a test. add: of one that is added to those of its specimen, or done again.
        cancels: O-12 ``C`` makes the analyzer give up a test that it has.
        asked, unasked: O-26.
        types: O-16 by the type of specimen in table 0487, or as the LIS wrote it. type_at: the component of Q-3 with
            one, where the order has none. other_type: O-16 of all others. type_needed: these get no order.
        requested, collected: O-7 and O-8 hold these times.
        priorities: O-6; a priority that is missing is `routine`.
        end: L-3 behind orders. none_end: behind "none"; None: no third field.
        none: the form of "none": H and L alone; an ``order`` with O-26 as in `no_order`; the ``question`` with Q-13
            ``X``.
        numbers_at: field of P with the patient's number, where demographics are sent. name: the form of P-6.
    """

    asks_at: int = 2
    asks_alone: bool = False
    q13_a: Literal["query", "cancel", "barcode-only"] = "query"
    counted: tuple[int, str] | None = None
    fetches: str = ""
    fetch_at: int = 2
    fetch_comment: str = ""
    fetches_since: bool = False
    delimiters: str = "|\\^&"
    named: bool = True
    timed: bool = True
    version: bool = False
    comment: tuple[str, str] = ("", "")
    processing: tuple[str, str] = ("", "")
    specimen: Literal["number", "whole", "instrument"] = "number"
    downloads_as: str = "{}"
    pads: int = 0
    place: str = ""
    keeps: int = 0
    code_until: str = ""
    assay_at: int = 0
    test: str = "^^^{}"
    dilutions: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    pack: Literal["record", "packed"] = "record"
    frame_limit: int = 240
    together: bool = True
    one_message: bool = False
    new: str = "N"
    add: str = "A"
    cancels: bool = False
    asked: str = "Q"
    unasked: str = "O"
    types: Mapping[str, str] = field(default_factory=dict)
    other_type: str = ""
    type_at: int = 0
    type_needed: bool = False
    requested: bool = False
    collected: bool = False
    priorities: Mapping[str, str] = field(default_factory=lambda: PRIORITIES)
    routine: str = "R"
    end: str | None = "F"
    none: Literal["end", "order", "question"] = "end"
    no_order: str = ""
    none_end: str | None = "I"
    numbers_at: int = 3
    name: str = "{family}^{given}"

    def test_alone(self, code: str) -> str:
        """The test in a code that results or the configuration have, without the dilution behind it."""
        return code.partition(self.code_until)[0] if self.code_until else code


GENERIC = Habits(cancels=True, fetches="F", fetches_since=True)
