"""The parts of docs/ that the code knows better than people: keys, verbs, exit codes, reason codes.

A generated part is between ``<!-- generated: NAME -->`` and ``<!-- end -->``; people write everything around it.
`make docs` renews the parts.
"""

import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from engine.__main__ import labrelay
from engine.commands.analyzers import summary
from engine.commands.shared.output import EXIT_WORDS
from engine.commands.shared.verb_list import GROUPS, verbs
from engine.config import (
    access,
    alert_sinks,
    alerts,
    channel,
    destination,
    destination_abdm,
    destination_auth,
    destination_base,
    downtime,
    keeping,
    later,
    lis,
    oidc,
    orders,
    pack,
    registry,
    sitewide,
    source,
    source_folder,
    source_http,
    source_json,
    source_serial,
    source_share,
    source_status,
    source_tee,
    source_text,
    tls,
    traces,
    web,
    webhooks,
)
from engine.config.descriptions import description
from engine.config.layouts import layout_files
from engine.config.problems import alternatives, words
from engine.diagnostics.packs import loinc_gaps, packs
from engine.mapping.functions import FUNCTIONS
from engine.mapping.hold_rules import names
from engine.model import reasons
from engine.model.reasons import ReasonCode
from engine.model.tables import table_lines
from engine.model.units import HostPort, duration_text, size_text
from engine.monitoring import logs
from engine.runtime.control_handlers import HANDLERS
from engine.views.dead_letters import HELD, PERSON
from engine.views.reagents import LOT
from engine.views.view import View
from engine.web.api import reads
from engine.web.api.acts import OFFERED
from engine.web.api.problems import KINDS
from engine.web.api.resources import QUESTIONS, RESOURCES
from tools import generate_function_docs

