"""What of ABDM waits for a person."""

from engine.features.abdm.rows.reading import RefusedCallbacks, Undecided, refused_callbacks, undecided
from engine.features.abdm.rules.account import AbdmFault, account_of
from engine.features.abdm.rules.network import CONSENT_NOTICE
from engine.model.process.clock import from_us
from engine.model.texts.phrases import PageText, Phrase, Span
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way

CALLBACKS_FOR_US = 7 * 86_400_000_000  # how long a callback that could not be used is on the list


async def entries(look: Look) -> list[Entry]:
    account, since_us = account_of(look.site), look.now_us - CALLBACKS_FOR_US
    return [
        *map(of_fault, account.faults if account is not None else ()),
        *map(of_callbacks, await look.read(lambda reader: refused_callbacks(reader, since_us)) or ()),
        *map(of_undecided, await look.read(lambda reader: undecided(reader, since_us)) or ()),
    ]


def of_fault(fault: AbdmFault) -> Entry:
    return Entry(
        key=f"abdm-account/{fault.code}" + (f"/{fault.facility}" if fault.facility else ""),
        level=fault.level,
        phrase=fault.words,
        step="labrelay abdm preflight",
        since=fault.since,
    )


# A word on a consent that could not be used may have been its revocation.
CONSENTS = CONSENT_NOTICE


def of_callbacks(one: RefusedCallbacks) -> Entry:
    said: dict[str, str | int | Span | Phrase] = {"n": one.count, "path": one.path, "reasons": ", ".join(one.reasons)}
    words = Phrase("Callbacks of ABDM that could not be used: {n} ({path}: {reasons})", said)
    if one.path == CONSENTS:
        words = Phrase(
            "Notices of consents that could not be used: {n} ({path}: {reasons}). One may be a revocation.", said
        )
    return Entry(
        key=f"abdm-callbacks{one.path}",
        level=Level.PROBLEM if one.path == CONSENTS else Level.ATTENTION,
        phrase=words,
        step="labrelay doctor",
        count=one.count,
        since=from_us(one.oldest_us),
    )


_UNDECIDED: dict[str, PageText] = {
    "moved": "Reports that a correction took away from a patient at ABDM: {n}. The patient's app may have one: tell"
    " the patient.",
    "same_number": "Reports of two patients with one number, which ABDM does not get: {n}. Look whose each one is.",
    "other_name": "Reports with the ABHA of a patient of another name, which ABDM does not get: {n}. Look whose each"
    " one is.",
    "failed": "Reports that ABDM has not linked with their patient: {n}. Look why, then link or try again.",
    "not-notified": "Linked reports of which the patient's app does not know the newest version: {n}. Try again.",
    "blocked": "Reports of patients whom ABDM blocks for a day, for name, gender or year of birth did not fit: {n}."
    " Look at the card, then link or try again.",
    "ABDM-1092": "Reports of patients of whom ABDM gave a link token that is not here, as after a restore: {n}. Let"
    " the patients search for them in the app.",
    "bad_signature": "Consents whose signature no key of ABDM proves, under which nothing goes out: {n}.",
    "other_patient": "Consents of an ABHA address that is not known as the report's, under which nothing goes out:"
    " {n}. If it is the same person, let the person scan the code at the counter, then grant it again.",
    "suspended": "Consents under which nothing goes out, since they may have been revoked: {n}. Look at the network's"
    " own list.",
    "leaving": "Patients who have left ABDM by a notice of which the gateway has not taken our answer: {n}. Withdraw"
    " the reports of each, or link one again with the patient's card.",
    "unshared": "Profiles of patients at a counter that do not count, for the gateway has not taken our answer: {n}."
    " Let the patients scan the code again.",
    "doubtful": "Consents of which the gateway has not taken our answer, under which nothing goes out: {n}. Look at"
    " the network's own list.",
    "damaged": "Requests for records (ABDM) that ended because a row of the journal cannot be opened: {n}",
}
"""What a person has to decide of ABDM."""
_PROBLEMS = ("moved", "leaving", "damaged")

_OF = {
    **dict.fromkeys(("suspended", "bad_signature", "other_patient", "doubtful"), "consents"),
    "leaving": "patients",
    "damaged": "transfers",
    "unshared": "shares",
}
# What no list has, with the command that shows it.
_IN_NO_LIST = {"damaged": "labrelay verify", "unshared": "labrelay abdm status"}


def of_undecided(one: Undecided) -> Entry:
    subject = _OF.get(one.what, "reports")
    place = "consents" if subject == "consents" else "contexts"
    column = "state" if one.what == "failed" else "reason"
    return Entry(
        key=f"abdm-{subject}-{one.what}",
        level=Level.PROBLEM if one.what in _PROBLEMS else Level.ATTENTION,
        phrase=Phrase(_UNDECIDED[one.what], {"n": one.count}),
        step=_IN_NO_LIST.get(one.what, f"labrelay abdm {place} --{column} {one.what}"),
        way=None if one.what in _IN_NO_LIST else Way("Decide: {n}", f"/abdm/{place}", {column: one.what}),
        count=one.count,
        since=from_us(one.oldest_us),
    )
