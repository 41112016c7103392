"""Who is meant by a search: tables of people, as the laboratory has them and as the network names them."""

import random
from dataclasses import replace
from typing import Any

import pytest

from engine.features.abdm.rules.links import (
    MOST_PEOPLE,
    Asked,
    Held,
    Means,
    chosen,
    held,
    hint,
    may_be,
    means,
    mobile_of,
    same_name,
    six_digits,
)

MEERA = "meera.iyer@sbx"
NUMBER, OTHER_NUMBER = "91100000000016", "91100000000024"
MOBILE, OTHER_MOBILE = "9000000001", "9000000002"

ASKED = Asked(
    address=MEERA, numbers=frozenset({NUMBER}), mobiles=frozenset({MOBILE}), name="Meera Iyer", gender="F", year=1986
)


def of(**said: Any) -> Held:
    """A report of Meera without ABHA, but for what is given."""
    known = {"own": frozenset({"PID-1"}), "mobile": MOBILE, "name": "Meera Iyer", "gender": "F", "year": 1986}
    sets = ("addresses", "numbers", "own")
    return Held(**{name: frozenset(one) if name in sets else one for name, one in (known | said).items()})


ONE_REPORT = {
    "all fits without ABHA": (of(), Means.MOBILE),
    "the year is one off": (of(year=1987), Means.MOBILE),
    "the year is two off": (of(year=1988), None),
    "the year is unknown": (of(year=0), None),
    "the gender is another": (of(gender="M"), None),
    "the gender is unknown": (of(gender="U"), None),
    "the name is another, as a sister's": (of(name="Asha Iyer"), None),
    "an initial alone": (of(name="M Iyer"), None),
    "the family name alone": (of(name="Iyer"), None),
    "the mobile is another": (of(mobile=OTHER_MOBILE), None),
    "there is no mobile": (of(mobile=""), None),
    "the number of the day": (of(own=()), None),
    "the address": (of(addresses=[MEERA], mobile=""), Means.ADDRESS),
    "the address, and a name since her marriage": (of(addresses=[MEERA], name="Meera Nair"), Means.ADDRESS),
    "the address, and a year that was typed wrong": (of(addresses=[MEERA], year=1968), Means.ADDRESS),
    "the address, and name and year are another's": (of(addresses=[MEERA], name="Asha Rao", year=1961), None),
    "the address, and name and gender are another's": (of(addresses=[MEERA], name="Anil Rao", gender="M"), None),
    "the address, and nothing else is known": (of(addresses=[MEERA], name="", year=0, gender=""), None),
    "the number": (of(numbers=[NUMBER], mobile=""), Means.NUMBER),
    "the number, and name and year are another's": (of(numbers=[NUMBER], name="Asha Rao", year=1961), None),
    "the number, with another address of hers": (of(numbers=[NUMBER], addresses=["m@sbx"]), Means.NUMBER),
    "the address, and another number": (of(addresses=[MEERA], numbers=[OTHER_NUMBER]), None),
    "another number, and all else fits": (of(numbers=[OTHER_NUMBER]), None),
    "another address, and all else fits": (of(addresses=["meera.k.iyer@sbx"]), None),
    "two numbers": (of(numbers=[NUMBER, OTHER_NUMBER]), None),
    "a number whose check digit does not fit": (of(numbers=["91100000000017"]), None),
}


@pytest.mark.parametrize("name", ONE_REPORT)
def test_one_report(name: str) -> None:
    report, expected = ONE_REPORT[name]
    assert means(ASKED, report) == expected
    assert chosen(ASKED, {7: report}) == ({} if expected is None else {7: expected})


