"""Retention and the worklist: an order goes with the message or act that made it, and no number comes again.

order                                      its message is older than `filtered`
it has ended                               it goes, with its history
it is open                                 it stays, and the message with it
it has ended, `specimen_reuse` is not over it stays, and the message with it
it has changed after its message came      it goes once that change is old enough
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.exchange import taking
from engine.features.orders.rows import reading
from engine.model.orders import Asked, OrderedPatient, OrderLine, Question
from engine.model.worklist import DAY_US, AskSettings, ResultOf, TakeSettings
from engine.store.integrity import verify
from engine.store.recovery.salvage import saving
from tests.engine.store.lifecycle.test_retention import POLICY, Site

SETTINGS = TakeSettings(known_channels={"chem": frozenset({"GLU"})})
ASK = AskSettings(channel="chem", codes={"GLU": "1"})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "var")
    yield made
    made.close()


def line(specimen: str) -> OrderLine:
    return OrderLine(test="GLU", specimen=specimen, placer=specimen, patient=OrderedPatient(number="P1"))


def order(site: Site, specimen: str, settings: TakeSettings = SETTINGS) -> None:
    made = site.message("filtered")
    taken = {"message_id": made.rows[-1], "channel": "his", "lines": [line(specimen)], "settings": settings}
    site.do(worklist.take_orders, **taken)


def result(site: Site, specimen: str) -> None:
    made = site.message("delivered")
    about = {"channel": "chem", "specimen": specimen, "patient_number": "P1", "tests": [ResultOf(test="GLU")]}
    site.do(worklist.result, message_id=made.rows[-1], **about)


def ask(site: Site, specimen: str) -> int:
    made, question = site.message("filtered"), Question(kind="specimens", asked=(Asked(specimen=specimen),))
    found: int = site.do(worklist.answer, message_id=made.rows[-1], question=question, settings=ASK).query
    return found


def left(site: Site) -> list[int]:
    return sorted(one.number for one in reading.items(site.journal, reading.ItemFilter()))


def count(site: Site, table: str) -> int:
    return int(site._execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_an_order_goes_with_its_message_once_it_has_ended(site: Site) -> None:
    for specimen in ("S1", "S2", "S3"):
        order(site, specimen)
    result(site, "S1")
    result(site, "S3")
    site.wait(101)
    order(site, "S4")
    kept = site.walk(POLICY)
    assert left(site) == [2, 4]
    assert count(site, "order_event") == 2
    assert kept.gone["messages"] == 2
    assert site.findings() == []
    order(site, "S5")
    assert left(site) == [2, 4, 5]


def test_no_number_comes_again_where_the_newest_orders_are_gone(site: Site) -> None:
    for specimen in ("S1", "S2"):
        order(site, specimen)
        result(site, specimen)
    site.wait(101)
    site.message("filtered")
    site.walk(POLICY)
    assert left(site) == []
    site.reopened()
    order(site, "S3")
    assert left(site) == [3]
    assert site.findings() == []


def test_it_stays_while_its_specimen_number_is_its_patients(site: Site) -> None:
    order(site, "S1", replace(SETTINGS, specimen_reuse_us=150 * DAY_US))
    result(site, "S1")
    site.wait(101)
    site.message("filtered")
    site.walk(POLICY)
    assert left(site) == [1]
    site.wait(50)
    site.message("filtered")
    site.walk(POLICY)
    assert left(site) == []


def test_its_age_is_that_of_its_last_change(site: Site) -> None:
    order(site, "S1")
    site.wait(90)
    result(site, "S1")
    site.wait(40)
    site.walk(POLICY)
    assert left(site) == [1]
    site.wait(65)
    site.walk(POLICY)
    assert left(site) == []


def test_an_order_by_hand_goes_with_its_act(site: Site) -> None:
    for specimen in ("S1", "S2"):
        site.do(taking.add, actor="asha", lines=[line(specimen)], settings=SETTINGS)
    site.do(worklist.cancel, number=1, actor="asha", reason="looked")
    site.wait(501)
    site.message("filtered")
    site.walk(POLICY)
    assert left(site) == [2]
    assert site.findings() == []


def test_old_questions_go_but_for_the_newest(site: Site) -> None:
    order(site, "S1")
    assert [ask(site, "S1"), ask(site, "S9")] == [1, 2]
    site.wait(101)
    site.message("filtered")
    site.walk(POLICY)
    assert [count(site, "order_query"), count(site, "order_asked")] == [1, 1]
    assert ask(site, "S1") == 3


def test_verify_and_salvage_know_the_orders_that_are_gone(site: Site, tmp_path: Path) -> None:
    for specimen in ("S1", "S2", "S3"):
        order(site, specimen)
    result(site, "S1")
    site.wait(101)
    site.walk(POLICY)
    site._execute("DELETE FROM order_item WHERE number = 2")
    assert [(one.kind, one.first, one.last) for one in verify.run(site.folder)] == [("missing", 2, 2)]
    site.close()
    saved = saving.run(site.folder, tmp_path / "saved", clock=site.clock, actor="asha", reason="tested")
    assert [(one.first, one.last) for one in saved.orders] == [(2, 2)], "named, but those that retention has deleted"
    assert verify.run(tmp_path / "saved") == []
    site.journal = site.reopened()
