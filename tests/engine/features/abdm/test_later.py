"""What a person decides of a report: links that are made or refused, by a table, and withdrawals."""

from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.flows import later
from engine.features.abdm.rows import contexts
from engine.features.abdm.rows.patients import Person
from engine.model.errors import RefusedError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.acts import acts_page
from tests.support.abdm_finding import patient
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, person, report
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

WHO = "asha"


def typed(n: int = 0, **other: Any) -> Person:
    """One of the simulator's people, as a clerk types it from the card."""
    one = PEOPLE[n]
    said = {"address": one.address, "number": one.number or "", "name": one.name, "gender": one.gender}
    return Person(**(said | {"year": one.year} | other))


async def link(site: AbdmSite, number: int, one: Person, **other: Any) -> int:
    made: int = await site.ours.journal.run(
        later.link, site.config, number, one, **{"who": WHO, "reason": "the card"} | other
    )
    site.ours.dispatcher.changed()
    return made


async def withdraw(site: AbdmSite, number: int, reason: str = "wrong patient") -> None:
    await site.ours.journal.run(later.withdraw, number, reason, who=WHO)
    site.ours.dispatcher.changed()


@operation(priority=Priority.SETTLE)
def held(batch: Batch, number: int, reason: str) -> None:
    contexts.hold(batch, number, reason)


def acts(site: AbdmSite) -> list[str]:
    return [act.verb for act in reversed(acts_page(site.ours.journal)) if act.verb.startswith("abdm-")]


async def test_a_report_that_waits_is_linked_by_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), None)
        assert await link(site, number, typed(), confirmed=True) == number
        await site.ours.is_told(number)
        await site.is_clean()

        assert acts(site) == ["abdm-link"]
        again = await site.ours.offer(report(message_id=2), None)  # its next version has no ABHA either
        await site.ours.is_told(again)
        assert site.ours.rows("abdm_context", "number, state, version") == [(number, "linked", 2)]


# what is typed -> words of the refusal
REFUSED: dict[str, tuple[Person, str]] = {
    "a number of 13 digits": (typed(number="9110000000001"), "14 digits"),
    "a check digit that does not fit": (typed(number="91100000000017"), "check digit"),
    "neither number nor address": (typed(number="", address=""), "is needed"),
    "an address that is none": (typed(address="meera"), "is none"),
    "an address of production": (typed(address="meera.iyer@abdm"), "another environment"),
    "no name": (typed(name=" "), "name is missing"),
    "no gender": (typed(gender=""), "gender is missing"),
    "no year": (typed(year=0), "year of birth is missing"),
    "a year to come": (typed(year=2100), "year of birth is missing"),
    "another name than the report's": (typed(name="Arjun Rao"), "otherwise: name"),
    "another gender": (typed(gender="M"), "otherwise: gender"),
    "another year": (typed(year=1901), "otherwise: year of birth"),
    "another person": (typed(1), "otherwise: name"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_link_is_refused_before_the_network_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    one, words = REFUSED[name]
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person(address="meera.iyer@abdm", number=""))
        assert site.ours.rows("abdm_context", "state, reason") == [("waiting", "other_environment")]
        with pytest.raises(RefusedError, match=words) as refused:
            await link(site, number, one)
        for secret in (one.name.strip(), one.address, one.number):
            assert not secret or secret not in str(refused.value)

        assert (site.ours.rows("abdm_call"), site.ours.rows("abdm_patient"), acts(site)) == ([], [], [])


@pytest.mark.parametrize("reason", ["counted", "other_laboratory"])
async def test_no_person_links_what_no_link_may_be_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), None)
        await site.ours.journal.run(held, number, reason)
        with pytest.raises(RefusedError, match="no link is ever made"):
            await link(site, number, typed(), confirmed=True)


COUNTED = {"content": {"display": "Lab report", "patient": patient(0, own="")}}  # neither ABHA nor a number that lasts


@pytest.mark.parametrize("first", [True, False])
async def test_what_no_link_may_be_made_of_stays_so_once_it_was_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """By its first version, or by one that came after it was withdrawn."""
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(**COUNTED if first else {}), None if first else person())
        await site.ours.is_quiet()
        await withdraw(site, number)
        if not first:
            assert await site.ours.offer(report(message_id=2, **COUNTED), None) == number
        assert site.ours.rows("abdm_context", "state, reason, version") == [("dropped", "withdrawn", 2 - first)]
        with pytest.raises(RefusedError, match="no link is ever made"):
            await link(site, number, typed(), confirmed=True)
        assert await site.ours.offer(report(message_id=3), None) == number  # under a number that lasts
        assert await link(site, number, typed(), confirmed=True) == number
        await site.ours.is_told(number)


