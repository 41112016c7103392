"""Every key of a site's YAML, by the models that read it."""

import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import time
from functools import cache, partial
from typing import NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from engine.commands.topics.tables import cell, code, rows
from engine.config import channel, pack, sitewide, tls, web
from engine.config.destinations import destination, destination_auth, destination_base
from engine.config.reading import problems
from engine.config.reading.joining import KeyHelp
from engine.config.reading.problems import alternatives, description, words
from engine.config.sources import source, source_folder, source_http, source_serial, source_tee
from engine.feature import Hook
from engine.model.texts.units import HostPort, duration_text, size_text

INTRODUCTION = """\
# Keys

The keys of a site's YAML, as the program reads them. `labrelay help keys PART` shows one part, `labrelay help keys
destinations.fhir` a part of it. `labrelay check` names each wrong key with its file, line and column.

A *duration* is a number with a unit, `500ms 30s 5m 1h30m 30d 2w`; a *size* is `64KiB 16MiB 1GiB`, or `kB MB GB`.
"""


OF_SITE: Mapping[str, type[BaseModel]] = {
    "site": sitewide.SiteInfo,
    "web": web.WebConfig,
    "limits": sitewide.LimitsConfig,
    "retention": sitewide.RetentionConfig,
    "backup": sitewide.BackupConfig,
}
ADDED: Hook[KeyHelp] = Hook("key_help")


class Part(NamedTuple):
    """A part of the keys. ``about``: a sentence or two."""

    about: str
    keys: Callable[[], Iterator[str]]


def markdown() -> str:
    lines = [INTRODUCTION]
    for name, part in parts().items():
        lines += [f"## {name}", "", part.about, "", *part.keys()]
    return "\n".join(lines)


def site_keys() -> Iterator[str]:
    below = {name for added in ADDED.each() for name in added.blocks}
    yield from block("The file", sitewide.site_model(), skip={*OF_SITE, "destinations", *below})
    for name in sitewide.site_model().model_fields:
        if name in OF_SITE:
            yield from block(f"`{name}:`", OF_SITE[name])
        elif name not in parts():
            yield from of_features(name)


def of_features(name: str) -> Iterator[str]:
    """The blocks that features add to a part, or below a key of the site's file."""
    for added in ADDED.each():
        for one in added.blocks.get(name, ()):
            yield from block(one.title, *one.models, skip=one.skip, intro=one.intro)


def destination_keys() -> Iterator[str]:
    yield from block("Every destination", destination_base.DestinationBase, intro=False)
    for kind, model in destination.kinds().items():
        yield from block(f"`kind: {kind}`", model, skip=destination_base.DestinationBase.model_fields)
        yield from destination_example(kind)
    yield from of_features("destinations")
    yield from block("`retry:`", destination_base.RetryConfig)
    yield from block("`breaker:`", destination_base.BreakerConfig)
    yield from block("An entry of `expected_downtime:`", destination_base.DowntimeWindow)
    for way, field in destination_auth.AuthConfig.model_fields.items():
        yield from block(f"`auth: {{{way}: ...}}`", alternatives(field.annotation)[""])
    yield from block("`tls:` of a destination", tls.ConnectTls)


def destination_example(kind: str) -> Iterator[str]:
    yield from ("```yaml", "destinations:")
    yield textwrap.indent(destination.kinds()[kind].example, "  ").rstrip()
    yield from ("```", "")


def channel_keys() -> Iterator[str]:
    yield from block("The file", channel.channel_model(), skip={"source", "routes"})
    yield from block("An entry of `routes:`", channel.RouteConfig)
    yield from of_features("channels")


