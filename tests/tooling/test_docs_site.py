"""The documentation site: each page has a place in its navigation, and a dead link of the built pages is found."""

import re
from pathlib import Path

from engine.views.help import library
from tools.docs_site import CONF, dead_links, sources


def test_every_page_and_topic_has_one_place_in_the_navigation() -> None:
    made = sources()
    assert set(made) == {"conf.py", "index.md", *(f"{name}.md" for name in library.names())}
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", made["index.md"], re.MULTILINE | re.DOTALL)
    placed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert sorted(placed) == sorted(library.names())
    compile(CONF, "conf.py", "exec")


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html#y">y</a> <a href="#x">x</a> <a href="https://z.org/">z</a>'
    )
    (tmp_path / "b.html").write_text('<p id="y"><a href="a.html#none">a</a> <img src="c.png"> <a href="a.html">a</a>')
    assert list(dead_links(tmp_path)) == [
        "b.html: a.html#none has no such anchor",
        "b.html: c.png leads nowhere",
    ]
