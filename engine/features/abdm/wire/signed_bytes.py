"""The bytes of a grant that its signature may be of. Pure.

The consent manager signs the artefact (``consentDetail``) by RS256. Which bytes it signs is published nowhere, and no
notice of a real consent manager was at hand. `FORMS` has those that are taken; another form is one more line there.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial

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
