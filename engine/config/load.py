"""Read a site: every file, every problem at once.

Files become nodes (`engine.config.reading.yaml_nodes`), nodes plain data with ``${NAME}`` replaced, data models; then
names are checked across files. A problem in one file never hides one in another.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import available_timezones

from pydantic import ValidationError

from engine.config.channel import NO_DESTINATION, ChannelConfig, channel_model
from engine.config.destinations.destination import kinds
from engine.config.findings.agreement import disagreements
from engine.config.findings.exposed import asked_in_clear, exposed, open_to_all, open_to_replays
from engine.config.pack import find_pack
from engine.config.reading.problems import Reporter, closest
from engine.config.reading.secrets import Lookup, expand, lookup
from engine.config.reading.yaml_nodes import KeyPath, Node, line, read_file, walk
from engine.config.site import CONFIG_FILE, mapping_path, search_path
from engine.config.sitewide import OfUnit, SiteConfig, servers, site_model
from engine.config.sources.source_folder import FolderPart
from engine.config.sources.source_serial import USE_BY_ID, SerialPart
from engine.config.sources.source_tee import TeePart
from engine.model.errors import ConfigError
from engine.model.site.corrections import NONE, Corrections, Sheet
from engine.model.texts.units import HostPort

# These stay as written: `engine.config.reading.secrets.Secret` reads them when they are needed, and refuses literals.
SECRET_KEYS = frozenset({"access_key", "client_secret", "password", "private_key", "secret", "secret_key", "token"})
_M = TypeVar("_M", SiteConfig, ChannelConfig)
# Rules about a block as a whole, as pydantic names them: they follow from a key that has no value.
WHOLE_BLOCK_RULES = frozenset({"value_error", "one_address"})
STAND_IN_ZONE = "UTC"
EMPTY = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site whose configuration has no problem.

    Attributes:
        channels: by name, in the order of their files' names.
        folder: the site's folder, absolute.
        files_hash: SHA-256, hexadecimal, over the configuration and every mapping and table that it can reach; values
            of ``${NAME}`` are not part of it.
        files: each of these files by its name -> its SHA-256.
        corrections: of code tables; the journal has them, so that reading the files brings none.
        warnings: lines as in `ConfigError`, for what works and still deserves a look.
    """

    config: SiteConfig
    channels: dict[str, ChannelConfig]
    folder: Path
    files_hash: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    corrections: Corrections = NONE
    warnings: tuple[str, ...] = ()
    nodes: dict[str, Node] = field(default_factory=dict, repr=False)

    @property
    def hash(self) -> str:
        """Of the configuration: over the files and the corrections in force."""
        return self.corrections.hash(self.files_hash)

    def tables_of(self, channel: ChannelConfig) -> dict[str, tuple[str | Sheet, ...]]:
        """The code tables of a channel, as `engine.mapping.load` takes them: its corrections above its files."""
        above = self.corrections.sheets.get(channel.channel, {})
        return {**channel.tables, **{name: (sheet, *channel.tables.get(name, ())) for name, sheet in above.items()}}

    def node(self, channel: str, *path: str | int) -> Node:
        """The place of a channel's key: ``node("chemistry", "routes", 0, "when").place``."""
        return walk(self.nodes[channel], path)

    def patient_numbers(self, channel: ChannelConfig) -> str:
        """``lasting`` or ``counter``: the kind of a channel's patient numbers whose authority does not define it."""
        return channel.patient_numbers or self.config.patient_numbers or "counter"

    def has_lasting_numbers(self, channel: ChannelConfig) -> bool:
        """Whether there can be patient numbers in this channel that are one person's for good."""
        return self.patient_numbers(channel) == "lasting" or bool(self.config.namespaces)

    def mapping_path(self) -> tuple[Path, ...]:
        """Folders in which mappings and their tables are looked for, the site's own first."""
        return mapping_path(self.folder)


def load_site(folder: Path, *, look: Lookup = lookup, require_secrets: bool = True) -> Site:
    """Read and check a site.

    Args:
        look: where ``${NAME}`` is looked up.
        require_secrets: a password or token that is not set is a problem (a warning for `check`, which rarely runs
            with the service's credentials).

    Raises:
        ConfigError: with all problems, in the order of files and lines.
    """
    return _Loader(Path(folder).resolve(), look, require_secrets).load()


