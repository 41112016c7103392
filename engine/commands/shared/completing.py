"""Shell completion: channels and destinations of the site, reason codes, verbs.

Only the site's files are read, without the models of the configuration. Without a site, or with an unreadable file,
nothing is offered and no error is shown.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal

import click

from engine.model.errors import ConfigError

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def some_of(words: Iterable[str]) -> Complete:
    """Completes one of some words, in upper or lower case."""
    known = list(words)
    return lambda _ctx, _param, typed: [word for word in known if word.lower().startswith(typed.lower())]


def _of_the_site(kind: Literal["channels", "destinations"]) -> Complete:
    """Completes a name that the site's files give."""

    def complete(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
        from engine.config import site_file
        from engine.config.site import find_site

        names = site_file.channels if kind == "channels" else site_file.destinations
        with suppress(ConfigError, OSError):
            return some_of(names(find_site(ctx.find_root().params.get("site"))))(ctx, param, typed)
        return []

    return complete


channel_names, destination_names = _of_the_site("channels"), _of_the_site("destinations")


def target_names(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
    """The name behind `channel`, `destination` or `lane`."""
    kind = ctx.params.get("kind")
    if kind == "destination":
        return destination_names(ctx, param, typed)
    found = channel_names(ctx, param, typed.partition("/")[0])
    if kind == "lane":
        lanes = [f"{channel}/{name}" for channel in found for name in destination_names(ctx, param, "")]
        return some_of(lanes)(ctx, param, typed)
    return found if kind == "channel" else []
