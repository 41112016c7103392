"""The person a page is drawn for, as the top of each page shows them."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What the top of a page says, and leads to.

    Attributes:
    name, role: empty: no person has logged in.
    looks, acts, changes, administers: what the top of the page leads to.
    reads_notes: as of `Principal`.
    form: the hidden field of the forms that each page has (`engine.web.forms`).
    until: the time of the day when the log-in ends, ``16:05``.
    left_s: seconds until then, at least.
    is_last: it ends then in any case.
    path: of the page, to mark it where the top leads to it.
    """

    name: str = ""
    role: str = ""
    looks: bool = False
    acts: bool = False
    changes: bool = False
    administers: bool = False
    reads_notes: bool = False
    form: str = ""
    until: str = ""
    left_s: int = 0
    is_last: bool = False
    path: str = ""


PERSON = web.RequestKey("person", Person)


def person_of(request: web.Request) -> Person:
    return request[PERSON] if PERSON in request else Person()