async def test_titles_and_order_of_a_name_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        words = " ".join(reversed(typed().name.split())).upper()
        number = await site.ours.offer(report(), person(address="x.y@abdm", number="", name=f"Mrs. {words}"))
        await link(site, number, typed())
        await site.ours.is_told(number)
        await site.is_clean()


async def test_a_patient_who_has_left_is_linked_again_only_where_the_clerk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.ours.leave(person().address)
        site.sandbox.state.drop_token(FACILITY, person().address)
        second = await site.ours.offer(report("A-2", message_id=2), person())
        assert site.ours.rows(f"abdm_context WHERE number = {second}", "state, reason") == [("waiting", "left")]
        with pytest.raises(RefusedError, match="readmit"):
            await link(site, second, typed())
        await link(site, second, typed(), readmit=True)
        await site.ours.is_told(second)


async def test_nothing_of_a_withdrawn_report_goes_out_and_a_link_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await withdraw(site, number)
        assert await site.ours.offer(report(message_id=2), person()) == number  # its next version
        await site.ours.is_quiet()
        assert site.ours.rows("abdm_context", "state, reason, version, notified") == [("dropped", "withdrawn", 2, 1)]
        with pytest.raises(RefusedError, match="why"):
            await withdraw(site, number, " ")
        assert await link(site, number, typed()) == number
        await site.ours.is_told(number)
        await site.is_clean()

        assert site.ours.rows("abdm_context", "state, version, notified") == [("linked", 2, 2)]
        assert acts(site) == ["abdm-withdraw", "abdm-link"]


async def test_a_context_that_is_not_the_newest_of_its_report_is_not_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its report would be there twice, once in an old version."""
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await withdraw(site, number)
        twin = await link(site, number, typed(1), confirmed=True)
        await site.ours.is_told(twin)
        await withdraw(site, twin)
        with pytest.raises(RefusedError, match="link the newest one"):
            await link(site, number, typed(1), confirmed=True)
        assert await link(site, twin, typed(1), confirmed=True) == twin

        left = await site.ours.offer(report("A-2", message_id=2), person(2))
        await site.ours.is_told(left)
        await site.ask("/app/status", {"patient": person(2).address, "status": "DELETED"})
        await until(lambda: site.ours.rows("abdm_context WHERE reason = 'left'"))
        with pytest.raises(RefusedError, match="send it again"):
            await link(site, left, typed(2), confirmed=True, readmit=True)
        await site.is_clean()


async def test_a_withdrawn_report_with_another_abha_waits_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await withdraw(site, number)
        second = await site.ours.offer(report(message_id=2), person(1))
        await site.is_clean()
        assert site.ours.rows("abdm_context ORDER BY number", "state, reason") == [
            ("dropped", "withdrawn"),
            ("waiting", "same_number"),
        ]
        await site.ours.is_told(await link(site, second, typed(1)))
        await site.is_clean()


async def test_a_report_that_was_the_wrong_persons_goes_to_the_right_one_under_another_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        with pytest.raises(RefusedError, match="withdraw it first"):
            await link(site, number, typed(1), confirmed=True)
        await withdraw(site, number)
        second = await link(site, number, typed(1), confirmed=True)
        await site.ours.is_told(second)
        await site.is_clean()

        assert second != number
        assert site.ours.rows("abdm_context ORDER BY number", "state, reason") == [
            ("dropped", "withdrawn"),
            ("linked", ""),
        ]
        third = await site.ours.offer(report(message_id=2), person())  # the sender still has the first person
        assert third == second, "the clerk has said whose it is"
        await site.ours.is_told(second)


async def test_of_a_context_that_is_not_there_the_clerk_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        with pytest.raises(RefusedError, match="no context 7"):
            await link(site, 7, typed())
        with pytest.raises(RefusedError, match="no context 7"):
            await withdraw(site, 7)


async def test_no_act_names_a_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), None)
        await link(site, number, typed(), confirmed=True)
        said = " ".join(str(act.what) for act in acts_page(site.ours.journal))
        for word in (typed().name, typed().address, typed().number, "meera"):
            assert word.casefold() not in said.casefold()
