"""Words that a reader of English as a second language stumbles over are in no page, no help, no message and no comment.

Where it fails: take another word. *Nobody has X* is *no person has X* or *X is missing*; *tells* is *says*, *shows* or
*reports*; *stands* is *is* or *is written*; *for ever* is *always*; *lets go* is *deletes* or *releases*.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.views.help import library
from tests.documentation.test_docs import CHECKOUT, PAGES
from tests.support.packages import PACKAGES

WORDS = re.compile(
    r"\b(nobody|somebody|whoever|anybody|tells|told|telling|stands?|stood|vouch\w*)\b|\bfor ever\b"
    r"|\blet(s|ting)? (\w+ )?go\b(?! on\b)",
    re.IGNORECASE,
)
# Of a refused word, by how it begins.
BETTER = {
    "nobody": "no person, or: X is missing",
    "somebody": "a person",
    "anybody": "a person",
    "whoever": "a person who",
    "tell": "says, shows or reports",
    "told": "said, shown or reported",
    "st": "is, or is written",
    "vouch": "proves or confirms",
    "for ever": "always",
    "let": "deletes or releases",
    "what": "the subject: begin with its name",
}
# A sentence that begins with "What" and asks nothing: "What is sent goes out". Name the subject.
WHAT = re.compile(r"(?:^|[.:;!] )(?:\*\*)?What [^.?|]*(?:[.|]|$)")
# Texts of a screen, as they are there, and code.
QUOTED = re.compile(r"```.*?```|`[^`]*`|\*[^*\n]+\*(?!\*)", re.DOTALL)
TEXTS = [*(path for path in PAGES if path.name != "CHANGELOG.md"), CHECKOUT / "tests" / "golden" / "help.txt"]
ATTRIBUTE = re.compile(r"^ +\w+: ", re.MULTILINE)  # a name of the code
# Folders of code whose docstrings and comments keep to it ...
FOLDERS = PACKAGES
# ... and those whose messages do: logs, errors, help, reasons, remarks. A label may say "what to do:".
MESSAGES = (*PACKAGES, "tools")
WHAT_IN_MESSAGES = re.compile(r"(?:^|[.!;] )[Ww]hat (?!to do)[^.?|]*(?:[.|]|$)")
SHOWN = (".html", ".yaml")  # pages, and descriptions for editors
HELP = "these words are not used here (in a topic: mend its source)"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_pages_and_help_use_plain_words(path: Path) -> None:
    assert _refused(path.name, path.read_text(encoding="utf-8")) == [], HELP


@pytest.mark.parametrize("topic", library.TOPICS)
def test_topics_use_plain_words(topic: str) -> None:
    assert _refused(topic, library.topic(topic)) == [], HELP


def _refused(name: str, text: str) -> list[str]:
    text = QUOTED.sub(lambda found: re.sub(r"[^\n]", "x", found[0]), text)
    return [
        f"{name}:{number}: {better(hit[0])}"
        for number, line in enumerate(text.splitlines(), 1)
        for hit in [*WORDS.finditer(line), *WHAT.finditer(line)]
        if not line.startswith("#")
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_comments_use_plain_words(folder: str) -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}:{line}: {better(hit[0])}"
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
        for line, text in _words_of(path)
        for hit in WORDS.finditer(QUOTED.sub("", text))
    ]
    assert found == [], HELP


@pytest.mark.parametrize("folder", MESSAGES)
def test_messages_use_plain_words(folder: str) -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}:{line}: {better(hit[0])}"
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
        for line, text in _messages_of(path)
        for hit in [*WORDS.finditer(text), *WHAT_IN_MESSAGES.finditer(text)]
    ]
    assert found == [], HELP


@pytest.mark.parametrize("folder", MESSAGES)
def test_templates_and_descriptions_use_plain_words(folder: str) -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}: {better(hit[0])}"
        for path in sorted((CHECKOUT / folder).rglob("*"))
        if path.suffix in SHOWN
        for hit in WORDS.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == [], HELP


def better(word: str) -> str:
    """A refused word with a better one in its place."""
    word = word.strip()
    said = word.lstrip(".:;!* ").lower()
    return f"{word!r}, better: {next(other for start, other in BETTER.items() if said.startswith(start))}"


@pytest.mark.parametrize(
    "word",
    [
        *("nobody", "somebody", "whoever", "anybody", "tells", "told", "telling", "stand", "stands", "stood"),
        *("vouch", "vouches", "for ever", "let go", "lets go", "letting go", "lets it go", "let frames go"),
    ],
)
def test_a_refused_word_is_shown_with_a_better_one(word: str) -> None:
    (found,) = WORDS.finditer(f"It is {word} here.")
    assert found[0] == word
    assert better(found[0]).startswith(f"{word!r}, better: ")


def test_a_word_for_to_resume_is_not_refused() -> None:
    assert WORDS.search("labrelay resume lets it go on") is None


def _messages_of(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module that may be shown: strings of several words, besides docstrings; a gap is an x."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed: set[ast.AST] = set()
    for node in ast.walk(tree):  # an f-string comes before its parts
        if isinstance(node, ast.Expr):
            passed.add(node.value)
        elif isinstance(node, ast.JoinedStr) and node not in passed:
            passed.update(node.values)
            yield node.lineno, "".join(str(one.value) if isinstance(one, ast.Constant) else "x" for one in node.values)
        elif isinstance(node, ast.Constant) and node not in passed and " " in str(node.value):
            yield node.lineno, str(node.value)


def _words_of(path: Path) -> Iterator[tuple[int, str]]:
    """The docstrings and comments of a module, with the line at which each begins."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "lineno", 1), ATTRIBUTE.sub("", ast.get_docstring(node) or "")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
