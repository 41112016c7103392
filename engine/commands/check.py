"""Check the site's configuration and mappings, and list all problems.

Every problem with file, line, column, a reason and a way out; nothing is started and nothing is changed here. It
refuses all that the daemon refuses at its start or on a reload, by the same code. With FILES, only problems of these
files are shown; mapping and table files may be named too. Certificate and key files that the site names are read as
well. Without FILES it says, too, how many lines a day the log has at worst, and warns where the disk has no room.

--samples FOLDER also runs every message of a folder through, as the channels would, without a daemon: it shows the
outcome of each, lost results, segments and fields, codes and units that no table has, and whether the documents are
valid FHIR. A folder inside it with a channel's name holds messages of that channel; other messages go to the channel
whose format, routes and analyzer fit. The exit code is 1 where a message would be dead or a document is not valid.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.mapping_options import mapper_for, mapping_options, say_packs
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, pass_session
from engine.config.load import Site, load_site
from engine.config.reading.yaml_nodes import Node, line, read_file, walk
from engine.config.site import CONFIG_FILE, mapping_path, shipped
from engine.config.sitewide import Server, servers
from engine.diagnostics.examine import budget, examined
from engine.feature import Hook
from engine.model.errors import ConfigError, DeliveryError, LabRelayError
from engine.model.process.clock import SystemClock
from engine.model.site.corrections import Correction
from engine.model.site.health import Health, Line
from engine.views.view import plural

if TYPE_CHECKING:
    from engine.config.channel import ChannelConfig
    from engine.model.ports import ConditionsTrial, Reachable
    from engine.runtime.build import BuiltSite

GROUP = "start"

DOUBTS: Hook[Callable[[Site, Sequence[Correction]], Iterator[str]]] = Hook("doubts")

PROBE_TIMEOUT_S = 10.0
TRIAL_TIMEOUT_S = 30.0  # for the few requests that try conditions


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of the result."""

    severity: str  # problem, warning; note: worth knowing, needs no change
    text: str

    def to_json(self) -> dict[str, Any]:
        file, line, column, rest = _split(self.text)
        return {"severity": self.severity, "file": file, "line": line, "column": column, "text": rest}


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--online",
    is_flag=True,
    help="Also ask each destination, the identity provider and ABDM's gateway whether it can be reached and fits, and "
    "connect with each webhook and each sink of alerts, which get nothing. A "
    "receiver of HL7 v2 is sent a query that concerns no "
    "patient (NMQ^N01), to see how it acknowledges. "
    "Where one says `conflicts: check`, a resource of our own is written there and removed again, to see whether the "
    "server looks at conditions.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Warnings count as problems (exit code 3). With --samples: the standards' own readers judge, too: HL7 v2 is "
    "held against HL7's structures (hl7apy), documents against the models of FHIR (fhir.resources, R4B); a departure "
    "is exit code 1.",
)
@click.option(
    "--samples",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Run the messages of this folder through. Without a site: with the shipped mappings.",
)
@mapping_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    /,
    files: tuple[Path, ...],
    online: bool,
    strict: bool,
    samples: Path | None,
    mapping: str,
    channel: str | None,
    timezone: str | None,
    form: Form,
) -> ExitCode:
    if samples is None and (mapping or channel or timezone or session.settings):
        raise click.UsageError("--channel, --mapping, --set and --timezone are about messages: give --samples")
    if samples is not None and session.folder_or_none is None:
        return _run_samples(session, samples, None, mapping, channel, timezone, strict, {}, form)
    site, remarks = read_site(session)
    if files:
        remarks = [remark for remark in remarks if _concerns(remark.text, session.folder, files)]
    if online and site is not None:
        remarks += asyncio.run(_probe(site))
    log = budget(site) if site is not None and not files else None
    if log is not None:
        remarks += _of_lines([log])
    bad = sum(remark.severity == "problem" or (strict and remark.severity == "warning") for remark in remarks)
    document = {
        "ok": bad == 0,
        "site": str(session.folder),
        "config_hash": site.hash if site is not None else None,
        "log": log.text if log is not None else None,
        "remarks": [remark.to_json() for remark in remarks],
    }
    broken = any(remark.severity == "problem" for remark in remarks)
    if samples is not None and not broken:
        assert site is not None
        if form is Form.TABLE:
            for remark in remarks:
                click.echo(_for_people(remark), err=True)
        ended = _run_samples(session, samples, site, mapping, channel, timezone, strict, document, form)
        return ExitCode.CONFIG if bad and ended is ExitCode.OK else ended
    show_document(form, document, (_for_people(remark) for remark in remarks))
    if samples is not None:
        say("the messages were not run: mend the configuration first")
    if form is Form.TABLE:
        if log is not None and log.health is Health.OK:
            say(f"log: {log.text}")
        where = f" in {plural(len(site.channels), 'channel')}" if site is not None else ""
        say(f"{session.folder}: {_ended(remarks)}{where}")
    return ExitCode.CONFIG if bad else ExitCode.OK


