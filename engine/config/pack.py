"""An analyzer pack: a folder ``analyzers/<name>/`` that holds what is known about one analyzer, as data.

    pack.yaml      who makes it, what was seen of it, how its messages are recognised, what its channels start from
    channel.yaml   a channel that works once its address or device is filled in
    codes.csv      what it sends -> LOINC and UCUM, each row with its source
    suggestions.csv    meanings that published sources give further codes; for people, never read by a mapping

A channel names a pack (``analyzer: sysmex-xn``). The pack then fills in what the channel does not say itself: the code
table, the dialect, the character sets, settings. A site's own ``analyzers/`` folder comes before the shipped one, so
that a laboratory can replace a pack or add its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from engine.config.mapping_settings import with_known_forms
from engine.config.reading.problems import Reporter, closest
from engine.config.reading.values import Charsets, Dialect, Model, Name, NotEmpty, Text, Words
from engine.config.reading.yaml_nodes import Node, read_file
from engine.config.site import search_path
from engine.model.content.computed import COMPUTED
from engine.model.errors import ConfigError

FOLDER = "analyzers"
PACK_FILE, CHANNEL_FILE, CODES_FILE = "pack.yaml", "channel.yaml", "codes.csv"
SUGGESTIONS_FILE = "suggestions.csv"
TABLE = "analytes"  # what the shipped mappings call their table of codes

Texts = Annotated[
    tuple[Text, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value), Words("list")
]


class PackEvidence(Model):
    """Evidence: one file or document from which the pack was made."""

    what: Literal["capture", "vendor-example", "modelled"]
    """`capture`: bytes of a real analyzer. `vendor-example`: an example of the maker's manual. `modelled`: written
    by a person from a driver or a manual."""

    model: Text
    """Which model it is of."""

    file: Text
    """Its message in the corpus, by its file there, as `astm/sysmex-xn550.astm`."""

    shows: Text
    """Its use as evidence, in a few words."""

    link: Text
    """Where it was published."""


class Recognition(Model):
    """One sign by which messages of this analyzer are known."""

    when: Text | None = None
    """Condition over a parsed message, as `=H-5.1 matches '^XN-'`; as in routes."""

    bytes_match: Text | None = None
    """Regular expression over the raw bytes, for what is neither HL7 v2 nor ASTM E1394."""

    why: Text
    """The evidence, in words, as people read it."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "Recognition":
        if (self.when is None) == (self.bytes_match is None):
            raise ValueError("give either when (a condition) or bytes_match (a regular expression)")
        if self.when is not None and not self.when.startswith("="):
            raise ValueError("when is an expression and starts with =, as =H-5.1 matches '^XN-'")
        return self


class PackDefaults(Model):
    """Defaults for channels of this analyzer; a channel's own settings override them."""

    dialect: Dialect | None = None
    """The dialect, where the analyzer needs one."""

    charset: Charsets | None = None
    """Character sets to try, where it declares none."""

    settings: Annotated[dict[str, Any], AfterValidator(with_known_forms)] = Field(default_factory=dict)
    """Settings that mappings read."""


