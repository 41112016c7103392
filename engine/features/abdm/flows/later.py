"""What a person decides of a report at ABDM: whose it is, and that it is given out no more.

    link       a report that waits, has failed or was taken away is linked with the person that a clerk has typed
    withdraw   nothing of a report goes out any more, neither its next version; `link` takes that back


What the clerk has typed is taken as from the card, and counts more than reports. The network compares name,
gender and year of birth itself; three mistakes block the patient for a day, so that what is typed is looked at before.
Each act is a row of the audit trail, with numbers alone.

What a person has done once more at ABDM, and what cannot be.

    report      that was not linked: its link is asked for again; of a blocked patient only once the day is over
                that is linked: the patient's app is notified again of a version that it has not taken
    transfer    its report to the network, where that has failed; never its pages: they are deleted, and the reader
                asks again
    call        that has failed, where it is still of use (`engine.features.abdm.rules.network.LASTING`)

Where the network has refused name, gender or year of birth, it is asked again only where these have changed or a person
says so: three mistakes block the patient for a day. Each is a row of the audit trail, with numbers alone.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import issues, linking, requests
from engine.features.abdm.rows import calls, contexts, leaving, patients, transfers
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rows.forgetting import ERASED, RETENTION
from engine.features.abdm.rows.patients import Patient, Person
from engine.features.abdm.rules import care_contexts, network
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import Gone
from engine.features.abdm.rules.links import held
from engine.features.abdm.rules.network import ContextState
from engine.model.errors import RefusedError
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_, R_, Phrase, Refusal, Said
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

GENDERS = frozenset("MFODTU")  # of the network's interfaces
OLDEST = 130  # years
COMPARED = N_(("name", "gender", "year of birth", "ABHA number"))
"""In what a report and a card may differ."""
NEVER: Final[dict[care_contexts.Wait, Refusal]] = {
    care_contexts.Wait.COUNTED: (
        "the patient is known by a counter, which is another person's tomorrow: no link is ever made; send the report "
        "again under a number that lasts"
    ),
    care_contexts.Wait.OTHER_LABORATORY: (
        "the report names another laboratory: no link is ever made; correct the HFR ID of the channel, and send the "
        "report again"
    ),
}
"""Why no link is ever made of a report (`ENDS`)."""
_TITLES: Final = frozenset(
    {"mr", "mrs", "ms", "miss", "dr", "prof", "shri", "sri", "smt", "kum", "kumari", "master", "baby"}
)
_WORD: Final = re.compile(r"\w+")


@operation(priority=Priority.SETTLE)
def link(
    batch: Batch,
    ours: AbdmDestination,
    number: int,
    person: Person,
    *,
    who: str,
    readmit: bool = False,
    confirmed: bool = False,
    reason: str,
) -> int:
    """Link a report with the person that a clerk has typed.

    Args:
        number: of the context.
        readmit: the patient has left the network, and has asked to come back.
        confirmed: the clerk has seen that the report says another name, gender, year or ABHA number, or that the
            network has refused exactly this, and means it.
        reason: the clerk's own words.

    Returns:
        the number of the context that is linked: another one, where the network knows this one as another person's.

    Raises:
        RefusedError: no link may be made, and why; no value is in the words.
    """
    context = one_left(batch, number)
    raise_if_not_ours(ours, context)
    if context.state in (ContextState.DROPPED, ContextState.WAITING) and not contexts.is_current(batch, number):
        raise RefusedError(
            R_(
                "later versions of this report are not this context's: link the newest one of the report; where its "
                "patient had left the network, have the laboratory system send it again"
            )
        )
    typed = checked(person, ours.environment, from_us(batch.now_us).year)
    if (never := issues.never(context)) is not None:
        raise RefusedError(NEVER[never])
    _raise_if_anothers(batch, context, typed)
    if not confirmed and (differing := _differing(context, typed)):
        raise RefusedError(Said("the report says otherwise: {what}; look at both, then confirm", what=differing))
    known = patients.by_address(batch, context.facility, typed.address)
    if not readmit and patients.has_left(batch, context.facility, typed):
        raise RefusedError(R_("this patient has left the network: link with readmit only if the patient asks for it"))
    if not reason.strip():
        raise RefusedError(R_("say why"))
    typed = _completed(typed, known.person if known is not None else None, context)
    if known is not None and not confirmed and linking.mistaken(batch, known.number, typed):
        raise RefusedError(
            R_(
                "the network has refused this name, gender or year of birth: look at the card, then confirm; three "
                "mistakes block the patient for a day"
            )
        )
    patient = patients.put(batch, context.facility, linking.reference(), typed)
    done: dict[str, Any] = {"context": number, "patient": patient, "state": context.state.value}
    if context.patient not in (0, patient):
        contexts.withdraw(batch, number, Gone.WITHDRAWN)
        context = one_left(batch, contexts.give_twin(batch, number, linking.reference()))
        done["as"] = context.number
    _remember(batch, context, typed)
    if context.state is not ContextState.LINKED or context.patient != patient:
        contexts.assign(batch, context.number, patient)
    more = {"readmit": readmit, "confirmed": confirmed}
    audit.note(batch, who, "abdm-link", done | {name: True for name, said in more.items() if said} | {"reason": reason})
    linking.come_back(batch, ours, patient, confirmed=confirmed)
    return context.number


@operation(priority=Priority.SETTLE)
def withdraw(batch: Batch, number: int, reason: str, *, who: str) -> None:
    """Give nothing of a report out any more. Of one that a correction has moved it says that a person has looked.

    Args:
        reason: the clerk's own words.

    Raises:
        RefusedError: there is no such report, no reason, or it is withdrawn already.
    """
    context = one_left(batch, number)
    if not reason.strip():
        raise RefusedError(R_("say why"))
    if context.state is ContextState.DROPPED and context.reason == Gone.WITHDRAWN:
        raise RefusedError(R_("it is withdrawn already"))
    contexts.withdraw(batch, number, Gone.WITHDRAWN)
    for patient in _leaving(batch, context):
        leaving.confirm(batch, patient)
    audit.note(batch, who, "abdm-withdraw", {"context": number, "state": context.state.value, "reason": reason})


def _leaving(batch: Batch, context: Context) -> list[int]:
    """The patient of a report; of one that waits, whom it names."""
    if context.patient:
        return [context.patient]
    said = held(context.content)
    found = [patients.by_address(batch, context.facility, one) for one in said.addresses]
    found += [one for digits in said.numbers for one in patients.by_abha(batch, context.facility, digits)]
    return [one.number for one in found if one is not None]


def checked(person: Person, environment: str, year: int) -> Person:
    """A person as typed, in the network's form; an address that is left out is the one that each number has.

    Args:
        year: now.

    Raises:
        RefusedError: something is missing, or cannot be so; no value is in the words.
    """
    number = AbhaNumber.read(person.number) if person.number.strip() else None
    if person.number.strip() and number is None:
        raise RefusedError(R_("the ABHA number has not 14 digits: look at the card"))
    if number is not None and not number.fits:
        raise RefusedError(R_("the check digit of the ABHA number does not fit: look at the card"))
    text = person.address.strip() or (f"{number.digits}@{environment}" if number else "")
    if not text:
        raise RefusedError(R_("an ABHA number or an ABHA address is needed"))
    address = AbhaAddress.read(text)
    if address is None:
        raise RefusedError(Said("the ABHA address is none: it is written name@{domain}", domain=environment))
    if address.domain != environment:
        raise RefusedError(
            Said("the ABHA address is of another environment: here they end with @{domain}", domain=environment)
        )
    name, gender = " ".join(person.name.split()), person.gender.strip().upper()
    if not name:
        raise RefusedError(R_("the name is missing: the network compares it"))
    if gender not in GENDERS:
        raise RefusedError(R_("the gender is missing: M, F, O, D, T or U, as on the card"))
    if not year - OLDEST <= person.year <= year:
        raise RefusedError(R_("the year of birth is missing, or cannot be"))
    return replace(
        person, address=address.text, number=number.digits if number else "", name=name, gender=gender, verified=True
    )


def one_left(batch: Batch, number: int) -> Context:
    """A context of which there still is a report.

    Raises:
        RefusedError: there is none, or nothing is left of it.
    """
    context = contexts.by_number(batch, number)
    if context is None:
        raise RefusedError(Said("there is no context {n}", n=number))
    if context.reason in (ERASED, RETENTION):
        raise RefusedError(R_("nothing is left of the report: it was erased, or its time here is over"))
    return context


def raise_if_not_ours(ours: AbdmDestination, context: Context) -> None:
    """Of a laboratory that the configuration names no more nothing is asked."""
    if context.facility not in ours.facilities:
        raise RefusedError(R_("the laboratory of the report is not in the configuration any more"))


def _raise_if_anothers(batch: Batch, context: Context, typed: Person) -> None:
    """A report that goes out to one person is taken away first, by an act of its own."""
    if context.state in (ContextState.READY, ContextState.LINKING, ContextState.LINKED):
        one = patients.by_number(batch, context.patient)
        if one is None or one.person is None or one.person.address != typed.address:
            raise RefusedError(R_("the report is another person's: withdraw it first"))


def _differing(context: Context, typed: Person) -> Phrase | None:
    """In which a report says otherwise of its patient, as far as it says something; without a name it says nothing."""
    said = held(context.content)
    numbers = [AbhaNumber(one) for one in said.numbers if AbhaNumber(one).fits]
    all_differ = (
        not said.name or _words(said.name) != _words(typed.name),
        said.gender not in ("", "U", typed.gender) and typed.gender != "U",
        said.year not in (0, typed.year),
        bool(numbers and typed.number) and AbhaNumber(typed.number) not in numbers,
    )
    found: Phrase | None = None
    for name, differs in zip(COMPARED, all_differ, strict=True):
        if differs:
            found = Phrase("{one}, {other}", {"one": found, "other": Phrase(name)}) if found else Phrase(name)
    return found


def _words(name: str) -> list[str]:
    """The words of a name in no order, without titles and dots: as two programs write one name."""
    found = sorted(_WORD.findall(name.casefold()))
    return [one for one in found if one not in _TITLES] or found


def _completed(typed: Person, before: Person | None, context: Context) -> Person:
    """A person as typed, with what is known already where nothing was typed."""
    said = held(context.content)
    return replace(
        typed,
        mobile=typed.mobile or (before.mobile if before else "") or said.mobile,
        patient=typed.patient or (before.patient if before else "") or min(said.own, default=""),
        number=typed.number or (before.number if before else ""),
    )


def _remember(batch: Batch, context: Context, typed: Person) -> None:
    """Later issues are compared with what the clerk has said."""
    known = issues.known_of(context)
    if known is None:
        return
    number = AbhaNumber(typed.number) if typed.number else None
    after = care_contexts.linked_by_hand(known, number, AbhaAddress(typed.address))
    contexts.set_content(batch, context.number, {**context.content, issues.ISSUES: issues.written(after)})


UNDER_WAY: Final = R_("the report is on its way: wait for the network's answer")
_LINKING: Final = frozenset({linking.TOKEN, linking.LINK, linking.NOTIFY})
_NOT_ENDED: Final = frozenset({network.CallState.WAITING, network.CallState.SENDING, network.CallState.ACCEPTED})


@operation(priority=Priority.SETTLE)
def context(
    batch: Batch, ours: AbdmDestination, number: int, reason: str, *, who: str, confirmed: bool = False
) -> None:
    """Have the next step of a report made once more.

    Args:
        reason: the person's own words.
        confirmed: the network has refused the patient's data, and the person means that they are right.

    Raises:
        RefusedError: there is nothing to make once more, or it must not be; no value is in the words.
    """
    _raise_without(reason)
    one = one_left(batch, number)
    raise_if_not_ours(ours, one)
    patient = _patient_of(batch, one)
    if one.state is network.ContextState.LINKED:
        _tell(batch, ours, one)
    else:
        _link(batch, ours, one, patient, confirmed)
    _note(batch, who, {"context": number, "state": one.state.value}, reason, confirmed=confirmed)


@operation(priority=Priority.SETTLE)
def transfer(batch: Batch, number: int, reason: str, *, who: str) -> None:
    """Have the report of a transfer made to the network once more.

    Raises:
        RefusedError: it has none that has failed.
    """
    _raise_without(reason)
    found = transfers.by_number(batch, number)
    if found is None:
        raise RefusedError(Said("there is no transfer {n}", n=number))
    if found.state not in (network.TransferState.ENDED, network.TransferState.REFUSED):
        raise RefusedError(R_("the transfer is under way: each page is tried again by itself"))
    failed = calls.failed_last(batch, requests.DATA_NOTIFY, number)
    if found.state is network.TransferState.REFUSED or failed is None or failed[1] == requests.NOT_ACKNOWLEDGED:
        raise RefusedError(
            R_("the transfer has ended, and its pages are deleted: the reader asks again, which is another transfer")
        )
    _make_again(batch, failed[0])
    _note(batch, who, {"transfer": number, "call": failed[0].number}, reason)


@operation(priority=Priority.SETTLE)
def call(batch: Batch, number: int, reason: str, *, who: str) -> None:
    """Have a call made once more that has failed.

    Raises:
        RefusedError: it has not, or is of no use any more.
    """
    _raise_without(reason)
    found = calls.by_number(batch, number)
    if found is None:
        raise RefusedError(Said("there is no call {n}", n=number))
    if found.state in _NOT_ENDED:
        raise RefusedError(R_("the call is under way"))
    if found.state is not network.CallState.FAILED:
        raise RefusedError(R_("the call is done"))
    if found.name in _LINKING:
        raise RefusedError(R_("the call belongs to the link of a report: give the context instead"))
    if found.name not in network.LASTING:
        raise RefusedError(R_("the call is not made again: it was of use at its moment alone"))
    _make_again(batch, found)
    _note(batch, who, {"call": number, "name": found.name}, reason)


def _raise_without(reason: str) -> None:
    if not reason.strip():
        raise RefusedError(R_("say why"))


def _patient_of(batch: Batch, one: Context) -> Patient:
    if one.state in (network.ContextState.WAITING, network.ContextState.DROPPED):
        raise RefusedError(R_("the report waits, or is withdrawn: say by a link whose it is"))
    patient = patients.by_number(batch, one.patient) if one.patient else None
    if patient is None or patient.person is None or patient.state is not network.PatientState.KNOWN:
        raise RefusedError(R_("the patient of the report has left the network"))
    return patient


def _tell(batch: Batch, ours: AbdmDestination, one: Context) -> None:
    if one.notified >= one.version:
        raise RefusedError(R_("the report is linked, and the patient's app knows its newest version"))
    if calls.is_open(batch, linking.NOTIFY, one.number):
        raise RefusedError(UNDER_WAY)
    contexts.move(batch, [one.number], network.ContextState.LINKED)
    linking.tell(batch, ours, one)


def _link(batch: Batch, ours: AbdmDestination, one: Context, patient: Patient, confirmed: bool) -> None:
    if one.state is network.ContextState.LINKING:
        raise RefusedError(UNDER_WAY)
    is_asked = any(calls.is_open(batch, name, patient.number) for name in (linking.TOKEN, linking.LINK))
    if one.state is network.ContextState.READY and is_asked:
        raise RefusedError(UNDER_WAY)
    token = patients.link_token(batch, patient.number)
    if token is not None and token.state is network.TokenState.BLOCKED and token.until_us > batch.now_us:
        until = f"{from_us(token.until_us):%Y-%m-%d %H:%M}"
        raise RefusedError(Said("the network blocks this patient until {time} UTC", time=until))
    has_token = token is not None and token.state is network.TokenState.HELD and token.until_us > batch.now_us
    if not (confirmed or is_asked or has_token) and _is_mistaken(batch, one, patient):
        raise RefusedError(
            R_(
                "the network has refused name, gender or year of birth of this patient, and they are as they were: "
                "link the report with what the card says, or confirm; three mistakes block the patient for a day"
            )
        )
    contexts.assign(batch, one.number, patient.number)
    linking.go_on(batch, ours, patient.number, confirmed=confirmed)


def _is_mistaken(batch: Batch, one: Context, patient: Patient) -> bool:
    """Whether the network would be asked what it has refused. What it was asked is deleted after a month: then it is
    taken for the same."""
    assert patient.person is not None
    if linking.mistaken(batch, patient.number, patient.person):
        return True
    was_refused = one.reason in (linking.BLOCKED, *linking.MISTAKES)
    return was_refused and not calls.was_made(batch, linking.TOKEN, patient.number)


def _make_again(batch: Batch, one: network.Call) -> None:
    if one.ends_us and one.ends_us <= batch.now_us:
        raise RefusedError(R_("the call is of no use any more: its time is over"))
    if one.body is None:
        raise RefusedError(R_("nothing is left of the call: its patient was erased"))
    calls.again(batch, one, 0.0)


def _note(batch: Batch, who: str, what: Mapping[str, Any], reason: str, *, confirmed: bool = False) -> None:
    audit.note(batch, who, "abdm-retry", {**what, **({"confirmed": True} if confirmed else {}), "reason": reason})