def _run_samples(
    session: Session,
    folder: Path,
    site: Site | None,
    mapping: str,
    channel: str | None,
    timezone: str | None,
    strict: bool,
    document: dict[str, Any],
    form: Form,
) -> ExitCode:
    """Run a folder's messages through and show their outcomes, with the findings about the configuration."""
    from engine.commands.shared import sample_report
    from engine.commands.shared.sampling import Channels, Sampler

    if mapping or channel or site is None or not site.channels:
        one = mapper_for(session, mapping=mapping, channel=channel, timezone=timezone)
        sampler = Sampler(one, channel or "", strict=strict)
    elif session.settings:
        raise click.UsageError("--set is in place of one channel's: name it with --channel, or a --mapping")
    else:
        bare = mapper_for(session, timezone=timezone)
        sampler = Sampler(channels=Channels(site, timezone), bare=bare, strict=strict)
    report = sample_report.collect(folder, sampler)
    if sampler.one is not None:
        sampler.one.refuse_unread()
        say_packs(sampler.one)
    if not report.samples and form is Form.TABLE:
        say(f"{folder}: no messages in it")
    show_document(
        form, {**document, **report.to_json(), "ok": document.get("ok", True) and not report.bad}, report.lines()
    )
    return ExitCode.FAILED if report.bad else ExitCode.OK


def read_site(session: Session, *, corrected: bool = True) -> tuple[Site | None, list[Remark]]:
    """The site if it can be read, and all remarks about it.

    Args:
        corrected: with the corrections of code tables, which the journal has.
    """
    from engine.config.findings import tls_files
    from engine.config.findings.questions import open_questions
    from engine.diagnostics.packs import own_packs
    from engine.runtime.build import build_site

    folder = session.folder
    problems: dict[str, None] = {}  # in order, each once: the same mapping may serve many channels
    warnings: dict[str, None] = {}
    notes: dict[str, None] = {}
    site = None
    try:
        site = load_site(folder, require_secrets=False)
        if corrected:
            site = session.corrected(site)
        warnings |= dict.fromkeys(site.warnings)
        problems |= dict.fromkeys(tls_files.problems(site))
        built = build_site(site, identity_key=bytes(32), clock=SystemClock())
        for channel in built.channels.values():
            for route in channel.routes.routes:
                warnings |= dict.fromkeys(getattr(route.program, "problems", ()))
                notes |= dict.fromkeys(_table_notes(route.program))
        problems |= dict.fromkeys(built.doubts)
        warnings |= dict.fromkeys(_no_local_system(site, built))
        warnings |= dict.fromkeys(_settings(site, built))
        warnings |= dict.fromkeys(_doubts(site, session) if corrected else ())
        warnings |= dict.fromkeys(_backup(site))
        warnings |= dict.fromkeys(open_questions(site))
    except ConfigError as error:
        problems |= dict.fromkeys(error.problems)
    for _, found in own_packs(folder):
        problems |= dict.fromkeys(found)
    problems |= dict.fromkeys(_layouts(folder))
    for problem, warning in _mappings(folder):
        problems |= dict.fromkeys(problem)
        warnings |= dict.fromkeys(warning)
    warnings |= dict.fromkeys(_fragments(folder))
    notes |= dict.fromkeys(_shadows(folder))
    told = (("problem", problems), ("warning", warnings), ("note", notes))
    return site, [Remark(severity, text) for severity, texts in told for text in texts]


def _backup(site: Site) -> Iterator[str]:
    """A folder in which no copy can be made, and copies that go with what they are copies of."""
    from engine.store.recovery.backups import recovery_point

    folder, path = site.config.backup.folder, ("backup", "folder")
    if folder is None:
        return
    said = "; ".join(recovery_point.folder_fault(folder) or ())
    if not said and recovery_point.is_on_one_disk(folder, site.config.data):
        said = recovery_point.SAME_DISK
    if said:
        yield line(walk(read_file(site.folder / CONFIG_FILE, str(CONFIG_FILE)), path), path, said)


def _doubts(site: Site, session: Session) -> Iterator[str]:
    for found in DOUBTS.each():
        yield from found(site, session.corrections)


