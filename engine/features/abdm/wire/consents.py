"""Bodies of ABDM's consent manager: the notice of a consent, and the request for records under it. Pure.

    {"notification": {"status": "GRANTED", "consentId": "...", "signature": "...", "consentDetail": {
        "patient": {"id": "meera@abdm"}, "hip": {"id": "IN2810014366"}, "hiu": {"id": "...", "name": "..."},
        "careContexts": [{"patientReference": "...", "careContextReference": "..."}], "hiTypes": ["DiagnosticReport"],
        "purpose": {"code": "CAREMGT"}, "permission": {"accessMode": "VIEW", "dateRange": {"from": "...", "to": "..."},
        "dataEraseAt": "...", "frequency": {"unit": "HOUR", "value": 1, "repeats": 0}}}}}

    {"transactionId": "...", "hiRequest": {"consent": {"id": "..."}, "dateRange": {"from": "...", "to": "..."},
        "dataPushUrl": "https://...", "keyMaterial": {...}}}

Programs of the field send one value where a list is due, numbers as texts, and notices without the outer object. A
revocation, a denial and an expiry are read by their id alone: another fault in one does not keep it from taking effect.
Where a time names no zone, the consent ends at the earlier of the two instants that may be meant (`times`), and a range
of dates is the shorter one.

Source: NHA's OpenAPI documents, V3 (2026-09-16).

The bytes of a grant that its signature may be of. Pure.

The consent manager signs the artefact (``consentDetail``) by RS256. Which bytes it signs is published nowhere, and no
notice of a real consent manager was at hand. `FORMS` has those that are taken; another form is one more line there.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timezone
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from adapters.codecs import json_tree
from engine.features.abdm.rules import consents
from engine.features.abdm.rules.abha import AbhaAddress
from engine.features.abdm.wire.times import INDIA, instant
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode

MAX_BODY_BYTES = 1024 * 1024  # some thousand care contexts
MAX_TEXT = 1024  # characters of an id, a name, an address
_WORD = TypeVar("_WORD", bound=StrEnum)


def read_notice(body: bytes) -> consents.Notice:
    """The notice of a consent.

    Raises:
        ContentError: UNREADABLE, TOO_LARGE, UNKNOWN_CHARSET; REQUIRED_ABSENT and BAD_VALUE with their ``place``.
    """
    tree = _tree(body)
    said = tree.get("notification")
    notice = _Part(said, "notification") if isinstance(said, Mapping) else _Part(tree, "")
    state = notice.word("status", consents.ConsentState)
    detail = notice.part("consentDetail") if state is consents.ConsentState.GRANTED else None
    inner = notice.within("consentDetail", "consentId")
    consent_id = notice.optional("consentId") or inner
    if not consent_id:
        raise notice.absent("consentId")
    if detail is not None and inner not in ("", consent_id):
        raise detail.bad("consentId", "not the consent of the notice")
    return consents.Notice(
        consent_id=consent_id,
        state=state,
        artefact=_artefact(detail, consent_id) if detail is not None else None,
        signature=notice.optional("signature", MAX_BODY_BYTES),
    )


def read_request(body: bytes) -> consents.DataRequest:
    """A request for records.

    Raises:
        ContentError: as `read_notice`.
    """
    whole = _Part(_tree(body), "")
    asked = whole.part("hiRequest")
    return consents.DataRequest(
        transaction_id=whole.optional("transactionId") or asked.text("transactionId"),
        consent_id=asked.part("consent").text("id"),
        period=_period(asked.part("dateRange")),
        push_url=asked.text("dataPushUrl"),
        key_material=asked.part("keyMaterial").said,
    )


def _artefact(detail: "_Part", consent_id: str) -> consents.Artefact:
    permission = detail.part("permission")
    patient = AbhaAddress.read(detail.part("patient").text("id"))
    if patient is None:
        raise detail.part("patient").bad("id", "no ABHA address")
    contexts = {
        consents.CareContext(one.text("patientReference"), one.text("careContextReference"))
        for one in detail.parts("careContexts")
    }
    return consents.Artefact(
        consent_id=consent_id,
        patient=patient,
        facility=detail.part("hip").text("id"),
        care_contexts=tuple(sorted(contexts, key=lambda one: (one.patient, one.reference))),
        purpose=detail.part("purpose").text("code").upper(),
        hi_types=frozenset(detail.texts("hiTypes")),
        period=_period(permission.part("dateRange")),
        erase_at=permission.time("dataEraseAt", INDIA),
        access_mode=permission.optional("accessMode").upper(),
        frequency=_frequency(permission),
        reader=detail.within("hiu", "id"),
        reader_name=detail.within("hiu", "name"),
    )


def _period(part: "_Part") -> consents.Period:
    """A time without a zone is the one by which the range is shorter."""
    return consents.Period(part.time("from"), part.time("to", INDIA))


def _frequency(permission: "_Part") -> consents.Frequency | None:
    if permission.said.get("frequency") is None:
        return None
    part = permission.part("frequency")
    return consents.Frequency(part.word("unit", consents.FrequencyUnit), part.number("value"), part.number("repeats"))


def _tree(body: bytes) -> Mapping[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise ContentError(ReasonCode.TOO_LARGE, f"more than {MAX_BODY_BYTES} bytes")
    tree, _ = json_tree.read(body)
    if not isinstance(tree, Mapping):
        raise ContentError(ReasonCode.UNREADABLE, "no object")
    return tree


class _Part:
    """An object of a body, and its place there for errors, which quote no value."""

    def __init__(self, said: Mapping[str, Any], place: str) -> None:
        self.said = said
        self._place = place

    def part(self, name: str) -> "_Part":
        said = self._given(name)
        if not isinstance(said, Mapping):
            raise self.bad(name, "no object")
        return _Part(said, self._at(name))

    def parts(self, name: str) -> list["_Part"]:
        """A list of objects; one object is a list of one."""
        found = _listed(self._given(name))
        for number, one in enumerate(found):
            if not isinstance(one, Mapping):
                raise self.bad(f"{name}[{number}]", "no object")
        return [_Part(one, self._at(f"{name}[{number}]")) for number, one in enumerate(found)]

    def texts(self, name: str) -> list[str]:
        """A list of texts; one text is a list of one."""
        found = _listed(self._given(name))
        for number, one in enumerate(found):
            if not _is_text(one):
                raise self.bad(f"{name}[{number}]", "no text")
        return [one.strip() for one in found]

    def text(self, name: str) -> str:
        said = self._given(name)
        if not _is_text(said):
            raise self.bad(name, f"no text of 1 to {MAX_TEXT} characters")
        return str(said).strip()

    def optional(self, name: str, most: int = MAX_TEXT) -> str:
        """Empty where there is no such text."""
        said = self.said.get(name)
        return said.strip() if isinstance(said, str) and len(said) <= most else ""

    def within(self, name: str, inner: str) -> str:
        """An optional text of an optional object."""
        said = self.said.get(name)
        return _Part(said, "").optional(inner) if isinstance(said, Mapping) else ""

    def word(self, name: str, words: type[_WORD]) -> _WORD:
        try:
            return words(self.text(name).upper())
        except ValueError:
            raise self.bad(name, f"none of {', '.join(words)}") from None

    def time(self, name: str, zone: timezone = UTC) -> datetime:
        """``zone``: of a time that names none."""
        found = instant(self.text(name), zone)
        if found is None:
            raise self.bad(name, "no time, as 2026-11-20T06:10:00.587Z")
        return found

    def number(self, name: str) -> int:
        text = self.text(name)
        if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= consents.MOST_OF_A_FREQUENCY):
            raise self.bad(name, f"no number from 0 to {consents.MOST_OF_A_FREQUENCY}")
        return int(text)

    def bad(self, name: str, detail: str) -> ContentError:
        return ContentError(ReasonCode.BAD_VALUE, detail, place=self._at(name))

    def absent(self, name: str) -> ContentError:
        return ContentError(ReasonCode.REQUIRED_ABSENT, place=self._at(name))

    def _given(self, name: str) -> Any:
        said = self.said.get(name)
        if said is None or said == "":
            raise self.absent(name)
        return said

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _listed(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [said]


def _is_text(said: Any) -> bool:
    return isinstance(said, str) and said.strip() != "" and len(said) <= MAX_TEXT


_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def _compact(text: str, *, ordered: bool) -> str:
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"), sort_keys=ordered)


FORMS: Mapping[str, Callable[[str], str]] = {
    "as it came": str,
    "compact, in the order of the notice": partial(_compact, ordered=False),
    "compact, with sorted names": partial(_compact, ordered=True),
}
"""By name: the artefact as it came -> the text whose UTF-8 may be signed."""


def forms(body: bytes) -> list[bytes]:
    """The bytes that the signature of a notice may be of; none: it has no artefact."""
    try:
        text = body.decode()
        if not isinstance(json.loads(text), dict):
            return []
        outer = _space(text, 0)
        inner = _member(text, outer, "notification")
        begin = inner[0] if inner is not None and text[inner[0]] == "{" else outer
        found = _member(text, begin, "consentDetail")
        if found is None or text[found[0]] != "{":
            return []
        return list(dict.fromkeys(form(text[slice(*found)]).encode() for form in FORMS.values()))
    except (ValueError, RecursionError):
        return []


def _member(text: str, begin: int, name: str) -> tuple[int, int] | None:
    """Where the value of a member begins and ends, of the object that begins there in JSON; None: it has none."""
    at = _space(text, begin + 1)
    while text[at] == '"':
        found, at = _DECODER.raw_decode(text, at)
        at = _space(text, _space(text, at) + 1)  # behind the colon
        _, end = _DECODER.raw_decode(text, at)
        if found == name:
            return at, end
        at = _space(text, _space(text, end) + 1)  # behind the comma, or the end of the object
        if at >= len(text):
            break
    return None


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()
