"""Read a site's files without the models of the configuration: the place of the data, the zone, names.

For commands that only read the journal: they must work while the rest of the configuration is broken or names variables
that only the service has. They also start faster, without the checks of a configuration.
"""

from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.config.reading.secrets import expand
from engine.config.reading.yaml_nodes import line, read_file, walk
from engine.config.site import CONFIG_FILE
from engine.model.errors import ConfigError


def data_folder(folder: Path) -> Path:
    """The site's data folder.

    Raises:
        ConfigError: the file cannot be read as YAML, or ``data:`` is no path.
    """
    folder = Path(folder).resolve()
    node = read_file(folder / CONFIG_FILE, str(CONFIG_FILE)).get("data")
    if node is None:
        return folder / "var"
    try:
        return folder / Path(expand(node.value)).expanduser()
    except ValueError as error:
        raise ConfigError(line(node, ("data",), str(error))) from error


def site_zone(folder: Path) -> ZoneInfo | None:
    """The site's zone; None where it names none that is known."""
    try:
        node = walk(read_file(folder / CONFIG_FILE, str(CONFIG_FILE)), ("site", "timezone"))
        return ZoneInfo(expand(node.value)) if node.kind == "scalar" else None
    except (ConfigError, KeyError, ValueError, OSError):
        return None


def patient_numbers(folder: Path) -> str:
    """The site's answer to `patient_numbers`; empty without one."""
    return _texts(folder, "patient_numbers").get("patient_numbers", "")


def namespaces(folder: Path) -> dict[str, str]:
    """The site's namespaces; none where they cannot be read."""
    return _texts(folder, "namespaces")


def _texts(folder: Path, key: str) -> dict[str, str]:
    """The text of a key by its name, or the texts of a map."""
    try:
        node = read_file(folder / CONFIG_FILE, str(CONFIG_FILE)).get(key)
        if node is None:
            return {}
        pairs = [(name.value, value) for name, value in node.pairs] or [(key, node)]
        return {name: expand(value.value) for name, value in pairs if value.kind == "scalar"}
    except (ConfigError, ValueError):
        return {}


def destinations(folder: Path) -> list[str]:
    """Names of the site's destinations. Raises ConfigError where the file cannot be read."""
    node = read_file(folder / CONFIG_FILE, str(CONFIG_FILE)).get("destinations")
    return [name.value for name, _ in node.pairs] if node is not None else []


def channels(folder: Path) -> list[str]:
    """Names of the site's channels; those of files that cannot be read are left out."""
    found = []
    for path in sorted((folder / "channels").glob("*.yaml")):
        with suppress(ConfigError):
            node = read_file(path, path.name).get("channel")
            found += [node.value] if node is not None and node.kind == "scalar" else []
    return found