TWIN = of(own=["PID-2"])  # of the same name, gender, year and mobile
SEVERAL = {
    "two of her reports": ([of(), of()], {0, 1}),
    "two people who both fit": ([of(), TWIN], set()),
    "a twin whose number is linked to another ABHA": ([of(), of(own=["PID-2"], addresses=["twin@sbx"])], {0}),
    "a report of the twin without ABHA, known by the number of the laboratory": (
        [of(own=["PID-2"]), of(own=["PID-2"], addresses=["twin@sbx"])],
        set(),
    ),
    "brother and sister": ([of(), of(own=["PID-2"], name="Arun Iyer", gender="M")], {0}),
    "two sisters": ([of(), of(own=["PID-2"], name="Asha Iyer")], {0}),
    "by her address, and one more without ABHA": ([of(addresses=[MEERA]), of()], {0, 1}),
    "by her address, and a twin's without ABHA": ([of(addresses=[MEERA]), TWIN], {0}),
    "two files of the laboratory have her number": ([of(numbers=[NUMBER]), of(numbers=[NUMBER], own=["PID-2"])], set()),
    "names that both fit hers, and not each other": (
        [of(own=["PID-1"], name="Meera Kamala Iyer"), of(own=["PID-2"], name="Meera Radha Iyer")],
        set(),
    ),
    "a mobile of half the town": ([of(), *(of(own=[f"P-{n}"], name=f"N{n} X") for n in range(MOST_PEOPLE))], set()),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_reports(name: str) -> None:
    reports, expected = SEVERAL[name]
    assert set(chosen(ASKED, dict(enumerate(reports)))) == expected


def test_a_typed_number_takes_reports_away_and_never_decides() -> None:
    typed = replace(ASKED, own=frozenset({"PID-1"}))
    assert set(chosen(typed, {1: of()})) == {1}
    assert set(chosen(typed, {1: of(own=["PID-9"])})) == set()
    assert set(chosen(typed, {1: of(), 2: TWIN})) == set(), "it does not choose between two people"
    only = Asked(address="x@sbx", own=frozenset({"PID-1"}), name="Meera Iyer", gender="F", year=1986)
    assert chosen(only, {1: of()}) == {}, "alone it finds nothing"


NAMES = [
    ("Meera Iyer", "MEERA IYER", True),
    ("Meera Iyer", "Iyer, Meera", True),
    ("Meera Iyer", "Smt. Mira  Iyer", True),
    ("Meera Iyer", "Meera K. Iyer", True),
    ("Geetha Rao", "Geeta Rao", True),
    ("Zoë Dias", "Zoe Dias", True),
    ("मीरा अय्यर", "अय्यर मीरा", True),
    ("मीरा अय्यर", "सीता अय्यर", False),
    ("Meera", "Meera", True),
    ("Meera", "Meera Iyer", False),
    ("Meera Iyer", "Meera Nair", False),
    ("Arjun Rao", "Arun Rao", False),
    ("Arjun Kumar Rao", "Kumar Rao", False),
    ("Rao Kumar Arjun", "Rao Kumar", False),
    ("A Rao", "Arjun Rao", False),
    ("A Rao", "A Rao", True),
    ("A", "A", False),
    ("", "", False),
    ("Mr", "Mr", True),
]


@pytest.mark.parametrize(("one", "other", "expected"), NAMES)
def test_names(one: str, other: str, expected: bool) -> None:
    assert same_name(one, other) is same_name(other, one) is expected


def test_no_order_of_reports_and_no_other_person_changes_the_choice() -> None:
    """Random files: a report is offered to the person it is of alone, and the order of rows does not count."""
    rng = random.Random(20261125)
    people = [
        (f"P-{n}", name, gender, year, mobile)
        for n, (name, gender, year, mobile) in enumerate(
            (name, gender, year, mobile)
            for name in ("Meera Iyer", "Asha Iyer", "Arjun Rao")
            for gender in "FM"
            for year in (1985, 1990)
            for mobile in (MOBILE, OTHER_MOBILE)
        )
    ]
    offered = 0
    for _ in range(3000):
        found = rng.sample(people, rng.randint(1, 5))
        reports = {}
        for number in range(rng.randint(1, 6)):
            own, name, gender, year, mobile = rng.choice(found)
            addresses = [f"{own}@sbx".lower()] if rng.random() < 0.3 else []
            reports[number] = of(own=[own], name=name, gender=gender, year=year, mobile=mobile, addresses=addresses)
        own, name, gender, year, mobile = rng.choice(found)
        asked = Asked(address=f"{own}@sbx".lower(), mobiles=frozenset({mobile}), name=name, gender=gender, year=year)
        his = chosen(asked, reports)
        assert {one for number in his for one in reports[number].own} <= {own}
        shuffled = list(reports.items())
        rng.shuffle(shuffled)
        assert chosen(asked, dict(shuffled)) == his
        offered += bool(his)
    assert offered > 1000


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (42137, "042137"), ("042137", "042137"), (" 42137 ", "042137"), (0, "000000"), ("", ""), (1234567, ""),
        (-1, ""), ("12a456", ""), ("\u0661", ""), (True, ""), (None, ""), (1.5, ""), ([1], ""),
    ],
)  # fmt: skip
def test_a_code_is_read_as_six_digits(token: object, expected: str) -> None:
    assert six_digits(token) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9000000001", MOBILE), ("+91-90000 00001", MOBILE), ("09000000001", MOBILE), ("00919000000001", MOBILE),
        ("+449000000001", ""), ("0222345678", ""), ("5000000001", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_mobile_is_ten_digits_of_india(text: str, expected: str) -> None:
    assert mobile_of(text) == expected


def test_a_hint_shows_two_digits() -> None:
    assert hint(MOBILE) == "********01"


def test_the_person_of_a_document() -> None:
    def typed(code: str, value: object) -> dict[str, object]:
        return {"type": {"coding": [{"code": code}]}, "value": value}

    patient = {
        "identifier": [typed("MR", "PID-1"), typed("HIN", "91-1000-0000-0016"), typed("ABHA", "Meera.Iyer@sbx")],
        "name": [{"given": ["Meera"], "family": "Iyer"}],
        "gender": "female",
        "birthDate": "1986-03-14",
        "telecom": [{"system": "email", "value": "9999999999"}, {"system": "phone", "value": "+91 90000 00001"}],
    }
    assert held({"patient": patient}) == of(numbers=[NUMBER], addresses=[MEERA])


@pytest.mark.parametrize(
    "content", [{}, {"patient": None}, {"patient": {"identifier": 1, "name": "x", "telecom": [None], "birthDate": 3}}]
)
def test_a_document_without_a_person_has_none(content: dict[str, Any]) -> None:
    assert held(content) == Held()


# A report with the ABHA of Meera Iyer, F, 1986: what it says beside it -> whether it may be hers.
BESIDE: dict[str, tuple[Held, bool]] = {
    "the same": (Held(name="Meera Iyer", gender="F", year=1986), True),
    "the name alone": (Held(name="Iyer Mira"), True),
    "another name, the same birth": (Held(name="Meera Rao", gender="F", year=1987), True),
    "initials and the year": (Held(name="IYER M", year=1986), True),
    "initials without a year": (Held(name="IYER M", gender="F"), False),
    "initials of both words": (Held(name="M I", year=1986), False),
    "an initial that is another": (Held(name="IYER K", year=1986), False),
    "initials and another gender": (Held(name="IYER M", gender="M", year=1986), False),
    "another name and no birth": (Held(name="Anaya Iyer"), False),
    "another name and gender": (Held(name="Arjun Iyer", gender="M", year=1986), False),
    "another name and year": (Held(name="Anaya Iyer", gender="F", year=1950), False),
    "nothing": (Held(), False),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_report_with_an_abha_may_be_of_a_person_who_fits_it(name: str) -> None:
    of, expected = BESIDE[name]
    assert may_be(of, "Meera Iyer", "F", 1986) is expected