def source_keys() -> Iterator[str]:
    yield from block("Every source", source.Source, intro=False)
    yield from block("On TCP", source.TcpPart, intro=False)
    yield from block("On a serial line", source_serial.SerialPart, intro=False)
    yield from block("Between an analyzer and its middleware", source_tee.TeePart, intro=False)
    yield from block("`tee:`", source_tee.TeeEnds)
    yield from block("`analyzer:` and `middleware:` of a `tee:`", source_tee.TeeEnd)
    yield from block("MLLP (`kind: mllp`)", source.MllpLink, source.MllpOptions, intro=False)
    yield from block("ASTM E1381 (`kind: astm`)", source.E1381Link, source.E1381Options, intro=False)
    yield from block("Either of the two (`kind: auto`)", source.AutoLink, source.AutoOptions)
    yield from block("Texts that a layout describes (`kind: text`)", source_folder.TextPart, intro=False)
    yield from block("Files (`kind: folder`)", source_folder.FolderPart, source_folder.JsonPart, intro=False)
    yield from block("Requests over HTTP (`kind: http`)", source_http.HttpPart, source_folder.JsonPart, intro=False)
    yield from block(
        "Orders of a FHIR server (`kind: fhir-search`)", source.FhirSearchSource, skip=source.Source.model_fields
    )
    yield from block("Records of a topic of Kafka (`kind: kafka`)", source.KafkaSource, skip=source.Source.model_fields)
    yield from of_features("sources")
    yield from block("`auth:` of `kind: http`", source_http.SenderAuth)
    yield from block("`bearer:` of `kind: http`", source_http.BearerToken)
    yield from block("`hmac:` of `kind: http`", source_http.BodySignature)
    yield from block("`tls:` of a source, and of the page", tls.ServerTls)


def pack_keys() -> Iterator[str]:
    yield from block("The file", pack.PackConfig, skip={"seen", "recognise", "gives"}, intro=False)
    yield from block("An entry of `seen:`", pack.PackEvidence)
    yield from block("An entry of `recognise:`", pack.Recognition)
    yield from block("`gives:`", pack.PackDefaults)


def later_names() -> Iterator[str]:
    found = [(code(key), "any") for key in sorted(problems.KEYS)]
    found += [(code(key), ", ".join(map(code, values))) for key, values in sorted(problems.VALUES.items())]
    yield from rows("key | value", found)


def block(title: str, *models: type[BaseModel], skip: Collection[str] = (), intro: bool = True) -> Iterator[str]:
    """The keys of a model, or of the parts of one, behind the first one's docstring."""
    yield f"### {title}"
    yield ""
    if intro and models[0].__doc__:
        yield " ".join(models[0].__doc__.split())
        yield ""
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for owner, name, field in ((model, *item) for model in models for item in model.model_fields.items()):
        if name not in skip:
            kind = words(field.annotation, field.metadata)
            yield f"| `{name}` | {kind} | {default(field, kind)} | {cell(description(owner, name))} |"
    yield ""


def default(field: FieldInfo, kind: str) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None or value is PydanticUndefined or value == "" or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if kind == "duration":
        return f"`{duration_text(value)}`"
    if kind == "size":
        return f"`{size_text(value)}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{one:%H:%M}' if isinstance(one, time) else one for one in value)}]`"
    return f'`"{value}"`' if isinstance(value, HostPort) else f"`{value}`"


SITE = Part("`config/labrelay.yaml`: it holds for the whole site.", site_keys)
REST: Mapping[str, Part] = {
    "destinations": Part(
        "`destinations:` of the site: a map from a name to a destination. Two lanes never wait for each other, and one "
        "destination's trouble never stops another.",
        destination_keys,
    ),
    "channels": Part(
        "`channels/*.yaml`: one file for each analyzer or system. A route that holds takes the message, in the order "
        "of the file, down to the first `filter` that holds. A message that no route takes is a dead "
        "letter (`NO_ROUTE`).",
        channel_keys,
    ),
    "sources": Part(
        "`source:` of a channel. `kind` means a transport, a link and a format; each of the three can be given beside "
        "it or instead of it.",
        source_keys,
    ),
    "packs": Part("`pack.yaml` of a folder of `analyzers/`.", pack_keys),
    "later": Part(
        'These are known by name and refused with "is not in this version", so that nothing is accepted and then '
        "ignored.",
        later_names,
    ),
}


@cache
def parts() -> Mapping[str, Part]:
    """The parts in their order; those of features behind the site's."""
    own = {
        name: Part(about, partial(of_features, name)) for added in ADDED.each() for name, about in added.about.items()
    }
    return {"site": SITE, **own, **REST}
