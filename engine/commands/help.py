"""Explain a verb or a topic; `labrelay help all` lists every verb.

Words of a verb may follow: `labrelay help dlq retry`. Topics: `again` (which of retry, replay, reprocess, edit and
restart), `exit-codes`, `metrics`, `times`.
"""

import click

from engine.commands.shared.topics import TOPICS
from engine.commands.shared.verb_list import write_verbs
from engine.model.spelling import did_you_mean

GROUP = "start"


@click.command(help=__doc__)
@click.argument("words", nargs=-1, metavar="[all|TOPIC|VERB ...]")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    top = ctx.find_root()
    if words == ("all",):
        formatter = top.make_formatter()
        write_verbs(formatter, rare=True)
        click.echo(formatter.getvalue().strip())
    elif len(words) == 1 and words[0] in TOPICS:
        click.echo(TOPICS[words[0]].text())
    else:
        click.echo(_meant(top, words).get_help())


def _meant(top: click.Context, words: tuple[str, ...]) -> click.Context:
    """The verb that the words name, as it is used. Raises click.UsageError where there is none."""
    here = top
    for word in words:
        if not isinstance(here.command, click.Group):
            raise click.UsageError(f"{here.command_path} has no verb {word}", here)
        found = here.command.get_command(here, word)
        if found is None:
            known = [*here.command.list_commands(here), *(TOPICS if here is top else ())]
            raise click.UsageError(
                f"no such verb or topic: {word}; {did_you_mean(word, known) or 'labrelay help all'}", here
            )
        here = click.Context(found, parent=here, info_name=word)
    return here