def changed_files(site: Site) -> list[str]:
    """The names of files that are not as the site was read: changed, new or gone.

    Raises:
        OSError: one cannot be read.
    """
    now = {name: hashlib.sha256(_content(path)).digest() for name, path in _files(site.folder)}
    return sorted(name for name in {*now, *site.files} if now.get(name) != site.files.get(name))


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file of a configuration: those of the site by their place in its folder, shipped ones by their whole
    path.
    """
    found = [str(path) for path in (folder / CONFIG_FILE, *_channel_files(folder))]
    for part in (*mapping_path(folder), *search_path(folder, "layouts")):
        found += sorted(_rules_below(str(part)), key=lambda path: path.split(os.sep))
    own = str(folder / "x")[:-1]
    for path in found:
        yield path.removeprefix(own), path


def _rules_below(folder: str) -> Iterator[str]:
    """Files of rules and tables; no link to a folder is followed. Every command looks at some two hundred."""
    try:
        with os.scandir(folder) as entries:
            below = list(entries)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in below:
        if entry.is_dir(follow_symlinks=False):
            yield from _rules_below(entry.path)
        elif os.path.splitext(entry.name)[1] in (".yaml", ".csv") and entry.is_file():
            yield entry.path


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _channel_files(folder: Path) -> list[Path]:
    channels = folder / "channels"
    return [
        path
        for path in (sorted(channels.iterdir()) if channels.is_dir() else ())
        if path.suffix == ".yaml" and not path.name.startswith(".") and path.is_file()
    ]


class _Bad:
    """Nodes with an unreadable value: further problems of the models there, or in the blocks around, are hidden."""

    def __init__(self) -> None:
        self.nodes: set[int] = set()
        self._around: set[int] = set()

    def add(self, node: Node, above: tuple[int, ...]) -> None:
        self.nodes.add(id(node))
        self._around.update(above)

    def explains(self, node: Node, rule: str) -> bool:
        return id(node) in self.nodes or (id(node) in self._around and rule in WHOLE_BLOCK_RULES)


class _Loader:
    def __init__(self, folder: Path, look: Lookup, require_secrets: bool) -> None:
        self._folder = folder
        self._look = look
        self._require_secrets = require_secrets
        self._problems: list[tuple[str, int, int, str]] = []  # file, line, column: their order
        self._warnings: list[str] = []

    def load(self) -> Site:
        site_node = self._read(self._folder / CONFIG_FILE)
        config = self._model(site_node, site_model(), {}) if site_node is not None else None
        inherited = self._inherited(config, site_node)
        channels: dict[str, ChannelConfig] = {}
        nodes: dict[str, Node] = {}
        for path in self._channel_files():
            node = self._read(path)
            if node is None:
                continue
            channel = self._model(node, channel_model(), inherited)
            if channel is None:
                continue
            if channel.channel in channels:
                at = walk(node, ("channel",))
                first = nodes[channel.channel].file
                self._add(
                    at, ("channel",), f"'{channel.channel}' is the name of the channel in {first} too; rename one"
                )
                continue
            channels[channel.channel], nodes[channel.channel] = channel, node
        if site_node is not None:
            self._check_names(site_node, channels, nodes)
            self._check_listeners(config, site_node, channels, nodes)
            self._check_owners(channels, nodes)
            self._check_features(config, site_node, channels, nodes)
            self._look_at_names(channels, nodes)
            self._look_at_use(site_node, channels)
            if config is not None:
                self._warnings += exposed(config, site_node)
                self._check_units(config, site_node, channels)
            for name, channel in channels.items():
                self._warnings += asked_in_clear(channel, nodes[name])
                self._warnings += open_to_all(channel, nodes[name])
                self._warnings += open_to_replays(channel, nodes[name])
        if self._problems or config is None:
            raise ConfigError(*(text for *_, text in sorted(self._problems)))
        files_hash, files = self._hash()
        return Site(
            config=config,
            channels=channels,
            folder=self._folder,
            files_hash=files_hash,
            files=files,
            warnings=tuple(self._warnings),
            nodes=nodes,
        )

    # -- one file ----------------------------------------------------------------------------------------------

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _read(self, path: Path) -> Node | None:
        try:
            node = read_file(path, self._name(path))
        except ConfigError as error:
            self._problems += [(self._name(path), *_place(text), text) for text in error.problems]
            return None
        if node.kind != "map":
            self._add(node, (), "expected keys and values, as channel: chemistry")
            return None
        return node

    def _channel_files(self) -> list[Path]:
        for path in sorted((self._folder / "channels").glob("[!.]*.yml")):
            name = self._name(path)
            self._problems.append((name, 1, 1, f"{name}:1:1: is not read; rename it to {path.stem}.yaml"))
        return _channel_files(self._folder)

    def _model(self, root: Node, model: type[_M], inherited: dict[str, Any]) -> _M | None:
        bad = _Bad()
        given = self._plain(root, (), bad)
        for key, value in inherited.items():
            given.setdefault(key, value)
        if issubclass(model, ChannelConfig) and "analyzer" in given:
            self._fill_from_pack(root, given)
        try:
            made = model.model_validate(given, context={"folder": self._folder})
        except ValidationError as error:
            reporter = Reporter(root, model)
            for detail in error.errors(include_url=False, include_input=False):
                node, text = reporter.line(detail)
                if not bad.explains(node, detail["type"]):
                    self._problems.append((node.file, node.line, node.column, text))
            return None
        return None if bad.nodes else made

    def _fill_from_pack(self, root: Node, given: dict[str, Any]) -> None:
        """Fill in the values that a channel inherits from its analyzer's pack. The model refuses an unknown pack."""
        name = given["analyzer"]
        try:
            if isinstance(name, str) and name:
                find_pack(name, self._folder).fill(given)
        except KeyError as error:
            self._add(walk(root, ("analyzer",)), ("analyzer",), error.args[0])
        except ConfigError as error:
            self._problems += [(text.partition(":")[0], *_place(text), text) for text in error.problems]

    def _inherited(self, config: SiteConfig | None, site: Node | None) -> dict[str, Any]:
        """The values that channels inherit from the site. A mistake in the site's file is no mistake of its channels:
        without a model the zone is read from the node. If the zone itself is wrong, any zone will do, since nothing can
        start.
        """
        if config is not None:
            return {"timezone": config.site.timezone} if config.site.timezone else {}
        zone = walk(site, ("site", "timezone")) if site is not None else None
        if zone is not None and zone.kind == "scalar":
            return {"timezone": zone.value if zone.value in available_timezones() else STAND_IN_ZONE}
        return {"timezone": STAND_IN_ZONE} if site is None or self._is_troubled(site, "site") else {}

    def _is_troubled(self, file: Node, name: str) -> bool:
        """Whether there is a problem in a block of ``file``, or it is not there."""
        block = file.get(name)
        if block is None:
            return True
        places = {(node.line, node.column) for node in (block, *(key for key, _ in block.pairs))}
        places |= {(value.line, value.column) for _, value in block.pairs}
        return any(at == file.file and (line, column) in places for at, line, column, _ in self._problems)

    def _plain(self, node: Node, path: KeyPath, bad: "_Bad", above: tuple[int, ...] = ()) -> Any:
        """Data of a node: dicts, lists and texts, with names replaced."""
        if node.kind == "map":
            inner = (*above, id(node))
            return {key.value: self._plain(value, (*path, key.value), bad, inner) for key, value in node.pairs}
        if node.kind == "list":
            inner = (*above, id(node))
            return [self._plain(item, (*path, at), bad, inner) for at, item in enumerate(node.items)]
        if node.plain and node.value in EMPTY:
            self._add(node, path, "has no value; give it one, or remove the line")
            bad.add(node, above)
            return None
        if path and path[-1] in SECRET_KEYS and "settings" not in path:
            self._secret(node, path)
            return node.value
        try:
            return expand(node.value, self._look)
        except ValueError as error:
            self._add(node, path, str(error))
            bad.add(node, above)
            return node.value

    def _secret(self, node: Node, path: KeyPath) -> None:
        """A secret that is not set; one that is written out is the model's to refuse."""
        try:
            expand(node.value, self._look)
        except ValueError as error:
            if self._require_secrets:
                self._add(node, path, str(error))
            else:
                self._warnings.append(line(node, path, str(error)))

    # -- across files ------------------------------------------------------------------------------------------

    def _check_names(self, site: Node, channels: dict[str, ChannelConfig], nodes: dict[str, Node]) -> None:
        block = site.get("destinations")
        destinations = list(block.keys()) if block is not None and block.kind == "map" else []
        named = {name: kinds().get(_value(block, name, "kind")) for name in destinations}
        takes_fhir = {name for name, kind in named.items() if kind is not None and kind.takes == "fhir"}
        mappings = _mapping_names(search_path(self._folder, "mappings"))
        for name, channel in channels.items():
            for at, route in enumerate(channel.routes):
                for position, destination in enumerate(route.to or ()):
                    if destination not in destinations:
                        path = ("routes", at, "to", position)
                        hint = closest(destination, destinations) or (
                            f"; known: {', '.join(destinations)}" if destinations else "; add it to the site's file"
                        )
                        self._add(walk(nodes[name], path), path[:3], f"unknown destination '{destination}'{hint}")
                    elif route.mapping is None and destination in takes_fhir:
                        path = ("routes", at, "to", position)
                        text = f"'{destination}' takes FHIR, and this route has no mapping; give it one"
                        self._add(walk(nodes[name], path), path[:3], text)
                if route.to is None and route.filter is None and channel.role != "orders":
                    self._add(walk(nodes[name], ("routes", at)), ("routes", at), NO_DESTINATION)
                if route.mapping is not None and route.mapping not in mappings:
                    where = ("routes", at, "mapping")
                    hint = closest(route.mapping, mappings) or f"; write mappings/{route.mapping}.yaml"
                    self._add(walk(nodes[name], where), where, f"unknown mapping '{route.mapping}'{hint}")

    def _check_listeners(
        self, config: SiteConfig | None, site: Node, channels: dict[str, ChannelConfig], nodes: dict[str, Node]
    ) -> None:
        taken: list[tuple[HostPort, str]] = []
        if config is not None and config.web.enabled:
            taken.append((config.web.listen, f"the status page ({site.file})"))
        for key, destination in config.destinations.items() if config is not None else ():
            for path, ours, words in destination.listeners:
                at = ("destinations", key, *path)
                if taken and ours.collides_with(taken[0][0]):
                    self._add(walk(site, at), at, f"{ours} is taken by {taken[0][1]}; use another port")
                taken.append((ours, f"{words} ({site.file})"))
        called: dict[HostPort, str] = {}
        for name, channel in channels.items():
            tee = channel.source.tee if isinstance(channel.source, TeePart) else None
            analyzer = getattr(channel.source, "connect", None) if tee is None else None
            if analyzer is not None and channel.enabled and called.setdefault(analyzer, name) != name:
                path = ("source", "connect")
                text = (
                    f"{analyzer} is called by channel {called[analyzer]} too; most analyzers serve one, and where both "
                    "are served each result comes twice: take one out"
                )
                self._warnings.append(line(walk(nodes[name], path), path, text))
            address = getattr(channel.source, "listen", None) if tee is None else tee.listens_on
            if address is None or not channel.enabled:
                continue
            for other, owner in taken:
                if address.collides_with(other):
                    path = ("source", "listen" if tee is None else "tee")
                    self._add(walk(nodes[name], path), path, f"{address} is taken by {owner}; use another port")
            taken.append((address, f"channel {name} ({nodes[name].file})"))

    def _check_owners(self, channels: dict[str, ChannelConfig], nodes: dict[str, Node]) -> None:
        """A serial line and a watched folder belong to one channel: of two readers each would get a part of what comes,
        or take the other's claimed files for its own.
        """
        taken: dict[tuple[str, str], str] = {}
        for name, channel in channels.items():
            if not channel.enabled:
                continue
            for path, word, owned in _owned(channel):
                if owner := taken.get((word, owned)):
                    text = f"is the {word} of {owner} too; a {word} belongs to one channel"
                    self._add(walk(nodes[name], path), path, text)
                taken[word, owned] = f"channel {name} ({nodes[name].file})"

    def _check_features(
        self, config: SiteConfig | None, site: Node, channels: dict[str, ChannelConfig], nodes: dict[str, Node]
    ) -> None:
        for found in disagreements(channels, config.destinations if config is not None else None):
            file = nodes[found.channel] if found.channel else site
            node, shown = walk(file, found.path), found.path[: found.shown]
            if found.is_warning:
                self._warnings.append(line(node, shown, found.text))
            else:
                self._add(node, shown, found.text)

    def _look_at_names(self, channels: dict[str, ChannelConfig], nodes: dict[str, Node]) -> None:
        for name, channel in channels.items():
            for path, serial in serial_lines(channel):
                if serial.wanders:
                    text = f"{serial.device} is another adapter when they are plugged in in another order; {USE_BY_ID}"
                    self._warnings.append(line(walk(nodes[name], path), path, text))

    def _look_at_use(self, site: Node, channels: dict[str, ChannelConfig]) -> None:
        used = {
            destination for channel in channels.values() for route in channel.routes for destination in route.to or ()
        }
        block = site.get("destinations")
        for key, _ in block.pairs if block is not None else ():
            if key.value not in used:
                text = "no route sends anything here; name it in to: of a route, or take it out"
                self._warnings.append(line(key, ("destinations", key.value), text))

    def _check_units(self, config: SiteConfig, site: Node, channels: Collection[str]) -> None:
        units = config.site.units
        at: KeyPath = ("site", "units")
        named = [("channel", name, channels, (*at, unit)) for unit in units for name in units[unit]]
        for place in servers(config):
            if isinstance(place.block, OfUnit) and place.block.unit:
                place.block._channels = units.get(place.block.unit, ())
                named.append(("unit", place.block.unit, units, (*place.path, "unit")))
        for what, name, known, path in named:
            if name not in known:
                self._add(walk(site, path), path, f"unknown {what} '{name}'{closest(name, known)}")

    def _add(self, node: Node, path: KeyPath, text: str) -> None:
        self._problems.append((node.file, node.line, node.column, line(node, path, text)))

    def _hash(self) -> tuple[str, dict[str, bytes]]:
        """The hash over all files, and that of each."""
        digest, each = hashlib.sha256(), {}
        for name, path in _files(self._folder):
            content = _content(path)
            digest.update(f"{os.path.basename(path)}\0{len(content)}\0".encode())
            digest.update(content)
            each[name] = hashlib.sha256(content).digest()
        return digest.hexdigest(), each


