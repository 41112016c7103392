"""Versions of our resources on a FHIR server: which a document writes, and the condition that it goes out under. Pure.

    {"request": {"method": "PUT", "url": "Observation/6f1c..."}}
    {"request": {"method": "PUT", "url": "Observation/6f1c...", "ifMatch": "W/\\"3\\""}}

With the condition the server takes the document only where 3, which we wrote last, is still its version (R4, http.html,
"Managing Resource Contention"). This applies only to resources under ids that we make. Resources that are written only
once (Provenance, MessageHeader) need no record.
"""

import re
from collections.abc import Iterable, Mapping

Versions = tuple[tuple[str, str], ...]  # ("Observation/6f1c...", "3")

MAX_VERSION = 64  # signs of an id (R4); a longer one is none and not remembered

_WRITTEN = re.compile(rb'"request":\{"method":"PUT","url":"([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})"')
_ONCE = (b"Provenance/", b"MessageHeader/")


def written(body: bytes) -> tuple[str, ...]:
    """Our own resources that a transaction Bundle of our codec writes and may have written before."""
    return tuple(one.decode() for one in _WRITTEN.findall(body) if not one.startswith(_ONCE))


def conditioned(body: bytes, versions: Mapping[str, str]) -> bytes:
    """The Bundle with the condition for each resource whose version is known."""
    if not versions:
        return body

    def condition(found: re.Match[bytes]) -> bytes:
        version = versions.get(found[1].decode())
        return found[0] if version is None else found[0] + b',"ifMatch":"W/\\"' + version.encode() + b'\\""'

    return _WRITTEN.sub(condition, body)


def worth_keeping(versions: Iterable[tuple[str, str]]) -> Versions:
    """Those that can be a condition later."""
    return tuple(
        (resource, version)
        for resource, version in versions
        if 0 < len(version) <= MAX_VERSION and version.isascii() and version.isprintable() and '"' not in version
        and "\\" not in version
    )  # fmt: skip
