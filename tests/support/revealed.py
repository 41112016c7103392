"""The verbs of the socket behind a running page, and the contents that a person opens there."""

from types import SimpleNamespace
from typing import Any

from engine.actions.declaring import Verb
from engine.actions.pause_resume import Switches
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import verbs_of
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
        return [
            (act.actor, act.what["message"], act.what["purpose"])
            for act in acts_page(self.journal, limit=500)
            if act.verb == "unmask"
        ]


async def reveal(browser: Browser, number: int, purpose: str = "a call", **more: str) -> tuple[int, Element]:
    _, page = await browser.get(f"/messages/{number}?lang=en")
    fields = Browser.hidden(page)
    return await browser.post(f"/messages/{number}/contents?lang=en", {**fields, "purpose": purpose, **more})
