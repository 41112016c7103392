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


_UNDECIDED: dict[str, tuple[Level, PageText, str]] = {
    "moved": (
        Level.PROBLEM,
        "Reports that a correction took away from a patient at ABDM: {n}. The patient's app may have one: tell the"
        " patient.",
        "labrelay abdm contexts --reason moved",
    ),
    "same_number": (
        Level.ATTENTION,
        "Reports of two patients with one number, which ABDM does not get: {n}. Look whose each one is.",
        "labrelay abdm contexts --reason same_number",
    ),
    "other_name": (
        Level.ATTENTION,
        "Reports with the ABHA of a patient of another name, which ABDM does not get: {n}. Look whose each one is.",
        "labrelay abdm contexts --reason other_name",
    ),
    "failed": (
        Level.ATTENTION,
        "Reports that ABDM has not linked with their patient: {n}. Look why, then link or try again.",
        "labrelay abdm contexts --state failed",
    ),
    "not-notified": (
        Level.ATTENTION,
        "Linked reports of which the patient's app does not know the newest version: {n}. Try again.",
        "labrelay abdm contexts --reason not-notified",
    ),
    "blocked": (
        Level.ATTENTION,
        "Reports of patients whom ABDM blocks for a day, for name, gender or year of birth did not fit: {n}. Look at"
        " the card, then link or try again.",
        "labrelay abdm contexts --reason blocked",
    ),
    "ABDM-1092": (
        Level.ATTENTION,
        "Reports of patients of whom ABDM gave a link token that is not here, as after a restore: {n}. Let the patients"
        " search for them in the app.",
        "labrelay abdm contexts --reason ABDM-1092",
    ),
    "bad_signature": (
        Level.ATTENTION,
        "Consents whose signature no key of ABDM proves, under which nothing goes out: {n}.",
        "labrelay abdm consents --reason bad_signature",
    ),
    "other_patient": (
        Level.ATTENTION,
        "Consents of an ABHA address that is not known as the report's, under which nothing goes out: {n}. If it is"
        " the same person, let the person scan the code at the counter, then grant it again.",
        "labrelay abdm consents --reason other_patient",
    ),
    "suspended": (
        Level.ATTENTION,
        "Consents under which nothing goes out, since they may have been revoked: {n}. Look at the network's own list.",
        "labrelay abdm consents --reason suspended",
    ),
    "leaving": (
        Level.PROBLEM,
        "Patients who have left ABDM by a notice of which the gateway has not taken our answer: {n}. Withdraw the"
        " reports of each, or link one again with the patient's card.",
        "labrelay abdm contexts --reason leaving",
    ),
    "unshared": (
        Level.ATTENTION,
        "Profiles of patients at a counter that do not count, for the gateway has not taken our answer: {n}. Let the"
        " patients scan the code again.",
        "labrelay abdm status",
    ),
    "doubtful": (
        Level.ATTENTION,
        "Consents of which the gateway has not taken our answer, under which nothing goes out: {n}. Look at the"
        " network's own list.",
        "labrelay abdm consents --reason doubtful",
    ),
    "damaged": (
        Level.PROBLEM,
        "Requests for records (ABDM) that ended because a row of the journal cannot be opened: {n}",
        "labrelay verify",
    ),
}
"""What a person has to decide of ABDM: how urgent it is, words, and the command that lists it."""


_OF = {
    **dict.fromkeys(("suspended", "bad_signature", "other_patient", "doubtful"), "consents"),
    "leaving": "patients",
    "damaged": "transfers",
    "unshared": "shares",
}


_ON_NO_PAGE = ("damaged", "unshared")


def _way(what: str) -> Way | None:
    """The list of the pages that has it."""
    if what in _ON_NO_PAGE:
        return None
    if _OF.get(what) == "consents":
        return Way("Decide: {n}", "/abdm/consents", {"reason": what})
    return Way("Decide: {n}", "/abdm/contexts", {"state" if what == "failed" else "reason": what})


def of_undecided(one: Undecided) -> Entry:
    level, text, step = _UNDECIDED[one.what]
    return Entry(
        key=f"abdm-{_OF.get(one.what, 'reports')}-{one.what}",
        level=level,
        phrase=Phrase(text, {"n": one.count}),
        step=step,
        way=_way(one.what),
        count=one.count,
        since=from_us(one.oldest_us),
    )
