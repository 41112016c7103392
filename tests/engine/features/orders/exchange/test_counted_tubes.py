"""A number that the analyzer made up closes no order, even where a tube has just that number.

analyzer       its result is of             an order for tube 20115
Roche c311     O-4: 20115, no barcode       offered
               O-3: 20115, read             resulted
Sysmex XN      20115^A, counted             offered
               20115^B, read                resulted
Mindray BS     O-3: 20115 ^ tray ^ place    offered: a count, beside no bar code, or that of another tube
               O-4: 20115, the bar code     resulted
               O-3: 20115, tests in O-4     resulted: all fields are one place ahead
"""

from pathlib import Path

import pytest

from tests.engine.features.orders.exchange.test_questions import added, becomes, states
from tests.support.asking import asking
from tests.support.running import astm_channel, running_site
from tests.support.waiting import until

C311 = "H|\\^&|||c311^1|||||host|{}|P|1"
MINDRAY = "H|\\^&|||Mindry^^|||||||{}|1394-97|20260302093001"
SYSMEX = "H|\\^&|||XN-550^00-27^11001^^^^12345678||||||||E1394-97"
CASES = {
    "c311": (
        "roche-cobas-c311",
        "717",
        (C311.format("TSREQ^REAL"), "Q|1|^^20115                 ^42^50001^3^^S2^SC||ALL||||||||O"),
        (C311.format("RSUPL^REAL"), "P|1", "O|1|{}|R1|^^^717/|R||||||N", "R|1|^^^717/|6.10|mmol/l||N||F"),
        ("20115^                      ^5^^012", "8^20115                 ^5^^012"),
    ),
    "sysmex": (
        "sysmex-xn",
        "WBC",
        (SYSMEX, "Q|1|2^1^                 20115^B||||20261001153000"),
        (SYSMEX, "P|1", "O|1||^^                 {}|^^^^WBC|||||||N", "R|1|^^^^WBC^1|7.8|10*3/uL||N||F"),
        ("20115^A", "20115^B"),
    ),
    **{
        f"mindray {name}": (
            "mindray-bs-astm",
            "SGOT",
            (MINDRAY.format("RQ"), "Q|1|^20115||||||||||O"),
            (
                MINDRAY.format("PR"),
                "P|796",
                "O|796|{}|SGOT^Aspartate Aminotransferase^^|R|||||||||||serum||||||||||F|||||",
                "R|241|SGOT^Aspartate Aminotransferase^^F|67.98^^^^|U/L|5.0^40.0|N||F|67.98^^^^|0|||Mindry^",
            ),
            numbers,
        )
        for name, numbers in {
            "no bar code": ("20115^1^11|", "9058^1^11|20115"),
            "another tube": ("20115^1^11|8766097", "20115^^|20115"),
            "tests in O-4": ("20115^1^11", "20115"),
        }.items()
    },
}


def message(*lines: str) -> bytes:
    return "".join(f"{line}\r" for line in (*lines, "L|1|N")).encode()


@pytest.mark.parametrize("name", CASES)
async def test_only_a_number_that_was_read_closes_an_order(name: str, tmp_path: Path) -> None:
    analyzer, code, asks, measured, (counted, read) = CASES[name]
    of = {"dialect" if analyzer.startswith("mindray") else "analyzer": analyzer}
    channel = astm_channel(orders={"codes": {"TEST": code}, "deadline": "60s"}, **of)
    async with running_site(tmp_path, {"lab": channel}) as site, asking(site.port("lab")) as line:
        await added(site, "20115", "TEST")
        await line.ask(message(*asks))
        await becomes(site, ["offered"])

        await line.send(message(*(one.replace("{}", counted) for one in measured)))
        await until(lambda: len(site.messages("lab")) == 2 and site.is_settled())
        assert await states(site) == ["offered"]

        await line.send(message(*(one.replace("{}", read) for one in measured)))
        await becomes(site, ["resulted"])
