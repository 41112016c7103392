"""What a person has done once more at ABDM, and what cannot be.

    report      that was not linked: its link is asked for again; of a blocked patient only once the day is over
                that is linked: the patient's app is notified again of a version that it has not taken
    transfer    its report to the network, where that has failed; never its pages: they are deleted, and the reader
                asks again
    call        that has failed, where it is still of use (`engine.features.abdm.rules.network.LASTING`)

Where the network has refused name, gender or year of birth, it is asked again only where these have changed or a person
says so: three mistakes block the patient for a day. Each is a row of the audit trail, with numbers alone.
"""

from collections.abc import Mapping
from typing import Any, Final

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import later, linking, requests
from engine.features.abdm.rows import calls, contexts, patients, transfers
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rows.patients import Patient
from engine.features.abdm.rules import network
from engine.model.errors import RefusedError
from engine.model.process.clock import from_us
from engine.model.texts.phrases import R_, Said
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

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
    one = later.one_left(batch, number)
    later.raise_if_not_ours(ours, one)
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