Names = dict[str, "Names"]  # below each name those in it; "[]" of a list

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORDED = DOCS.parent / "tests" / "golden" / "json_names.txt"
JSON_NOTES = Path(__file__).parent / "json_notes.yaml"
WITHOUT_ROWS: dict[str, tuple[View[Any], ...]] = {  # in the recorded site
    "held list": (HELD,),
    "held persons": (PERSON,),
    "reagents": (LOT,),
}
PART = re.compile(r"(<!-- generated: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


# -- lists of all pages --------------------------------------------------------------------------------------------


def kinds() -> Iterator[str]:
    """Each point where something can be added, with everything that is there."""
    functions = dict.fromkeys(function.group.replace("_", " ") for function in FUNCTIONS.values())
    listed: dict[str, Iterable[str]] = {
        "[kinds of destinations](destinations.md)": destination.KINDS,
        "[kinds of sources](configuration.md#source)": source.PRESETS,
        "transports of sources": source.TRANSPORTS,
        "[dialects](connecting.md#where-an-analyzer-departs-from-its-standard)": registry.dialects(),
        "[layouts](layouts.md)": layout_files(None),
        "[functions of mappings](mapping-functions.md), by group": functions,
    }
    yield from rows("there are | ", ((what, ", ".join(map(code, names))) for what, names in listed.items()))


# -- configuration -------------------------------------------------------------------------------------------------


def site_keys() -> Iterator[str]:
    own = {"site", "web", "access", "limits", "retention", "backup", "destinations", "alerts", "webhooks", "traces"}
    yield from block("The file", sitewide.SiteConfig, skip=own)
    yield from block("`site:`", sitewide.SiteInfo)
    yield from block("`web:`", web.WebConfig)
    yield from block("`access:`", access.AccessConfig)
    yield from block("`access: oidc:`", oidc.OidcConfig)
    yield from block("`limits:`", sitewide.LimitsConfig)
    yield from block("`retention:`", keeping.RetentionConfig)
    yield from block("`backup:`", keeping.BackupConfig)
    yield from block("`traces:`", traces.TracesConfig)


def alert_keys() -> Iterator[str]:
    yield from block("`alerts:`", alerts.AlertsConfig)
    yield from block("An entry of `rules:`", alerts.AlertRule)
    yield from block("An entry of `escalation:`", alerts.EscalationStep)
    yield from block("Every sink", alert_sinks.SinkBase, intro=False)
    for kind, model in alert_sinks.SINK_KINDS.items():
        yield from block(f"A sink of `kind: {kind}`", model, skip=alert_sinks.SinkBase.model_fields)


def webhook_keys() -> Iterator[str]:
    yield from block("An entry of `webhooks:`", webhooks.WebhookConfig)


def destination_keys() -> Iterator[str]:
    yield from block("Every destination", destination_base.DestinationBase, intro=False)
    for kind, model in destination.KINDS.items():
        yield from block(f"`kind: {kind}`", model, skip=destination_base.DestinationBase.model_fields)
    yield from block("`callbacks:` of `kind: abdm`", destination_abdm.CallbackConfig)
    yield from block("`facilities:` of `kind: abdm`", destination_abdm.FacilityConfig)
    yield from block("`retry:`", destination_base.RetryConfig)
    yield from block("`breaker:`", destination_base.BreakerConfig)
    yield from block("An entry of `expected_downtime:`", downtime.DowntimeWindow)
    for way, field in destination_auth.AuthConfig.model_fields.items():
        yield from block(f"`auth: {{{way}: ...}}`", alternatives(field.annotation)[""])
    yield from block("`tls:` of a destination", tls.ConnectTls)


def destination_example(kind: str) -> Iterator[str]:
    yield from ("```yaml", "destinations:")
    yield textwrap.indent(destination.KINDS[kind].example, "  ").rstrip()
    yield "```"


def channel_keys() -> Iterator[str]:
    yield from block("The file", channel.ChannelConfig, skip={"source", "routes"})
    yield from block("An entry of `routes:`", channel.RouteConfig)
    yield from block("`orders:`", orders.OrdersConfig)
    yield from block("`lis:`", lis.LisConfig)


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
    yield from block("Texts that a layout describes (`kind: text`)", source_text.TextPart, intro=False)
    yield from block("Files (`kind: folder`)", source_folder.FolderPart, source_json.JsonPart, intro=False)
    yield from block("Requests over HTTP (`kind: http`)", source_http.HttpPart, source_json.JsonPart, intro=False)
    yield from block(
        "Orders of a FHIR server (`kind: fhir-search`)", source.FhirSearchSource, skip=source.Source.model_fields
    )
    yield from block("Changes of orders (`kind: order-status`)", source_status.StatusPart, intro=False)
    yield from block("Patients who share their profile (`kind: abdm-share`)", source_share.SharePart, intro=False)
    yield from block("`auth:` of `kind: http`", source_http.SenderAuth)
    yield from block("`bearer:` of `kind: http`", source_http.BearerToken)
    yield from block("`hmac:` of `kind: http`", source_http.BodySignature)
    yield from block("`tls:` of a source, and of the page", tls.ServerTls)


def pack_keys() -> Iterator[str]:
    yield from block("The file", pack.PackConfig, skip={"seen", "recognise", "gives"}, intro=False)
    yield from block("An entry of `seen:`", pack.PackEvidence)
    yield from block("An entry of `recognise:`", pack.Recognition)
    yield from block("`gives:`", pack.PackDefaults)


def shipped_analyzers() -> Iterator[str]:
    found, bare, open_codes = [], [], []
    for one in packs():
        row, gaps = summary(one), loinc_gaps(one)
        if row["unmapped"] and not row["codes"]:
            bare.append(code(one.name))
        words = [row["maker"], ", ".join(row["models"]), row["measures"], ", ".join(row["seen"])]
        found.append(
            (code(one.name), *words, *(str(row[kind]) for kind in ("codes", "unmapped", "suggested", "left_out")))
        )
        open_codes += [(code(one.name), _listed(gaps.suggested), _listed(gaps.unknown))] if row["unmapped"] else []
    yield from rows(
        "pack | maker | models | measures | seen | codes | without LOINC | of these suggested | no results", found
    )
    yield ""
    yield f"No code of these packs has a LOINC code yet: {', '.join(bare)}. Their results go out under the"
    yield "analyzer's own codes, and the page counts them as codes without a mapping."
    yield ""
    yield "Codes without a LOINC code, and whether a published source suggests a meaning:"
    yield ""
    yield from rows("pack | suggested, unconfirmed | no published source was found", open_codes)


def _listed(codes: Sequence[str]) -> str:
    return ", ".join(map(code, codes))


def later_names() -> Iterator[str]:
    found = [(code(key), "any") for key in sorted(later.KEYS)]
    found += [(code(key), ", ".join(map(code, values))) for key, values in sorted(later.VALUES.items())]
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


# -- the command line ----------------------------------------------------------------------------------------------


def verb_list() -> Iterator[str]:
    listed = verbs()
    for group in GROUPS:
        own = ((name, verb.line) for name, verb in listed.items() if verb.group == group)
        yield from rows(f"{group} | ", ((f"[`{name}`](#labrelay-{name})", line) for name, line in own))
        yield ""


def verb_pages() -> Iterator[str]:
    context = click.Context(labrelay, info_name="labrelay")
    for name in sorted(verbs()):
        command = labrelay.get_command(context, name)
        assert command is not None
        yield from verb_page(command, f"labrelay {name}", "##")


def verb_page(command: click.Command, path: str, mark: str) -> Iterator[str]:
    yield f"{mark} {path}"
    yield ""
    yield from (paragraph(text) for text in (command.help or "").split("\n\n"))
    yield "```text"
    yield usage(command, path)
    yield "```"
    yield ""
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        yield from rows("option | ", ((option_name(option), option_help(option)) for option in options))
        yield ""
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from verb_page(command.commands[name], f"{path} {name}", "###")


def commands(
    command: click.Command = labrelay, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The words of each verb, with its command; of the program itself, none."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


def verbs_with_json() -> Iterator[str]:
    """Each verb that has ``-o json`` or ``-o ndjson``."""
    for path, command in commands():
        alone = not isinstance(command, click.Group) or command.invoke_without_command
        if alone and any("-o" in option.opts for option in command.params):
            yield " ".join(path)


def json_names() -> Iterator[str]:
    """Each verb's names for scripts: recorded ones, those of views that had no row then, and those of the notes."""
    notes = yaml.safe_load(JSON_NOTES.read_text(encoding="utf-8"))
    lines = RECORDED.read_text(encoding="utf-8").splitlines()
    recorded = [line.partition(": $.") for line in lines if ": $." in line]
    every = sorted(verbs_with_json())
    yield from ("| verb | names in the document |", "|---|---|")
    for verb in every:
        said = notes.get(verb, {})
        if isinstance(said, dict):
            paths = [path.rpartition(" ")[0] for label, _, path in recorded if verb == _verb_of(label, every)]
            paths += [f"{view.name}[].{field.name}" for view in WITHOUT_ROWS.get(verb, ()) for field in view.fields]
            said = _names(_tree([*paths, *said]), {**notes["*"], **said})
        yield f"| `{verb}` | {cell(said)} |"


def _verb_of(line: str, every: list[str]) -> str:
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


def warning_codes() -> Iterator[str]:
    found = (entry.partition(": ") for entry in table_lines(reasons.__file__, "warning_codes.txt"))
    yield from rows("code | what was seen, and what became of it", ((code(name), text) for name, _, text in found))


def shipped_layouts() -> Iterator[str]:
    read = ((name, yaml.safe_load(path.read_text(encoding="utf-8"))) for name, path in layout_files(None).items())
    yield from rows("layout | ", ((code(name), layout["about"]) for name, layout in read))


def rows(heads: str, found: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table. ``heads``: its first line, without the outer bars."""
    yield f"| {heads.strip()} |"
    yield "|---" * (heads.count("|") + 1) + "|"
    yield from (f"| {' | '.join(map(cell, row))} |" for row in found)


def code(text: str) -> str:
    return f"`{text}`"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# -- the files -----------------------------------------------------------------------------------------------------

# -- the API -------------------------------------------------------------------------------------------------------


def api_resources() -> Iterator[str]:
    found = (
        (
            code(f"{'POST' if one.of_post else 'GET'} {one.path}"),
            one.what,
            ", ".join(
                code(name) for name in reads.model_of(getattr(reads, one.read)).model_fields if name not in one.path
            ),
        )
        for one in RESOURCES
    )
    asked = ((code(f"GET {one.path}"), one.what, "") for one in QUESTIONS)
    yield from rows("below `/api/v1` | | arguments", (*found, *asked))


def api_acts() -> Iterator[str]:
    found = (
        (
            code(name),
            what,
            ", ".join(sorted(HANDLERS[name].needs)),
            ", ".join(map(code, HANDLERS[name].arguments.model_fields)),
        )
        for name, what in OFFERED.items()
    )
    yield from rows("verb | | needs | arguments", found)


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "kinds": kinds,
    "site-keys": site_keys,
    "alert-keys": alert_keys,
    "webhook-keys": webhook_keys,
    "destination-keys": destination_keys,
    **{f"destination-{kind}": partial(destination_example, kind) for kind in destination.KINDS},
    "channel-keys": channel_keys,
    "source-keys": source_keys,
    "pack-keys": pack_keys,
    "analyzers": shipped_analyzers,
    "later": later_names,
    "verb-list": verb_list,
    "verbs": verb_pages,
    "json": json_names,
    "exit-codes": lambda: rows("code | ", ((str(code.value), text) for code, text in EXIT_WORDS.items())),
    "reasons": lambda: rows(
        "code | what happened, and what to do", ((code(reason.value), reason.help) for reason in ReasonCode)
    ),
    "warnings": warning_codes,
    "layouts": shipped_layouts,
    "loggers": lambda: rows("logger | ", ((code(f"{logs.OURS}.{name}"), text) for name, text in logs.LOGGERS.items())),
    "functions": generate_function_docs.lines,
    "hold-names": lambda: rows("name | of the result", ((code(name), text) for name, (_, text) in names.NAMES.items())),
    "api-resources": api_resources,
    "api-acts": api_acts,
    "api-problems": lambda: rows(
        "kind | status | ", ((code(name), str(kind.status), kind.title) for name, kind in KINDS.items())
    ),
    "hold-functions": lambda: rows("function | ", ((code(name), text) for name, text in names.FUNCTIONS.items())),
}


def renewed(text: str) -> str:
    """``text`` with every generated part as the code has it now."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}\n{chr(10).join(PARTS[match[2]]()).rstrip()}\n\n{match[3]}"

    return PART.sub(part, text)


def files() -> dict[Path, str]:
    """Each page, with its generated parts as they should be."""
    return {path: renewed(path.read_text(encoding="utf-8")) for path in sorted(DOCS.glob("*.md"))}
