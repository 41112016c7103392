"""Names in URIs. Every message names the same few facilities and channels, so their encoded form is cached."""

from functools import lru_cache
from urllib.parse import quote


@lru_cache(maxsize=1024)
def quoted(name: str) -> str:
    """``name`` as one segment of a URI: of a facility, application or channel, never of a patient."""
    return quote(name, safe="")
