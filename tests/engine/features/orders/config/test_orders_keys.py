"""The ``orders:`` block of a channel: what cannot work is refused, at its place."""

from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.features.orders.config.orders import OrdersConfig
from engine.features.orders.config.orders import orders_of as read
from engine.features.orders.config.together import unsent_after_s
from engine.model.errors import ConfigError
from tests.support.sites import make_site

ORDERS = "orders:\n  answer: query\n  codes: {TSH: '10', FT4: '40'}\n"


def channel(source: str, orders: str = ORDERS) -> dict[str, str]:
    return {"a.yaml": f"channel: a\nsource: {source}\n{orders}routes: [{{filter: later}}]\n"}


def orders_of(folder: Path, source: str, orders: str = ORDERS) -> OrdersConfig:
    found = read(load_site(make_site(folder, channels=channel(source, orders))).channels["a"])
    assert found is not None
    return found


def problem(folder: Path, source: str, orders: str = ORDERS) -> str:
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(folder, channels=channel(source, orders)))
    (found,) = caught.value.problems
    return found


def test_the_block_names_the_tests_of_the_analyzer(tmp_path: Path) -> None:
    orders = orders_of(tmp_path, '{kind: astm, listen: "127.0.0.1:0"}')

    assert orders.codes == {"TSH": "10", "FT4": "40"}
    assert (orders.demographics, orders.all_limit, orders.deadline) == (False, 200, 8.0)


def test_an_analyzer_may_have_its_own_time_until_an_order_is_unsent(tmp_path: Path) -> None:
    source = '{kind: astm, listen: "127.0.0.1:0"}'
    usual = load_site(make_site(tmp_path, channels=channel(source)))
    own = load_site(make_site(tmp_path, channels=channel(source, f"{ORDERS}  unsent_after: 2h\n")))
    assert unsent_after_s(usual.channels) == {}
    assert unsent_after_s(own.channels) == {"a": 7200.0}


@pytest.mark.parametrize(("value", "why"), [("30s", "at least 1m"), ("8d", "at most 7d"), ("soon", "as 30s")])
def test_a_time_until_an_order_is_unsent_has_its_bounds(tmp_path: Path, value: str, why: str) -> None:
    found = problem(tmp_path, '{kind: astm, listen: "127.0.0.1:0"}', f"{ORDERS}  unsent_after: {value}\n")
    assert found.startswith("channels/a.yaml:6:")
    assert "orders.unsent_after" in found
    assert why in found


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ('{kind: astm, listen: "127.0.0.1:0", acks: session}', "acks: session answers no frames"),
        ('{kind: astm, listen: "127.0.0.1:0", acks: none}', "acks: none answers no frames"),
        ('{kind: astm, listen: "127.0.0.1:0", answer_stx: true}', "answer_stx: the frames of such an analyzer"),
        ('{kind: astm, listen: "127.0.0.1:0", framing: none}', "framing: none has no ENQ"),
        ("{kind: folder, folder: in, format: hl7v2}", "a source of kind folder has no line"),
        ('{kind: http, listen: "127.0.0.1:0", format: hl7v2}', "a source of kind http has no line"),
        ('{kind: mllp, listen: "127.0.0.1:0", format: astm}', "over MLLP and ASTM E1381 alone"),
        ('{kind: auto, listen: "127.0.0.1:0"}', "over MLLP and ASTM E1381 alone"),
        (
            '{kind: astm, tee: {analyzer: {listen: "127.0.0.1:0"}, middleware: {connect: "127.0.0.1:9"}}}',
            "a tee answers nothing",
        ),
    ],
)
def test_a_line_without_questions_has_no_orders(tmp_path: Path, source: str, why: str) -> None:
    found = problem(tmp_path, source)

    assert found.startswith("channels/a.yaml:4:")
    assert why in found


def test_two_tests_never_share_a_code_of_the_analyzer(tmp_path: Path) -> None:
    found = problem(
        tmp_path,
        '{kind: astm, listen: "127.0.0.1:0"}',
        "orders: {answer: query, codes: {TSH: '10', TSH3: '10'}}\n",
    )

    assert "channels/a.yaml:3:" in found
    assert "TSH and TSH3 have one code of the analyzer, '10'" in found


def test_codes_may_be_left_to_the_table_of_results(tmp_path: Path) -> None:
    orders = orders_of(tmp_path, '{kind: astm, listen: "127.0.0.1:0"}', "orders: {answer: query, preferred: A1}\n")

    assert (orders.codes, orders.preferred) == ({}, ("A1",))
