"""The person a page is drawn for, as the top of each page shows them."""

from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from engine.web.forms import PAGE, local


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What the top of a page says, and leads to.

    Attributes:
    name, role: empty: no person has logged in.
    looks, acts, changes, administers: what the top of the page leads to.
    sees_patients: a number of a patient is looked for, too.
    reads_notes: as of `Principal`.
    form: the hidden field of the forms that each page has (`engine.web.forms`).
    until: the time of the day when the log-in ends, ``16:05``.
    left_s: seconds until then, at least.
    is_last: it ends then in any case.
    address: of the page without its language (`address_of`).
    """

    name: str = ""
    role: str = ""
    looks: bool = False
    acts: bool = False
    changes: bool = False
    administers: bool = False
    sees_patients: bool = False
    reads_notes: bool = False
    form: str = ""
    until: str = ""
    left_s: int = 0
    is_last: bool = False
    address: str = ""

    @property
    def path(self) -> str:
        """Of the page, to mark it in the menu."""
        return self.address.partition("?")[0]


BY_ITSELF = "auto"  # in the query of a request that a page sends without its reader
NOT_OF_THE_PAGE = {"lang", BY_ITSELF}
PERSON = web.RequestKey("person", Person)


def person_of(request: web.Request) -> Person:
    return request[PERSON] if PERSON in request else Person()


def address_of(request: web.Request) -> str:
    """The address that shows the page of a request again, without a language; of an answer, the page with its form."""
    if PAGE in request:
        return local(request[PAGE])
    query = urlencode([pair for pair in request.query.items() if pair[0] not in NOT_OF_THE_PAGE])
    return f"{request.rel_url.raw_path}?{query}" if query else request.rel_url.raw_path