def _table_notes(program: Any) -> Iterator[str]:
    """Rows of a code table that replace those of another file."""
    for table in getattr(program, "tables", {}).values():
        yield from table.notes


def _shadows(folder: Path) -> Iterator[str]:
    """Files of the site that replace shipped ones: improvements of a new version do not reach them."""
    for kind in ("mappings", "analyzers"):
        ours, own = shipped(kind), folder / kind
        if ours is None or not own.is_dir() or own.resolve() == ours.resolve():
            continue
        for path in sorted((*own.rglob("*.yaml"), *own.rglob("*.csv"))):
            name = path.relative_to(own)
            if name.parts[0] != "tests" and (ours / name).is_file():
                same = path.read_bytes() == (ours / name).read_bytes()
                what = "is the shipped one word for word; remove it" if same else "takes the place of the shipped one"
                yield f"{kind}/{name.as_posix()}:1:1: {what}, and gets none of its changes"


def _no_local_system(site: Site, built: "BuiltSite") -> Iterator[str]:
    """Channels whose mapping passes the sender's own codes, and that do not name the system of these codes."""
    for name, channel in built.channels.items():
        if channel.config.settings.get("local_system"):
            continue
        for index, route in enumerate(channel.routes.routes):
            if "local_system" in getattr(route.program, "settings_read", ()):
                yield site.node(name, "routes", index, "mapping").problem(
                    "the sender's own codes go out without a system, and mean nothing elsewhere; give the channel "
                    "settings: {local_system: ...}, a URI of yours for the codes of this analyzer"
                )
                break


def _settings(site: Site, built: "BuiltSite") -> Iterator[str]:
    """Settings of channels that no rule reads, and policies with an unknown choice: a misspelt one has no effect."""
    from engine.mapping.language.rules import POLICIES
    from engine.model.texts.spelling import suggestion

    always = {*POLICIES, "tables", "processing_ids", "not_numbers", "no_specimen_ids"}
    for name, channel in built.channels.items():
        routes = channel.routes.routes
        given = site.node(name).get("settings")
        known = always.union(*(getattr(route.program, "settings_read", ()) for route in routes))
        held = " ".join(str(route.hold) for route in channel.config.routes)
        for key, value in given.pairs if given is not None else ():
            if key.value in POLICIES and value.value not in POLICIES[key.value]:
                choices = ", ".join(POLICIES[key.value])
                yield value.problem(
                    f"{key.value} is one of {choices}; '{value.value}' is taken as {POLICIES[key.value][0]}"
                )
            elif key.value not in known and key.value not in held and any(route.program for route in routes):
                yield key.problem(f"no rule reads the setting {key.value}{suggestion(key.value, known)}; remove it")


def _fragments(folder: Path) -> Iterator[str]:
    """Fragments of the site's own libraries that no mapping uses."""

    def used(node: Node) -> Iterator[str]:
        for key, value in node.pairs:
            if key.value == "$use":
                yield value.value
            yield from used(value)
        for item in node.items:
            yield from used(item)

    own: dict[str, Node] = {}
    names: set[str] = set()
    for base in mapping_path(folder):
        for path in sorted(base.glob("*.yaml")):
            try:
                node = read_file(path, path.name)
            except ConfigError:
                continue  # reported where it is used
            names.update(used(node))
            fragments = node.get("fragments")
            if base == folder / "mappings" and fragments is not None:
                own |= {key.value: key for key, _ in fragments.pairs}
    for name, node in own.items():
        if name not in names:
            yield node.problem(f"fragment {name} is used by no mapping; remove it")


def _mappings(folder: Path) -> Iterator[tuple[Iterable[str], Iterable[str]]]:
    """(problems, warnings) of each of the site's own mappings, also of those that no channel uses yet."""
    from engine.mapping import load

    own = folder / "mappings"
    for path in sorted(own.glob("*.yaml")) if own.is_dir() else ():
        if not _is_mapping(path):
            continue
        try:
            program = load(path.stem, mapping_path(folder))
            yield program.doubts, program.problems
        except ConfigError as error:
            yield error.problems, ()


def _layouts(folder: Path) -> Iterator[str]:
    """Problems of each of the site's own layouts, also of those that no channel uses yet."""
    from engine.config.layouts import layout_files, load_layout

    for name, path in layout_files(folder).items():
        if path.is_relative_to(folder):
            try:
                load_layout(path, name)
            except ConfigError as error:
                yield from error.problems


def _is_mapping(path: Path) -> bool:
    """Libraries are read by the mappings that import them."""
    try:
        return read_file(path).get("mapping-library") is None
    except ConfigError:
        return True