def serial_lines(channel: ChannelConfig) -> Iterator[tuple[KeyPath, SerialPart]]:
    """The serial lines of a channel, each with the path of its key."""
    source = channel.source
    if isinstance(source, SerialPart):
        yield ("source", "device"), source
    if isinstance(source, TeePart):
        for name, end in zip(("analyzer", "middleware"), source.tee.ends, strict=True):
            if (serial := end.serial) is not None:
                yield ("source", "tee", name, "device"), serial


def _owned(channel: ChannelConfig) -> Iterator[tuple[KeyPath, str, str]]:
    """The key, the kind and the name of each thing that no second channel may read."""
    for path, serial in serial_lines(channel):
        yield path, "line", serial.line
    if isinstance(channel.source, FolderPart):
        # without looking: a share that hangs would hang us
        yield ("source", "folder"), "folder", os.path.abspath(channel.source.folder)


def _mapping_names(folders: tuple[Path, ...]) -> list[str]:
    return [path.stem for folder in folders for path in sorted(folder.glob("*.yaml"))]


def _value(block: Node | None, *path: str) -> str:
    """The text at ``path`` below ``block``, empty where there is none."""
    for step in path:
        block = block.get(step) if block is not None and block.kind == "map" else None
    return block.value if block is not None else ""


def _place(text: str) -> tuple[int, int]:
    """Line and column of a line that already carries them."""
    parts = text.split(":", 3)
    return (int(parts[1]), int(parts[2])) if len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit() else (1, 1)
