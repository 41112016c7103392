"""Sections, anchors, and the part that a reader asks for."""

from engine.commands.shared.markdown_lines import lines
from engine.views.help import library
from engine.views.help.library import anchor_in, linked
from engine.views.help.markdown import deeper, narrowed, sections

TEXT = """\
# Page

Words.

## one

| key | |
|---|---|
| `a`, `b` | first |
| `c.d` | second \\| third |

```sh
# no heading
```

### `kind: x`

Inner.

## One

Again.
"""


def test_sections_have_anchors_of_their_own() -> None:
    assert [(one.level, one.title, one.anchor) for one in sections(TEXT)] == [
        (1, "Page", "page"),
        (2, "one", "one"),
        (3, "kind: x", "kind-x"),
        (2, "One", "one-1"),
    ]
    assert [one.level for one in sections(deeper(TEXT))] == [2, 3, 4, 3]


def test_a_part_is_a_section_or_rows() -> None:
    assert narrowed(TEXT, []) == TEXT
    assert narrowed(TEXT, ["One"]) == "## One\n\nAgain.\n"
    assert narrowed(TEXT, ["one", "x"]) == "### `kind: x`\n\nInner.\n"
    assert narrowed(TEXT, ["B"]) == "## one\n\n| key | |\n|---|---|\n| `a`, `b` | first |\n"
    assert narrowed(TEXT, ["d"]).endswith("| `c.d` | second \\| third |\n")
    assert narrowed(TEXT, ["e"]) == ""


def test_commands_of_the_help_become_links_and_links_to_other_files_words() -> None:
    text = "See `labrelay help keys site`, `labrelay help no-such`, [it](../CONTRIBUTING.md#x), [p](held.md) and `a`.\n"
    made = linked(text, lambda name, words: anchor_in(library.topic, name, words))
    assert made == (
        "See [`labrelay help keys site`](keys.md#site), `labrelay help no-such`, it (`CONTRIBUTING.md`), [p](held.md) "
        "and `a`.\n"
    )


def test_a_terminal_gets_words_without_marks() -> None:
    made = list(lines("# A `b`\n\nSome *words* of [x](y.md).\n\n- one\n- two\n\n" + TEXT.partition("## one")[2], 40))
    assert made[:3] == ["A b", "", "Some words of x."]
    assert {"- one", "- two", "a, b  first", "c.d   second | third", "    # no heading"} <= set(made)
    assert max(map(len, made)) <= 40