class PackConfig(Model):
    """The file ``pack.yaml``."""

    analyzer: Name
    """Name of the pack, which is also that of its folder."""

    maker: Text
    """Who makes the analyzer."""

    models: Annotated[Texts, NotEmpty]
    """Models that were seen, or that the evidence is about."""

    measures: Text
    """Its measurements, in a few words."""

    speaks: Text
    """Its interface, in a few words: content, framing, who connects."""

    format: Literal["hl7v2", "astm"]
    """The format that mappings read."""

    seen: Annotated[tuple[PackEvidence, ...], NotEmpty] = Field(strict=False)
    """The evidence."""

    recognise: tuple[Recognition, ...] = Field(default=(), strict=False)
    """How its messages are recognised; one sign is enough."""

    orders: Text | None = None
    """How it gets its orders, in a few words. Without this key it sends results only, as far as is known."""

    gives: PackDefaults = Field(default_factory=PackDefaults)
    """Defaults for channels of this analyzer."""

    set_up: Texts = ()
    """Settings to make on the analyzer itself."""

    traps: Texts = ()
    """Known problems, and how this pack handles them."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that was read.

    Attributes:
        folder: where it is.
        node: of its ``pack.yaml``, for places in problems.
    """

    config: PackConfig
    folder: Path
    node: Node = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.config.analyzer

    @property
    def codes(self) -> Path | None:
        """Its code table, None where it has none."""
        path = self.folder / CODES_FILE
        return path if path.is_file() else None

    @property
    def suggestions(self) -> Path | None:
        """Its suggestions for codes, None where it has none."""
        path = self.folder / SUGGESTIONS_FILE
        return path if path.is_file() else None

    @property
    def template(self) -> str:
        """The text of its channel file."""
        return (self.folder / CHANNEL_FILE).read_text(encoding="utf-8")

    def place(self, file: str) -> str:
        """The name of one of its files in problems: ``analyzers/sysmex-xn/codes.csv``."""
        return f"{FOLDER}/{self.name}/{file}"

    def fill(self, channel: dict[str, Any]) -> None:
        """Put what the pack gives below what a channel file (as plain data) says."""
        gives = self.config.gives
        if gives.dialect is not None:
            channel.setdefault("dialect", gives.dialect)
        if gives.charset is not None:
            channel.setdefault("charset", list(gives.charset))
        own = channel.get("settings", {})
        if not isinstance(own, dict):
            return  # the model says so
        tables = own.get("tables", {})
        settings = {**gives.settings, **own}
        if self.codes is not None and isinstance(tables, dict):
            settings["tables"] = {TABLE: f"{self.name}/{CODES_FILE}", **tables}
        listed = [given for given in (gives.settings.get(COMPUTED), own.get(COMPUTED)) if isinstance(given, dict)]
        if len(listed) > 1:  # the channel adds to what the pack knows
            settings[COMPUTED] = {**listed[0], **listed[1]}
        if settings:
            channel["settings"] = settings


def read_pack(folder: Path) -> Pack:
    """The pack in a folder.

    Raises:
        ConfigError: every problem of its ``pack.yaml``.
    """
    name = f"{FOLDER}/{folder.name}/{PACK_FILE}"
    node = read_file(folder / PACK_FILE, name)
    if node.kind != "map":
        raise ConfigError(node.problem("expected keys and values, as analyzer: sysmex-xn"))
    try:
        config = PackConfig.model_validate(_plain(node))
    except ValidationError as error:
        reporter = Reporter(node, PackConfig)
        details = error.errors(include_url=False, include_input=False)
        raise ConfigError(*(reporter.line(detail)[1] for detail in details)) from error
    if config.analyzer != folder.name:
        at = node.get("analyzer") or node
        raise ConfigError(at.problem(f"analyzer: '{config.analyzer}' is not the name of its folder, {folder.name}"))
    if not (folder / CHANNEL_FILE).is_file():
        raise ConfigError(
            f"{FOLDER}/{folder.name}/{CHANNEL_FILE}:1:1: is missing; a pack needs a channel to start from"
        )
    return Pack(config, folder, node)


def pack_folders(site: Path | None) -> Iterator[Path]:
    """The folders of all packs by name, each once: the site's own come first and hide shipped ones."""
    found: dict[str, Path] = {}
    for base in search_path(site, FOLDER):
        for folder in base.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                found.setdefault(folder.name, folder)
    for name in sorted(found):
        yield found[name]


def packs(site: Path | None = None) -> list[Pack]:
    """Every pack that a site can use, by name.

    Raises:
        ConfigError: every problem of every pack.
    """
    found: list[Pack] = []
    problems: list[str] = []
    for folder in pack_folders(site):
        try:
            found.append(read_pack(folder))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return found


def find_pack(name: str, site: Path | None = None) -> Pack:
    """The pack of that name.

    Raises:
        ConfigError: it has problems.
        KeyError: there is none; its text says which one may have been meant.
    """
    folders = {folder.name: folder for folder in pack_folders(site)}
    if name not in folders:
        hint = closest(name, folders) or "; `labrelay analyzers` lists them"
        raise KeyError(f"no analyzer is called '{name}'{hint}")
    return read_pack(folders[name])


def _plain(node: Node) -> Any:
    if node.kind == "map":
        return {key.value: _plain(value) for key, value in node.pairs}
    if node.kind == "list":
        return [_plain(item) for item in node.items]
    return node.value
