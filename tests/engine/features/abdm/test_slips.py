"""Whose a report is where it names the ABHA of a person with another name, by a slip of the file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.flows import later
from engine.features.abdm.rows import patients
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rows.reading import look, undecided
from engine.model.errors import RefusedError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.support import abdm_records as records
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, person, report
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm.people import PEOPLE

MEERA = person(0)
SLIP = person(1, address=MEERA.address, number=MEERA.number)
"""Arjun with the ABHA of Meera."""


def contexts(site: AbdmSite) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = site.ours.rows("abdm_context ORDER BY number", "state, reason")
    return found


def known(site: AbdmSite) -> Person:
    found = look(site.ours.journal, patients.by_address, FACILITY, MEERA.address)
    assert found is not None
    assert found.person is not None
    return found.person


# what of a person the second report has -> whether it is hers
SECOND: dict[str, tuple[Person, bool]] = {
    "another person with her ABHA": (SLIP, False),
    "her number alone": (person(1, address=f"{MEERA.number}@sbx", number=MEERA.number), False),
    "another name and year": (person(0, name="Anaya Rao", year=2013), False),
    "another name and gender": (person(0, name="Arjun Rao", gender="M"), False),
    "another name, and a gender that is not known": (person(0, name="Anaya Rao", gender="U"), False),
    "another name alone, as after a marriage": (person(0, name="Meera Rao"), True),
    "another year alone, by a slip": (person(0, year=1968), True),
    "a namesake of another year": (person(4, address=MEERA.address, number=MEERA.number), False),
    "the same person, under another number of the laboratory": (person(0, patient="PID-77"), True),
    "the family name first": (person(0, name="Iyer Meera", gender="U"), True),
}


@pytest.mark.parametrize("name", SECOND)
async def test_an_abha_of_a_patient_with_another_name_links_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    one, is_hers = SECOND[name]
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await site.ours.offer(report("A-1"), MEERA)
        await site.ours.is_told(first)
        second = await site.ours.offer(report("A-2", message_id=2), one)
        await site.ours.is_quiet()
        assert contexts(site)[1] == (("linked", "") if is_hers else ("waiting", "other_name"))
        assert (known(site).name, known(site).year) == (MEERA.name, MEERA.year)
        if not is_hers:
            assert [one.what for one in undecided(site.ours.journal)] == ["other_name"]
            assert await site.ours.offer(report("A-2", message_id=3), MEERA) == second
            await site.ours.is_told(second)  # the laboratory has corrected the name
        await site.is_clean()


async def test_reports_that_come_while_the_token_is_asked_for_are_compared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"generate-token": ["hang"]})) as site:
        await site.ours.offer(report("A-1"), MEERA)
        await until(lambda: site.ours.rows("abdm_call WHERE state = 'sending'"))
        await site.ours.offer(report("A-2", message_id=2), SLIP)
        assert contexts(site) == [("ready", ""), ("waiting", "other_name")]
        assert known(site).name == MEERA.name


async def test_a_later_issue_with_another_name_goes_to_no_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.is_told(await site.ours.offer(report(), MEERA))
        await site.ours.offer(report(message_id=2), SLIP)
        await site.ours.is_quiet()
        assert site.ours.rows("abdm_context", "state, reason, version, notified") == [("waiting", "other_name", 2, 1)]


async def test_a_first_report_that_the_network_refuses_does_not_hold_up_a_better_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.offer(report("A-1"), SLIP)
        await until(lambda: contexts(site) == [("failed", "ABDM-1036")])
        await site.ours.is_told(await site.ours.offer(report("A-2", message_id=2), MEERA))


@pytest.mark.parametrize("code", ["ABDM-1027", "ABDM-1036"])
async def test_a_token_for_her_links_no_earlier_report_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """The network has refused the first report, which has her ABHA by a slip; then her own one has a token."""
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"on-generate-token": [code]})) as site:
        slip = await site.ours.offer(report("A-1"), SLIP)
        await until(lambda: contexts(site) in ([("ready", "blocked")], [("failed", "ABDM-1036")]))
        await site.ours.journal.run(day_over)
        hers = await site.ours.offer(report("A-2", message_id=2), MEERA)
        await site.ours.is_told(hers)
        if code == "ABDM-1036":
            await site.ours.journal.run(later.context, site.config, slip, "again", who="asha")
            site.ours.dispatcher.changed()
            await site.ours.is_quiet()
        assert contexts(site)[0] == ("waiting", "other_name")
        assert len(site.sandbox.state.linked) == 1


@operation(priority=Priority.SETTLE)
def day_over(batch: Batch) -> None:
    batch.execute("UPDATE abdm_link_token SET until_us = 1")


@pytest.mark.parametrize("whose", [0, 3])
async def test_what_a_person_has_linked_goes_out_whatever_abha_and_name_its_documents_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: int
) -> None:
    """The registration had Arjun's ABHA and name for another's tube; the clerk has seen both. Of one who has no ABHA
    number the document does not keep Arjun's."""
    async with abdm_site(tmp_path, monkeypatch) as site:
        (number,) = await records.published(site, "A-1", who=1)
        await site.ours.journal.run(later.withdraw, number, "wrong patient", who="asha")
        typed = replace(person(whose), mobile="", patient="")
        said: dict[str, Any] = {"who": "asha", "reason": "the card"}
        with pytest.raises(RefusedError, match="name, gender, year of birth" if whose == 0 else "name, year of birth"):
            await site.ours.journal.run(later.link, site.config, number, typed, **said)
        second = await site.ours.journal.run(later.link, site.config, number, typed, **said, confirmed=True)
        site.ours.dispatcher.changed()
        await site.ours.is_told(second)
        done = await records.pulled(site, await records.granted(site, who=whose))
        assert [one["hiStatus"] for one in done["outcome"]["statusResponses"]] == ["DELIVERED"]
        ((shown),) = await records.documents(site, who=whose)
        (named,) = [str(one["resource"]) for one in shown["entry"] if one["resource"]["resourceType"] == "Patient"]
        assert PEOPLE[whose].address in named
        assert PEOPLE[1].address not in named
        assert str(PEOPLE[1].number) not in named
        await site.is_clean()
