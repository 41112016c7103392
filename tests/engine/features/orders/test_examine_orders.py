"""What `labrelay doctor` says of the line of an analyzer that gets orders, by its mode."""

from pathlib import Path
from typing import Any

import pytest

from engine.features.orders.examine import two_way
from engine.features.orders.rows.order_questions import AskedQuery
from engine.model.site.health import Health
from tests.engine.features.orders.exchange.test_kinds_of_questions import chemistry
from tests.engine.features.orders.exchange.test_questions import added, becomes
from tests.support.asking import asking, question
from tests.support.running import running_site


def query(kind: str, outcome: str, *items: int, **more: Any) -> AskedQuery:
    said = {"message_id": 1, "channel": "c", "received_us": 1, "at_us": 1, "asked": 1, "cut": False, "open": 0}
    said |= {
        "number": 1,
        "kind": kind,
        "items": items,
        "codes": ("10",) * len(items),
        "outcome": outcome,
        "ended_us": 2,
    }
    return AskedQuery(**{**said, "outcome": outcome, **more})


ASKED, LOST = query("specimens", "sent", 1), query("specimens", "no-answer", 1)
NONE = query("specimens", "", none=("unknown",))
SENT, REFUSED = query("download", "sent", 1), query("download", "refused", 1)
TABLE = [  # mode, last rows (newest first), orders that wait -> health, words
    ("", [], 0, Health.WARN, "has asked for none so far"),
    ("", [SENT], 0, Health.WARN, "has asked for none so far"),
    ("", [ASKED], 0, Health.OK, "took the last answer"),
    ("", [NONE, ASKED], 0, Health.OK, "no order for the last question (unknown)"),
    ("", [query("specimens", "taken_back", none=("unknown",)), ASKED], 0, Health.OK, "no order for the last question"),
    ("", [query("specimens", "no-answer", none=("unknown",)), ASKED], 0, Health.WARN, "did not arrive (no-answer)"),
    ("", [LOST, ASKED], 0, Health.WARN, "did not arrive (no-answer)"),
    ("", [REFUSED, ASKED], 0, Health.OK, "took the last answer"),
    ("on_order", [], 0, Health.OK, "none was sent so far"),
    ("on_order", [ASKED], 0, Health.OK, "on_order, and it asks for them; it took the last answer"),
    ("on_order", [ASKED], 3, Health.WARN, "3 wait, and none was sent"),
    ("on_order", [], 3, Health.WARN, "3 wait, and none was sent"),
    ("on_order", [SENT], 3, Health.OK, "took the last one"),
    ("on_order", [REFUSED, SENT], 3, Health.FAIL, "did not take the last one (refused)"),
    ("batch", [query("download", "", 1, open=1), SENT], 0, Health.OK, "took the last one"),
    ("on_connect", [ASKED, REFUSED], 0, Health.FAIL, "did not take the last one"),
]


@pytest.mark.parametrize(("mode", "found", "waiting", "health", "words"), TABLE)
def test_the_last_answer_or_download_decides(
    mode: str, found: list[AskedQuery], waiting: int, health: Health, words: str
) -> None:
    line = two_way("c", mode, "", found, waiting, daemon_runs=True)
    assert (line.health, words in line.text) == (health, True), line
    assert line.advice or health is Health.OK


async def test_doctor_has_a_line_for_each_analyzer_that_gets_orders(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await added(site, "00042", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            await analyzer.ask(question("00042"))
            await becomes(site, ["offered"])
        ran = await site.labrelay("doctor", "-o", "json")
        (line,) = [one for one in ran.json["lines"] if one["subject"] == "orders"]
        assert line["health"] == "ok"
        assert "without TLS it is in the clear; it took the last answer" in line["text"]


async def test_analyzers_says_which_get_orders(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        ran = await site.labrelay("analyzers", "-o", "json")
        orders = {one["analyzer"]: one["orders"] for one in ran.json["analyzers"]}
        assert orders["roche-cobas-e411"] == "it asks for each tube (Q record)"
        assert orders["stago-sta-satellite"] == "results only"
        shown = await site.labrelay("analyzers", "show", "erba-em200")
        assert "Orders: it asks for each tube" in shown.out