def _of_trial(name: str, tried: "ConditionsTrial") -> Remark | None:
    """The remark about a server that was tried for ``conflicts: check``."""
    said = []
    if tried.problem:
        said.append(
            f"conflicts: check guards nothing there. {tried.problem}; another system's changes are overwritten "
            "unnoticed. Try ids: client, or have the server corrected"
        )
    if tried.unknown:
        said.append(f"whether conflicts: check guards anything there could not be tried: {tried.unknown}")
    if tried.left:
        said.append(f"remove there what was written for the trial: {', '.join(tried.left)}")
    if not said:
        return None
    return Remark("problem" if tried.problem else "warning", f"destination {name}: {'. '.join(said)}")


async def _probe(site: Site) -> list[Remark]:
    async def one(name: str) -> Remark | None:
        config = site.config.destinations[name]
        if not config.probed:
            return None  # `examined` looks at it
        destination = config.build(name, SystemClock())
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await destination.start()
                told = await destination.probe()
            if getattr(config, "conflicts", "off") == "check":
                async with asyncio.timeout(TRIAL_TIMEOUT_S):
                    return _of_trial(name, await destination.try_conditions())
        except (DeliveryError, ConfigError) as error:
            return Remark("problem", f"destination {name}: {error}")
        except TimeoutError:
            return Remark("problem", f"destination {name}: no answer within {PROBE_TIMEOUT_S:g} s")
        finally:
            await destination.close()
        return Remark("warning", f"destination {name}: {told}") if told else None

    found = await asyncio.gather(
        *(one(name) for name in site.config.destinations),
        *(_reached(server) for server in servers(site.config) if server.asked),
        *(_probe_source(name, channel) for name, channel in site.channels.items() if channel.enabled),
    )
    return [*(remark for remark in found if remark is not None), *_of_lines(await examined(site))]


async def _reached(server: "Server") -> Remark | None:
    """Whether a server that features send to can be reached; nothing is given to it."""
    try:
        client: Reachable = server.block.build(server.path[-1], SystemClock())
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await client.start()
                await client.probe()
        finally:
            await client.close()
    except (DeliveryError, ConfigError) as error:
        return Remark("problem", f"{server.asked}: {error}")
    except TimeoutError:
        return Remark("problem", f"{server.asked}: no answer within {PROBE_TIMEOUT_S:g} s")
    return None


async def _probe_source(name: str, channel: "ChannelConfig") -> Remark | None:
    """Whether a server that is asked for orders answers as it will be asked; takes nothing."""
    from engine.config import registry
    from engine.config.sources.source_fhir import FhirSearchPart
    from engine.config.sources.source_kafka import KafkaPart

    if not isinstance(channel.source, FhirSearchPart | KafkaPart):
        return None
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await registry.transport(channel.source.transport).probe(channel.source)
    except LabRelayError as error:
        return Remark("problem", f"channel {name}: {error}")
    except TimeoutError:
        return Remark("problem", f"channel {name}: no answer within {PROBE_TIMEOUT_S:g} s")
    return None


def _of_lines(lines: Iterable[Line]) -> Iterator[Remark]:
    for found in lines:
        if found.health is not Health.OK:
            severity = "problem" if found.health is Health.FAIL else "warning"
            yield Remark(severity, ": ".join(filter(None, (found.subject, found.text, found.advice))))


def _concerns(text: str, folder: Path, files: tuple[Path, ...]) -> bool:
    name = Path(_split(text)[0] or "")
    known = {file.resolve() for file in files}
    # Mappings and tables are named as from a mappings folder, the rest as from the site's.
    return any((base / name).resolve() in known for base in (folder, folder / "mappings", folder / "analyzers", Path()))


def _split(text: str) -> tuple[str | None, int | None, int | None, str]:
    """``file:line:column: text`` taken apart; remarks about no file have none of them."""
    parts = text.split(":", 3)
    if len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[1]), int(parts[2]), parts[3].strip()
    return None, None, None, text


def _ended(remarks: Iterable[Remark]) -> str:
    """How many remarks need a look."""
    counts = Counter(remark.severity for remark in remarks)
    found = [plural(counts[one], one) for one in ("problem", "warning") if counts[one]]
    return f"{' and '.join(found) or 'no problem'} found"


def _for_people(remark: Remark) -> str:
    color = {"warning": "yellow", "note": "cyan"}.get(remark.severity)
    return (click.style(f"{remark.severity}: ", fg=color) if color is not None else "") + remark.text
