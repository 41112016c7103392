"""How each kind of analyzer asks for orders over E1394, how it wants them, and how it then sends its results: a table.

It is the analyzer's side, written from the makers' examples and captures that the dialects name, and not from the code
that answers (`adapters.codecs.astm.habits`): the two must fit each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

GENERIC = "generic"  # the name of an analyzer that asks as E1394 has it


@dataclass(frozen=True, slots=True)
class Told:
    """An answer.

    Attributes:
        codes: the tests, in order; none: there is no order.
        patient: its P record (ASTM).
        steps: the work step of each test (IHE LAW).
    """

    codes: tuple[str, ...]
    patient: str = "P|1"
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AskForm:
    """The texts of one kind of analyzer, with its own delimiters.

    In a text ``{tube}`` is the place of the number, ``{time}`` that of the time, ``{code}`` that of a test, ``{tests}``
    that of all tests, ``{value}`` that of a value.

    Attributes:
        delimiters: H-2: field, repetition, component, escape.
        header: of questions; ``results`` that of results. end: L.
        asks: the Q record.
        echo: fields of an O record (from 1) that the answer must have so.
        code_at: the component of O-5 with the code of a test, from 1.
        none: how an answer says that there is no order: H and L alone, an ``order`` without tests, or the ``question``
            again with Q-13 X.
        order, test: O of a result, and a test of its O-5. result: R-3, value: R-4.
        unit_at: the component of R-3 with the code of a test, from 1: for the units of the samples.
        frame: bytes of text that the analyzer takes in one frame.
        together: it takes all tests of a tube in one O record.
    """

    delimiters: str = "|\\^&"
    header: str = "H|\\^&|||SIMULATED^1|||||LIS||P|1|{time}"
    results: str = ""
    asks: str = "Q|1|^{tube}||ALL||||||||O"
    end: str = "L|1|N"
    echo: Mapping[int, str] = field(default_factory=lambda: {3: "{tube}"})
    code_at: int = 4
    none: Literal["end", "order", "question"] = "end"
    order: str = "O|1|{tube}||{tests}|R||||||N||||||||||||||F"
    test: str = "^^^{code}"
    result: str = "^^^{code}"
    value: str = "{value}"
    unit_at: int = 4
    frame: int = 240
    together: bool = True


_FILE = Path(__file__).with_name("asking_forms.yaml")
FORMS: Mapping[str, AskForm] = {
    name: AskForm(**form) for name, form in yaml.safe_load(_FILE.read_text(encoding="utf-8")).items()
}
