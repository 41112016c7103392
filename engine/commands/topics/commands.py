"""Every verb of the command line with its options, the exit codes, and the names in JSON."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import yaml

from engine.__main__ import labrelay
from engine.commands.shared.output import EXIT_WORDS, SCRIPTS
from engine.commands.shared.verb_list import GROUPS, verbs
from engine.commands.topics.tables import code, rows
from engine.web.api.lists import resources

Names = dict[str, "Names"]  # below each name those in it; "[]" of a list
Verb = tuple[tuple[str, ...], click.Command]

ENGINE = Path(__file__).parents[2]
RECORDED = Path(__file__).with_name("json_names.txt")  # of a site with a message in each state; a test writes it
NOTES = ("commands/topics/json_notes.yaml", "features/*/commands/json_notes.yaml")

INTRODUCTION = """\
# Commands

```text
labrelay [--site DIR] [--debug] VERB ...
```

The site goes before the verb. `labrelay help commands VERB` shows one verb. *JSON* is the names in the documents of
`-o json`, besides `schema_version`: `[...]` is a list of objects with these names, `{...}` one object.
"""


def markdown() -> str:
    return "\n".join((INTRODUCTION, *verb_list(), "## Exit codes", "", *exit_codes(), "", *verb_pages()))


def exit_codes() -> Iterator[str]:
    return rows("code | ", ((str(one.value), text) for one, text in EXIT_WORDS.items()))


def verb_list() -> Iterator[str]:
    listed = verbs()
    for group in GROUPS:
        own = ((name, verb.line) for name, verb in listed.items() if verb.group == group)
        yield from rows(f"{group} | ", ((code(name), line) for name, line in own))
        yield ""


def verb_pages() -> Iterator[str]:
    names = json_names()
    for path, command in commands():
        if path:
            yield from verb_page(path, command, names.get(" ".join(path), ""))


def verb_page(path: tuple[str, ...], command: click.Command, names: str) -> Iterator[str]:
    called = f"labrelay {' '.join(path)}"
    yield f"{'##' if len(path) == 1 else '###'} {called}"
    yield ""
    yield from (paragraph(text) for text in (command.help or "").split("\n\n"))
    yield from ("```text", usage(command, called), "```", "")
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        yield from rows("option | ", ((option_name(option), option_help(option)) for option in options))
        yield ""
    if names:
        yield from (f"JSON: {names}", "")


@cache
def commands() -> tuple[Verb, ...]:
    """The words of each verb, with its command; of the program itself, none."""
    return tuple(_commands(labrelay, ()))


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[Verb]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, (*path, name))


def verbs_with_json() -> Iterator[str]:
    """Each verb that has ``-o json`` or ``-o ndjson``."""
    for path, command in commands():
        alone = not isinstance(command, click.Group) or command.invoke_without_command
        forms = {form for one in command.params if "-o" in one.opts for form in getattr(one.type, "choices", ())}
        if alone and forms & SCRIPTS.keys():
            yield " ".join(path)


def json_notes() -> dict[str, Any]:
    """What the notes say of names, by verb: those of the core, and those of features."""
    files = [path for place in NOTES for path in sorted(ENGINE.glob(place))]
    return {verb: said for path in files for verb, said in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def json_names() -> dict[str, str]:
    """Each verb's names for scripts: recorded ones, those of views that had no row then, and those of the notes."""
    notes = json_notes()
    every = sorted(verbs_with_json())
    recorded: dict[str, list[str]] = {}
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        label, mark, path = line.partition(": $.")
        if mark:
            recorded.setdefault(label, []).append(path.rpartition(" ")[0])
    paths: dict[str, list[str]] = {verb: [] for verb in every}
    for label, found in recorded.items():
        paths[_verb_of(label, every)] += found
    views = {one.verb: one.view for one in resources() if one.view}
    made = {}
    for verb in every:
        said = notes.get(verb, {})
        if isinstance(said, dict):
            of_list = [f"{views[verb].name}[].{field.name}" for field in views[verb].fields] if verb in views else []
            said = _names(_tree([*paths[verb], *of_list, *said]), {**notes["*"], **said})
        made[verb] = " ".join(said.split())
    return made


def _verb_of(line: str, every: Iterable[str]) -> str:
    """The verb of a command line: the longest that it begins with."""
    return max((verb for verb in every if f"{line} ".startswith(f"{verb} ")), key=len)


def _tree(paths: Iterable[str]) -> Names:
    tree: Names = {}
    for path in paths:
        names = tree
        for name in path.replace("[]", ".[]").split("."):
            names = names.setdefault(name, {})
    return tree


def _names(names: Names, notes: dict[str, str], place: str = "") -> str:
    return ", ".join(
        f"`{name}`{_inner(inner, notes, place + name)}"
        for name, inner in names.items()
        if name and name != "schema_version"
    )


def _inner(names: Names, notes: dict[str, str], place: str) -> str:
    """The words behind a name: its note, and the names in it."""
    words = f" ({notes[place]})" if notes.get(place) else ""
    if listed := names.get("[]"):
        return f"{words} [{_names(listed, notes, f'{place}[].')}]"
    return words or (f" {{{_names(names, notes, f'{place}.')}}}" if names.keys() - {"[]"} else "")


def usage(command: click.Command, path: str) -> str:
    parts = [path]
    if any(isinstance(parameter, click.Option) for parameter in command.params):
        parts.append("[OPTIONS]")
    context = click.Context(command)
    parts += [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
    if isinstance(command, click.Group):
        parts.append("|".join(sorted(command.commands)))
    return " ".join(parts)


def option_name(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag or option.count:
        return names
    if isinstance(option.type, click.Choice) and option.metavar is None:
        return f"{names} {' or '.join(f'`{choice}`' for choice in option.type.choices)}"
    return f"{names} {option.metavar or option.type.name.upper()}"


def option_help(option: click.Option) -> str:
    text = option.help or ""
    if option.required:
        text += " Required."
    if option.show_default and option.default is not None:
        text += f" Default: {option.default}."
    return text


def paragraph(text: str) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines()) + "\n"
