"""A running status page on a free port, and a reader of its HTML."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from unittest import mock

import aiohttp
from prometheus_client import CollectorRegistry

from engine.actions.kept import KeptActs
from engine.config.web import WebConfig
from engine.features.access.service.accounts import Accounts
from engine.features.todo.rules import listed
from engine.model.process.clock import Clock
from engine.model.texts.units import HostPort
from engine.monitoring.ends import Ends, NoEnds
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.todo import Todo
from engine.store.queries.reader import Reader
from engine.web import server
from engine.web.pages.frame import Channels, Loaded, Suggestions, Trial
from engine.web.render import TodoSource
from engine.web.routes import Route
from engine.web.running import LookAtList, Running
from engine.web.server import StatusServer
from tests.support.todo_entries import entries

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page:
    """A running page and a client for it. Tests change ``site`` and ``missing`` while it runs."""

    def __init__(self, site: SiteSnapshot) -> None:
        self.site = site
        self.missing: Sequence[str] = ()
        self._todo: tuple[SiteSnapshot, Sequence[Todo]] | None = None
        self.registry = CollectorRegistry()
        self.server: StatusServer
        self.http: aiohttp.ClientSession

    async def todo(self) -> Sequence[Todo]:
        """The entries of the snapshot; the same object until there is another one."""
        if self._todo is None or self._todo[0] is not self.site:
            self._todo = self.site, listed(entries(self.site, [], [], str), {}, 0)
        return self._todo[1]

    async def get(self, path: str, **more: object) -> tuple[aiohttp.ClientResponse, str]:
        async with self.http.get(path, **more) as answer:  # type: ignore[arg-type]  # aiohttp's own keywords
            return answer, await answer.text()


@asynccontextmanager
async def running(
    site: SiteSnapshot,
    *,
    config: WebConfig | None = None,
    trust: ssl.SSLContext | None = None,
    accounts: Accounts | None = None,
    clock: Clock | None = None,
    reader: Reader | None = None,
    api: Sequence[Route] = (),
    acts: KeptActs | None = None,
    channels: Channels = dict,
    ends: Ends | None = None,
    todo: TodoSource | None = None,
    look: LookAtList | None = None,
    trial: Trial | None = None,
    suggestions: Suggestions = lambda channel: (),
    **limits: float,
) -> AsyncIterator[Page]:
    """``trust``: of a page over TLS; ``limits``: of `engine.web.server`, in place of its own."""
    page = Page(site)
    with mock.patch.multiple(server, **({"INTERVAL_S": 0.01} | limits)):
        running = Running(
            snapshot=lambda: page.site,
            missing=lambda: page.missing,
            metrics=page.registry.collect,
            todo=todo or page.todo,
            look=look,
            ends=ends or NoEnds(),
            acts=acts,
            accounts=accounts,
        )
        page.server = StatusServer(
            config or WebConfig(listen=HostPort("127.0.0.1", 0)),
            running,
            clock=clock,
            reader=reader,
            loaded=Loaded(channels, trial=trial, suggestions=suggestions),
            api=api,
        )
        await page.server.listen()
        try:
            base = f"{'http' if trust is None else 'https'}://127.0.0.1:{page.server.port}"
            async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=trust or True)) as page.http:
                yield page
        finally:
            await page.server.stop()


class Element:
    """An HTML element with its attributes, children and text."""

    def __init__(self, tag: str, attributes: dict[str, str], parent: "Element | None") -> None:
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Element] = []
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """All text inside, in order, as one line."""
        return " ".join("".join(self.pieces).split())

    def all(self, tag: str = "", **attributes: str) -> "list[Element]":
        """Elements inside with this tag and these attributes (``class_`` for class: contains the word)."""
        found = []
        for child in self.children:
            if child.matches(tag, attributes):
                found.append(child)
            found.extend(child.all(tag, **attributes))
        return found

    def one(self, tag: str = "", **attributes: str) -> "Element":
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]

    def matches(self, tag: str, attributes: dict[str, str]) -> bool:
        if tag and self.tag != tag:
            return False
        for name, value in attributes.items():
            if name == "class_":
                if value not in self.attributes.get("class", "").split():
                    return False
            elif self.attributes.get(name) != value:
                return False
        return True


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {}, None)
        self.at = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        element: Element | None = self.at
        while element is not None:
            element.pieces.append(data)
            element = element.parent


def read_html(text: str) -> Element:
    """The tree of an HTML text; fails on an element that is closed in the wrong place or not at all."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.at is reader.root, f"<{reader.at.tag}> is never closed"
    return reader.root
