"""Where a site is, and where the data that ships with LabRelay is.

A site is a folder with ``config/labrelay.yaml``. Mappings, tables and samples that a site does not have itself come
from LabRelay: from the checkout it runs from if there is one (an editable install *copies* data into the wheel's
folder, where it goes stale), else from ``labrelay_data`` in the wheel.
"""

import os
import sysconfig
from pathlib import Path

from engine.model.errors import ConfigError

CONFIG_FILE = Path("config") / "labrelay.yaml"
SYSTEM_SITE = Path("/etc/labrelay")
SITE_VARIABLE = "LABRELAY_SITE"


def is_site(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file()


def find_site(given: str | None = None) -> Path:
    """The site that ``--site`` names, else ``LABRELAY_SITE``, else this folder if it is one, else the system's.

    Raises:
        ConfigError: the named folder is no site, or there is none.
    """
    for name, source in ((given, "--site"), (os.environ.get(SITE_VARIABLE), SITE_VARIABLE)):
        if name:
            folder = Path(name).expanduser().resolve()
            if not is_site(folder):
                raise ConfigError(f"{source}: {folder} is not a site; a site is a folder with {CONFIG_FILE}")
            return folder
    for folder in (Path.cwd(), SYSTEM_SITE):
        if is_site(folder):
            return folder
    raise ConfigError(
        f"no site here: neither this folder nor {SYSTEM_SITE} has {CONFIG_FILE}; "
        f"name one with --site DIR or {SITE_VARIABLE}, or make one here: labrelay init"
    )


def shipped(kind: str) -> Path | None:
    """The folder of shipped data of one kind (``mappings``, ``analyzers`` ...), None if it is not installed."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    for base in (checkout, Path(sysconfig.get_path("purelib"))):
        folder = base / "labrelay_data" / kind
        if folder.is_dir():
            return folder
    return None


def mapping_path(site: Path | None) -> tuple[Path, ...]:
    """Folders in which mappings and their tables are looked for; a pack's table is named ``sysmex-xn/codes.csv``."""
    return (*search_path(site, "mappings"), *search_path(site, "analyzers"))


def search_path(site: Path | None, kind: str) -> tuple[Path, ...]:
    """Where to look for data of one kind: the site's own folder first, so that a site can replace what ships."""
    own = [site / kind] if site is not None and (site / kind).is_dir() else []
    ours = shipped(kind)
    return tuple([*own, ours] if ours is not None and ours not in own else own)
