"""Several tubes, a range of numbers, all: what each question gets, over real sockets.

question                             gets
several, by the repeat delimiter     a message for each tube, in the order of the question
several Q records                    the same
all                                  one message with the open orders of this analyzer, the most urgent first
from one number to another           the tubes between them whose numbers are as long
a range with ends of two lengths     none
Q-13 A, as the channel says          an answer, or silence
"""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.features.orders.config.orders import OrdersConfig
from tests.engine.features.orders.exchange.test_questions import added, becomes, log, states
from tests.support.asking import asking, fields, question
from tests.support.running import astm_channel, running_site

ORDERS = {"answer": "query", "codes": {"TSH": "TSH3", "FERR": "Ferritin"}, "deadline": "60s"}


def chemistry(dialect: str | None = None, **orders: Any) -> dict[str, Any]:
    more = {} if dialect is None else {"dialect": dialect}
    return {"chemistry": astm_channel(orders={**ORDERS, **orders}, **more)}


def records(*lines: str) -> bytes:
    return "".join(f"{line}\r" for line in ("H|\\^&|||X", *lines, "L|1|N")).encode()


def tubes(message: bytes) -> list[str]:
    return [order[2] for order in fields(message, "O")]


@pytest.mark.parametrize(
    "asked",
    [
        records("Q|1|^00042\\^00099\\^00043||ALL||||||||O"),
        records("Q|1|^00042||ALL||||||||O", "Q|2|^00099||ALL||||||||O", "Q|3|^00043||ALL||||||||O"),
    ],
    ids=["repeated", "several records"],
)
async def test_several_tubes_get_a_message_each(tmp_path: Path, asked: bytes) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        await added(site, "00043", "FERR", patient="P-18")
        await analyzer.send(asked)
        answers = [await analyzer.answer() for _ in range(3)]
        assert [tubes(one) for one in answers] == [["00042"], [], ["00043"]]
        await becomes(site, ["offered", "offered"])
        (row,) = await log(site)
        assert (row["tubes"], row["orders"], row["none"]) == (3, ["W1", "W2"], ["unknown"])


async def test_all_gets_the_open_orders_of_this_analyzer(tmp_path: Path) -> None:
    channels = chemistry() | {"other": astm_channel(orders={"codes": {"GLU": "GLU"}})}
    async with running_site(tmp_path, channels) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        await added(site, "00043", "FERR", more=("--priority", "stat"))
        await added(site, "00044", "GLU")
        answer = await analyzer.ask(records("Q|1|ALL||ALL||||||||O"))
        assert tubes(answer) == ["00043", "00042"]
        await becomes(site, ["waiting", "offered", "offered"])


async def test_all_is_cut_at_the_limit_and_says_so(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry(all_limit=2)) as site, asking(site.port("chemistry")) as analyzer:
        for number in range(3):
            await added(site, f"0004{number}", "TSH", patient=f"P-{number}")
        answer = await analyzer.ask(records("Q|1|ALL||ALL||||||||O"))
        assert len(tubes(answer)) == 2
        (row,) = await log(site)
        assert row["cut"]


@pytest.mark.parametrize(
    ("first", "last", "gets"),
    [
        ("00042", "00043", {"00042", "00043"}),
        ("00043", "00099", {"00043"}),
        ("00044", "00099", set()),
        ("42", "00099", set()),
        ("@1", "00099", set()),
    ],
)
async def test_a_range_gets_the_tubes_between_its_ends(tmp_path: Path, first: str, last: str, gets: set[str]) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        for number in ("00042", "00043", "0042", "A0042"):
            await added(site, number, "TSH", patient=f"P-{number}")
        answer = await analyzer.ask(records(f"Q|1|^{first}|^{last}|ALL||||||||O"))
        assert set(tubes(answer)) == gets


async def test_a_in_q13_asks_unless_the_channel_says_otherwise(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        assert tubes(await analyzer.ask(question("00042", "A"))) == ["00042"]


async def test_a_in_q13_takes_the_question_before_back_where_the_channel_says_so(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, chemistry(q13_a="cancel")) as site,
        asking(site.port("chemistry")) as analyzer,
    ):
        await added(site, "00042", "TSH")
        await analyzer.send(question("00042"), question("00042", "A"))
        assert tubes(await analyzer.ask(question("00099"))) == []
        assert len(analyzer.answers) == 1
        assert await states(site) == ["waiting"]


async def test_a_channel_gives_the_form_of_a_test(tmp_path: Path) -> None:
    channels = chemistry("mindray-bs-astm", test="{}^^2^1")
    async with running_site(tmp_path, channels) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        (order,) = fields(await analyzer.ask(question("00042")), "O")
        assert order[3:5] == ["00042", "TSH3^^2^1"]


@pytest.mark.parametrize("form", ["^^^TSH", "{}^{}", "{}|{n}", "{}\\\\{n}", "{x}^{}"])
def test_a_form_that_makes_other_fields_is_refused(form: str) -> None:
    with pytest.raises(ValidationError, match="test"):
        OrdersConfig.model_validate({"codes": {"TSH": "TSH3"}, "test": form})
    assert OrdersConfig.model_validate({"codes": {"TSH": "TSH3"}, "test": "{n}^{}^^"}).habits == {"test": "{n}^{}^^"}


async def test_a_key_of_astm_is_refused_elsewhere(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        file = site.folder / "channels" / "chemistry.yaml"
        file.write_text(file.read_text().replace("deadline", "q13_a: sometimes\n  deadline"))
        ran = await site.labrelay("check")
        assert ran.code != 0
        assert "q13_a" in ran.out + ran.err
