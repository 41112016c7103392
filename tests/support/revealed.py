"""The verbs of the socket behind a running page, and the contents that a person opens there."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from engine.actions.declaring import Verb
from engine.actions.pause_resume import Switches
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import verbs_of
from engine.features.results.pages.panels import READING
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from tests.support.access import Browser
from tests.support.status_server import Element


class Known:
    """The journal behind a running page, and the order of what happened to it."""

    journal: Journal

    def __init__(self) -> None:
        self.shown: list[tuple[str, Any]] = []

    def verbs(self, journal: Journal) -> dict[str, Verb]:
        self.journal = journal
        site = RunningSite(
            acts=Acts(journal, channels=dict),
            switches=Switches(journal),
            data=journal.path.parent,
            loaded=lambda: SimpleNamespace(channels={}),  # type: ignore[arg-type, return-value]  # names
        )
        return dict(verbs_of(site))

    def reveals(self) -> list[tuple[str, Any, Any]]:
        """Those whose purpose a person stated."""
        return [one for one in self.looks() if one[2] != READING]

    def looks(self) -> list[tuple[str, Any, Any]]:
        """The newest first."""
        return [
            (act.actor, act.what["message"], act.what["purpose"])
            for act in acts_page(self.journal, limit=500)
            if act.verb == "unmask"
        ]


async def reveal(
    browser: Browser, number: int, purpose: str = "a call", part: str = "bytes", **more: str
) -> tuple[int, Element]:
    """A part of a message's contents, opened for a purpose; ``more``: how it is read, and fields of the form."""
    query = urlencode({name: more.pop(name) for name in ("at", "charset", "as") if name in more})
    status, page = await browser.get(f"/messages/{number}?lang=en&part={part}&{query}")
    if not page.all("input", id="purpose"):  # it is stated
        return status, page
    (form,) = page.one("main").all("form")
    fields = Browser.hidden(page)
    return await browser.post(form.attributes["action"], {**fields, "purpose": purpose, **more})
