"""States and reasons of ABDM's rows as a page says them; each text once."""

from collections.abc import Mapping

from engine.features.abdm.rules.consents import PURPOSES, ConsentState, FrequencyUnit
from engine.features.abdm.rules.network import CallState, ContextState, PageState, TransferState
from engine.model.texts.phrases import PageText
from engine.web.cells import Badge
from engine.web.pages.states import Look, badge
from engine.web.pages.words import Words

PATH = "/abdm"
CONTEXTS: Mapping[ContextState, Look] = {
    ContextState.WAITING: Look("waits for a patient", "attention", "pause"),
    ContextState.READY: Look("to be linked", "calm", "retry"),
    ContextState.LINKING: Look("being linked", "calm", "retry"),
    ContextState.LINKED: Look("linked", "ok", "ok"),
    ContextState.FAILED: Look("not linked", "problem", "problem"),
    ContextState.DROPPED: Look("withdrawn", "calm", "off"),
}
CONSENTS: Mapping[ConsentState, Look] = {
    ConsentState.REQUESTED: Look("requested", "calm", "retry"),
    ConsentState.GRANTED: Look("granted", "ok", "ok"),
    ConsentState.EXPIRED: Look("expired", "calm", "quiet"),
    ConsentState.DENIED: Look("denied", "calm", "off"),
    ConsentState.REVOKED: Look("revoked", "calm", "off"),
}
UNSURE = Look("granted, nothing goes out", "attention", "pause")
TRANSFERS: Mapping[TransferState, Look] = {
    TransferState.STORED: Look("received", "calm", "retry"),
    TransferState.ACKNOWLEDGED: Look("acknowledged", "calm", "retry"),
    TransferState.PUSHING: Look("being sent", "calm", "retry"),
    TransferState.ENDED: Look("ended", "ok", "ok"),
    TransferState.REFUSED: Look("refused", "attention", "off"),
}
PAGES: Mapping[PageState, Look] = {
    PageState.SEALED: Look("to be sent", "calm", "retry"),
    PageState.DELIVERED: Look("delivered", "ok", "ok"),
    PageState.FAILED: Look("not sent", "attention", "off"),
}
CALLS: Mapping[CallState, Look] = {
    CallState.WAITING: Look("waiting", "calm", "retry"),
    CallState.SENDING: Look("under way", "calm", "retry"),
    CallState.ACCEPTED: Look("accepted, its result is to come", "calm", "retry"),
    CallState.DONE: Look("done", "ok", "ok"),
    CallState.FAILED: Look("failed", "attention", "off"),
}
STEPS: Mapping[str, PageText] = {
    "generate-token": "A link token was asked for",
    "link": "The link of the patient's reports",
    "context-notify": "The notice to the patient's app",
}
"""Calls about one report."""
UNITS: Mapping[FrequencyUnit, PageText] = {
    FrequencyUnit.HOUR: "hours",
    FrequencyUnit.DAY: "days",
    FrequencyUnit.WEEK: "weeks",
    FrequencyUnit.MONTH: "months",
    FrequencyUnit.YEAR: "years",
}
WELL = Look("well", "ok", "ok")
NOT_WELL = Look("look at it", "attention", "problem")
TROUBLES: Mapping[str, tuple[PageText, str, Mapping[str, str]]] = {
    "moved": ("Taken from their patient by a correction: {n}", "/abdm/contexts", {"reason": "moved"}),
    "same_number": ("With the number of another patient's report: {n}", "/abdm/contexts", {"reason": "same_number"}),
    "other_name": ("With the ABHA of a patient of another name: {n}", "/abdm/contexts", {"reason": "other_name"}),
    "not_linked": ("Could not be linked: {n}", "/abdm/contexts", {"state": "failed"}),
    "suspended": ("Suspended consents: {n}", "/abdm/consents", {"reason": "suspended"}),
    "callbacks_refused": ("Callbacks that could not be used, in 7 days: {n}", "", {}),
    "callbacks_behind": ("Callbacks that wait for a minute or longer: {n}", "", {}),
    "calls_again": ("Calls that failed and are tried again: {n}", "", {}),
    "calls_failed": ("Calls given up in 24 hours: {n}", "/abdm", {}),
}
"""What is not well at a laboratory (`FacilityState.troubles`): words, and the list that shows it."""
REASONS: Mapping[str, PageText] = {
    # of care contexts
    "other_laboratory": "The report is of another laboratory.",
    "two_numbers": "The report has two ABHA numbers.",
    "doubtful_number": "The check digit of the ABHA number does not fit.",
    "other_environment": "The ABHA address is of another environment.",
    "counted": "The report number is a counter: another patient may get it.",
    "no_abha": "The report has no ABHA number or address.",
    "no_name": "The report has no name.",
    "no_birth_year": "The report has no year of birth.",
    "other-patient": "A newer version of the report is of another patient.",
    "token-renewed": "The link token did not fit; a new one is asked for.",
    "blocked": "The gateway gives no link token for now.",
    "no-token": "The gateway gave no link token.",
    "OTHER_ADDRESS": "The link token was for another ABHA address; it is not used.",
    "not-linked": "The gateway did not link it.",
    "not-confirmed": "The gateway did not confirm the link.",
    "not-notified": "The patient's app has not heard of the newest version.",
    "left": "The patient has left the network.",
    "leaving": "The patient has left the network.",
    "erased": "The patient's data were erased.",
    "retention": "Its time here is over.",
    # of consents
    "disputed": "Two grants of this consent differ.",
    "bad_signature": "The signature of the consent is not valid.",
    "suspended": "It may have been revoked: it has to be granted anew, or put in force again.",
    "doubtful": "The gateway did not take the acknowledgement.",
    "no_context": "The consent names no report.",
    "unknown_context": "The consent names a report that is not here.",
    "other_facility": "The consent is of another facility.",
    "other_patient": "The report is of another patient.",
    "moved": "A correction gave the report to another patient.",
    "same_number": "A report of another patient has its number.",
    "other_name": "The patient with this ABHA has another name, and another year of birth or gender.",
    # of transfers and their pages
    "unknown": "The consent is not known here.",
    "not_granted": "The consent is not granted.",
    "expired": "The consent has expired.",
    "revoked": "The consent is revoked.",
    "denied": "The consent is denied.",
    "purpose": "The purpose of the consent is not known.",
    "hi_type": "The consent is not for diagnostic reports.",
    "range_inverted": "The range of dates ends before it begins.",
    "range": "The range of dates is not within that of the consent.",
    "frequency": "The consent was used as often as it may be.",
    "body": "The request cannot be read.",
    "keys": "The keys of the reader cannot be used.",
    "address": "No record may go to this address of the reader.",
    "busy": "Too many requests were under way.",
    "not-acknowledged": "The gateway did not take the acknowledgement.",
    "window": "The time for this request was over.",
    "damaged-row": "A row of the request cannot be opened in the journal.",
    "reader": "The reader refused the page.",
    "gone": "The request or its report is not here any more.",
    "absent": "The report is not here any more.",
    "withdrawn": "The report was withdrawn.",
    "outside": "The report is not of the dates that were asked for.",
    "patient_left": "The patient of the report has left the network.",
    "no_patient": "No patient of the network is known for the report.",
    "names_another": "The report names another person.",
    "damaged": "The report cannot be opened.",
    "unreadable": "The report cannot be read.",
    "too_large": "The report is too large.",
    "pdf_too_large": "The report went without its PDF, which is too large.",
    "rule": "The report breaks a rule of its profile.",
    "too_many": "The request asks for too much at once.",
    # of calls
    "NO_CALLBACK": "The gateway took it, and its result never came.",
    "GAVE_UP": "The time for it was over.",
    "DAMAGED": "It cannot be read in the journal.",
    "ERASED": "The patient of the call was erased.",
    "changed": "It was not needed any more.",
}
HELP: Mapping[str, PageText] = {
    "other_laboratory": "No link is made. Correct the HFR ID of the channel, and send the report again.",
    "two_numbers": "Look at the patient's card. Link the report by hand, or have it corrected.",
    "doubtful_number": "Look at the patient's card. Link the report by hand, or have it corrected.",
    "other_environment": "Ask the patient for the ABHA address of this network, and link the report by hand.",
    "counted": "No link is made. Send the report again with an ABHA, or under a patient number that lasts.",
    "no_abha": "A later version with an ABHA is linked by itself. Or link the report with the patient's card.",
    "no_name": "The network wants it. Have the report corrected, or link it with the patient's card.",
    "no_birth_year": "The network wants it. Have the report corrected, or link it with the patient's card.",
    "left": "Reports wait until the patient comes back to the network, or asks for a link here.",
    "same_number": "Look whose report it is. Then link it with its patient, or withdraw it.",
    "other_name": "Look whose report it is. Then link it with its patient, or withdraw it.",
    "leaving": "Look whose report it is. Then link it with its patient, or withdraw it.",
    "moved": "The patient's app may have it: tell the patient. Then link the report with its patient, or withdraw it.",
    "withdrawn": "A link by a person takes that back.",
    "blocked": "It is asked for again when the day is over.",
    "ABDM-1036": "Name, gender or year of birth are not those of the ABHA. Look at the card before you link it: three "
    "mistakes block the patient for a day.",
    "ABDM-1092": "The network gave its link token before, and it has not come. Let the patient link it from the app, "
    "or have it tried again on another day.",
    "no-token": "Have it tried again.",
    "OTHER_ADDRESS": "Look at the patient's card. Link the report by hand, or have it corrected.",
    "not-linked": "Have it tried again.",
    "not-confirmed": "Have it tried again.",
    "not-notified": "Have it tried again.",
    "suspended": "Ask the patient to grant it again. Or put it in force again, once you know that it is not revoked.",
    "doubtful": "Ask the patient to grant it again. Or put it in force again, once you know that it is not revoked.",
    "disputed": "Ask the patient to revoke it, and to grant another one.",
    "bad_signature": "Ask the patient to revoke it, and to grant another one.",
}
"""The next step of a person, by reason; of other reasons there is none."""


def reason_of(reason: str, words: Words) -> str:
    """A reason in one sentence; a code of the gateway as it is."""
    return words.say(REASONS[reason]) if reason in REASONS else reason


def help_of(reason: str, words: Words) -> str:
    return words.say(HELP[reason]) if reason in HELP else ""


def consent_badge(state: str, reason: str, words: Words) -> Badge:
    """Of one that is granted and has a reason nothing goes out."""
    found = ConsentState(state)
    return badge(UNSURE if found is ConsentState.GRANTED and reason else CONSENTS[found], words)


def purpose_of(code: str, words: Words) -> str:
    """A purpose in words; a code that is not known as it is."""
    return words.say(PURPOSES[code]) if code in PURPOSES else code
