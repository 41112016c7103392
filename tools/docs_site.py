"""The documentation as a static site with a search, in `.site`: `make docs-site`. It needs no network.

Pages and topics are those of `engine.views.help`; the topics are written into a temporary folder, never into `docs`. A
warning of Sphinx is an error: a dead link or anchor, a page that the index does not lead to. At the end each link of
the built pages is followed.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.views.help import library
from engine.views.help.library import anchor_in, linked

SITE = Path(__file__).resolve().parents[1] / ".site"
CONF = Path(__file__).with_name("docs_site_conf.txt").read_text(encoding="utf-8")


def main() -> int:
    began = time.monotonic()
    shutil.rmtree(SITE, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        for name, text in sources().items():
            (source / name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "auto", "-E"]
        built = subprocess.run([*command, "-d", f"{scratch}/doctrees", str(source), str(SITE)], check=False)  # noqa: S603 - ours
    if built.returncode:
        return built.returncode
    dead = list(dead_links(SITE))
    for one in dead:
        print(one)
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    pages = len(list(SITE.glob("*.html")))
    took = time.monotonic() - began
    print(f"{SITE / 'index.html'}: {pages} pages, {size / 2**20:.1f} MiB, {len(dead)} dead links, {took:.0f} s")
    return 1 if dead else 0


def sources() -> Mapping[str, str]:
    """The files for Sphinx."""
    found = {name: library.document(name).text for name in (library.INDEX, *library.names())}
    anchor = partial(anchor_in, found.__getitem__)
    texts = {name: linked(text, anchor).replace(f"]({library.INDEX}.md", "](index.md") for name, text in found.items()}
    index = texts.pop(library.INDEX)
    return {
        "conf.py": CONF,
        "index.md": "\n".join([index, "## Lists from the program", "", *_topics(), "", *_trees(index)]),
        **{f"{name}.md": text for name, text in texts.items()},
    }


def _topics() -> Iterator[str]:
    yield from ("| topic | |", "|---|---|")
    yield from (f"| [{name}]({name}.md) | {line} |" for name, line in library.TOPICS.items())


def _trees(index: str) -> Iterator[str]:
    """The navigation: pages by their first reader, as the index has them, then the topics that are no pages."""
    groups: dict[str, list[str]] = {}
    reader, used = "Pages", set[str]()
    for line in index.splitlines():
        if group := re.match(r"\| \*\*(.+?)\*\* \||#+ (.+)", line):
            reader = group[1] or group[2]
        for name in re.findall(r"\]\(([\w-]+)\.md", line):
            if name in library.page_names() and name not in used:
                used.add(name)
                groups.setdefault(reader, []).append(name)
    groups["Lists from the program"] = [name for name in library.TOPICS if name not in used]
    for title, names in groups.items():
        yield from ("```{toctree}", ":hidden:", f":caption: {title}", "", *names, "```", "")


# -- links of the built site ---------------------------------------------------------------------------------------


class _Links(HTMLParser):
    """Ids and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def dead_links(folder: Path) -> Iterator[str]:
    """Each link to a file or anchor that is not there; links to other servers are not followed."""
    pages = {path.resolve(): _read(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            there = (path.parent / unquote(to.path)).resolve() if to.path else path
            if not there.is_file():
                yield f"{path.name}: {link} leads nowhere"
            elif to.fragment and there in pages and unquote(to.fragment) not in pages[there].ids:
                yield f"{path.name}: {link} has no such anchor"


def _read(path: Path) -> _Links:
    read = _Links()
    read.feed(path.read_text(encoding="utf-8"))
    return read


if __name__ == "__main__":
    sys.exit(main())
