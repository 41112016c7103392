"""How each kind of analyzer asks for orders over E1394, how it wants them, and how it then sends its results: a table.

It is the analyzer's side, written from the makers' examples and captures that the dialects name, and not from the code
that answers (`adapters.codecs.astm.habits`): the two must fit each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

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


_ROCHE = AskForm(
    header="H|\\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1",
    results="H|\\^&|||cobas-e411^1|||||host|RSUPL^REAL|P|1",
    asks="Q|1|^^{tube}^587^0^2^^S1^SC||ALL||||||||A",
    echo={3: "{tube}", 4: "587^0^2^^S1^SC"},
    none="order",
    order="O|1|{tube}|587^0^2^^S1^SC|{tests}|R||{time}||||N||||1|||||||{time}|||F",
    test="^^^{code}^1",
    result="^^^{code}/1/not",
)

FORMS: Mapping[str, AskForm] = {
    GENERIC: AskForm(),
    "abbott-architect-astm": AskForm(
        header="H|\\^&||||||||||P|1", asks="Q|1|^{tube}||^^^ALL||||||||O", end="L|1", none="question"
    ),
    "beckman-access": AskForm(
        header="H|\\^&|||ACCESS^500001|||||LIS||P|1|{time}",
        end="L|1|F",
        order="O|1|{tube}||{tests}|||||||||||Serum||||||||||F",
    ),
    "cepheid-genexpert": AskForm(
        delimiters="|@^\\",
        header="H|@^\\|URM-1||GeneXpert PC^GeneXpert^6.2|||||LIS||P|1394-97|{time}",
        asks="Q|1|^{tube}||||||||||O",
        end="L|1|F",
        order="O|1|{tube}||{tests}|R|{time}|||||||||ORH||||||||||F",
        result="^^^{code}^^^^",
        value="^{value}",
        together=False,
    ),
    "erba-em": AskForm(
        delimiters="|`^&",
        header="H|`^&||||||||||P|E 1394-97|{time}",
        asks="Q|1|^{tube}|||S|||||||O",
        order="O|1|{tube}^03^1^1||{tests}|R|{time}|{time}||||N||||SERUM||||||||||F",
        frame=1024,
    ),
    "horiba-pentra-400": replace(
        _ROCHE,
        header="H|\\^&|||abxpentra400^1|||||host|TSREQ^REAL|P|1",
        results="H|\\^&|||abxpentra400^1|||||host|RSUPL^REAL|P|1",
        test="^^^{code}",
        result="^^^{code}",
    ),
    "mindray-bs-astm": AskForm(
        header="H|\\^&|||Mindray^^|||||||RQ|1394-97|{time}",
        results="H|\\^&|||Mindray^^|||||||PR|1394-97|{time}",
        asks="Q|1|^{tube}||||||||||O",
        echo={3: "1^^", 4: "{tube}"},
        code_at=2,
        order="O|1|9058^1^11|{tube}|{tests}|R||||||||||serum||||||||||F",
        test="{code}^{code}^^",
        result="{code}^{code}^^F",
        value="{value}^^^^",
        unit_at=1,
    ),
    "roche-cobas-c111": replace(
        _ROCHE,
        header="H|\\^&|||c111^Roche^c111^4.2.2.1730^1^13147|||||host|TSREQ^REAL|P|1",
        results="H|\\^&|||c111^Roche^c111^4.2.2.1730^1^13147|||||host|RSUPL^REAL|P|1|{time}",
        asks="Q|1|^^{tube}||ALL",
        echo={3: "{tube}", 4: ""},
        order="O|1||{tube}^^3||R||||||N|||||||||||{time}|||F",
        result="^^^{code}",
    ),
    "roche-cobas-c311": replace(
        _ROCHE,
        header="H|\\^&|||c311^1|||||host|TSREQ^REAL|P|1",
        results="H|\\^&|||c311^1|||||host|RSUPL^REAL|P|1",
        asks="Q|1|^^{tube:<22}^42^50001^3^^S2^SC||ALL||||||||O",
        echo={3: "{tube:<22}", 4: "42^50001^3^^S2^SC"},
        order="O|1|20114^{tube:<22}^4^^011|R1|{tests}|R||||||N||^^||SC|||||||{time}|||F",
        test="^^^{code}/",
        result="^^^{code}/",
    ),
    "roche-cobas-e411": _ROCHE,
    "sysmex": AskForm(
        header="H|\\^&|||    XN-350^00-27^15735^^^^AW618382||||||||E1394-97",
        asks="Q|1|2^1^{tube:>22}^B||||{time}",
        echo={3: "2^1^{tube:>22}^B"},
        code_at=5,
        none="order",
        order="O|1||^^{tube:>22}^B|{tests}|||||||N||||||||||||||F",
        test="^^^^{code}",
        result="^^^^{code}^1",
        unit_at=5,
    ),
}
