"""Explain a verb, a topic or a page; `labrelay help all` lists every verb.

Words of a verb may follow: `labrelay help dlq retry`; or the name of a part: `labrelay help reasons NO_ROUTE`,
`labrelay help keys destinations.fhir`. Without a word: all verbs, topics and pages. Short topics: `again` (which of
retry, replay, reprocess, edit and restart), `exit-codes`, `metrics`, `times`.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence

import click

from engine.commands.shared.output import show_lines
from engine.commands.shared.verb_list import TOPICS, write_verbs
from engine.model.texts.spelling import did_you_mean
from engine.views.view import Head

GROUP = "start"
FORMS = ("text", "markdown")


@click.command(help=__doc__)
@click.argument("words", nargs=-1, metavar="[all|TOPIC|PAGE|VERB ...]")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMS),
    help="Of a topic or page: text for a terminal, or Markdown. Default: text on a terminal.",
)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...], form: str | None) -> None:
    top = ctx.find_root()
    if not words:
        click.echo(top.get_help())
        click.echo()
        _list(top)
    elif words == ("all",):
        formatter = top.make_formatter()
        write_verbs(formatter, rare=True)
        click.echo(formatter.getvalue().strip())
    elif len(words) == 1 and words[0] in TOPICS:
        click.echo(TOPICS[words[0]].text())
    else:
        parts = _explained(top, words, form or FORMS[not sys.stdout.isatty()])
        if sys.stdout.isatty() and sum(part.count("\n") + 1 for part in parts) >= shutil.get_terminal_size().lines:
            click.echo_via_pager(click.style(f"{part}\n", bold=isinstance(part, Head) or None) for part in parts)
        else:
            show_lines(parts)


def _list(top: click.Context) -> None:
    from engine.views.help import library

    formatter, topics = top.make_formatter(), list(library.TOPICS)
    pages = [name for name in library.page_names() if name not in topics]
    for title, names in (("Topics", topics), ("Pages", pages)):
        if names:
            with formatter.section(title):
                formatter.write_dl([(f"help {name}", library.line(name)) for name in names])
    click.echo(formatter.getvalue().strip())


def _explained(top: click.Context, words: Sequence[str], form: str) -> list[str]:
    """The verb that the words name, and the topic or page, or its part; at least one of them.

    Raises:
        click.UsageError: there is neither.
    """
    verb, wrong = None, None
    try:
        verb = _meant(top, words).get_help()
    except click.UsageError as error:
        wrong = error
    found = _found(words)
    if not found and wrong is not None:
        raise wrong
    shown = list(_shown(found, form)) if found else []
    return [*([verb] if verb is not None else []), *([""] if verb is not None and shown else []), *shown]


def _found(words: Sequence[str]) -> str:
    """The Markdown of a topic or page, or of its part; empty where no such is there."""
    from engine.views.help import library
    from engine.views.help.markdown import narrowed

    if words[0] not in library.names():
        return ""
    text, rest = library.document(words[0]).text, words[1:]
    return narrowed(text, rest) or narrowed(text, [part for word in rest for part in word.split(".") if part])


def _shown(text: str, form: str) -> Iterator[str]:
    from engine.commands.shared import markdown_lines as terminal

    if form == "markdown":
        return iter(text.rstrip("\n").split("\n"))
    return terminal.lines(text, shutil.get_terminal_size().columns)


def _meant(top: click.Context, words: Sequence[str]) -> click.Context:
    """The verb that the words name, as it is used. Raises click.UsageError where there is none."""
    from engine.views.help import library

    # The command of `top` is the group of all verbs.
    if words[0] in library.names() and top.command.get_command(top, words[0]) is None:  # type: ignore[attr-defined]
        raise click.UsageError(_no_part(words), top)
    here = top
    for word in words:
        if not isinstance(here.command, click.Group):
            raise click.UsageError(f"{here.command_path} has no verb {word}", here)
        found = here.command.get_command(here, word)
        if found is None:
            known = [*here.command.list_commands(here), *((*TOPICS, *library.names()) if here is top else ())]
            raise click.UsageError(
                f"no such verb or topic: {word}; {did_you_mean(word, known) or 'labrelay help lists them'}", here
            )
        here = click.Context(found, parent=here, info_name=word)
    return here


def _no_part(words: Sequence[str]) -> str:
    from engine.views.help import library
    from engine.views.help.markdown import headings

    known = sorted(headings(library.document(words[0]).text))
    near = did_you_mean(words[-1].rpartition(".")[2], known) or f"labrelay help {words[0]} shows all of it"
    return f"{words[0]} has no part {' '.join(words[1:])}; {near}"
