"""Retention and critical values: none that no person has taken goes in silence.

critical value     its message is older than `delivered`     a year later
taken              it goes                                   -
alerts are off     it goes                                   -
not taken          it stays, also over `size`                it goes, and an audit row names it
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.features.alerts.rows import changes as alerts
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle import retention
from engine.store.queries.acts import acts_page
from tests.engine.store.lifecycle.test_retention import POLICY, Made, Site

OVER_SIZE = replace(POLICY, size=1)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "var")
    yield made
    made.close()


@operation(priority=Priority.SETTLE)
def noted(batch: Batch, message: int) -> None:
    alerts.note_critical(batch, message, "chem")


@operation(priority=Priority.SETTLE)
def taken(batch: Batch, message: int) -> None:
    batch.execute("UPDATE critical_value SET taken = 1, taken_us = ? WHERE message_id = ?", (batch.now_us, message))


def critical(site: Site) -> Made:
    made = site.message("delivered")
    site.do(noted, message=made.rows[-1])
    return made


def is_there(site: Site, made: Made) -> bool:
    return site.rows().issuperset(made.rows)


def trail(site: Site) -> list[list[int]]:
    return [one.what["messages"] for one in acts_page(site.journal) if one.verb == "critical-pruned"]


def preview(site: Site) -> dict[str, int]:
    found = site.do(retention.survey, policy=POLICY, newest=max(site.rows()))
    return dict(found.kept)


def test_one_that_was_taken_goes_with_its_message(site: Site) -> None:
    made, plain = critical(site), site.message("delivered")
    site.do(taken, message=made.rows[-1])
    site.wait(401)
    site.message("delivered")
    site.walk(POLICY)
    assert [is_there(site, made), is_there(site, plain)] == [False, False]
    assert trail(site) == []


def test_one_that_no_person_has_taken_stays_a_year_longer_and_does_not_go_in_silence(site: Site) -> None:
    made, other = critical(site), critical(site)
    plain = site.message("delivered")
    site.wait(401)
    site.message("delivered")
    assert preview(site)["critical value not taken"] == 2
    site.walk(POLICY)
    assert [is_there(site, one) for one in (made, other, plain)] == [True, True, False]
    site.wait(365)
    site.walk(POLICY)
    assert trail(site) == []
    site.wait(2)
    site.walk(POLICY)
    assert [is_there(site, one) for one in (made, other)] == [False, False]
    assert trail(site) == [[made.rows[-1], other.rows[-1]]]
    assert site._execute("SELECT count(*) FROM critical_value").fetchone() == (0,)
    assert site.findings() == []


def test_one_that_no_person_has_taken_stays_where_the_journal_is_too_large(site: Site) -> None:
    made, plain = critical(site), site.message("delivered")
    site.wait(150)
    site.message("delivered")
    site.walk(OVER_SIZE)
    assert [is_there(site, made), is_there(site, plain)] == [True, False]
    site.do(taken, message=made.rows[-1])
    site.walk(OVER_SIZE)
    assert not is_there(site, made)


def test_one_goes_where_alerts_were_switched_off(site: Site) -> None:
    made = critical(site)
    site.do(alerts.close_critical)
    site.wait(401)
    site.message("delivered")
    site.walk(POLICY)
    assert not is_there(site, made)
    assert trail(site) == []
