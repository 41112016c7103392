"""The drop-in of the systemd unit for one site: the addresses that the service may talk to, the folders it may write.

The unit allows this machine and private networks (`IPAddressAllow=`), and its own data folder. The drop-in adds what
the site's configuration needs beyond that, each line with its reason. A change of the configuration makes it stale:
`examine` compares both.
"""

import ipaddress
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engine.config.kafka_servers import KafkaServers
from engine.config.load import Site, serial_lines
from engine.config.sitewide import servers
from engine.config.sources.source import TcpPart
from engine.config.sources.source_tee import TeePart
from engine.model.errors import LabRelayError
from engine.model.site.health import Health, Line

UNIT_FILE = Path("/etc/systemd/system/labrelay.service")
DROP_IN = UNIT_FILE.with_name(f"{UNIT_FILE.name}.d") / "50-site.conf"
RENEW = "sudo labrelay service --write, then sudo systemctl restart labrelay"
ADDED = ("channels", "layouts", "mappings/tables")  # where an analyzer that is added by a draft has its files
ADDRESSES, FOLDERS = "IPAddressAllow", "ReadWritePaths"
ANY = "any"
# Names that only a laboratory's own network knows (RFC 6762, 8375, ICANN's .internal, and customs): their addresses are
# private ones, which the unit allows. A name without a dot is one, too.
LOCAL_NAMES = (
    "local",
    "localdomain",
    "localhost",
    "lan",
    "internal",
    "intranet",
    "home.arpa",
    "home",
    "corp",
    "private",
)
_HEAD = """\
# What the service may reach and write for this site, besides what its unit says.
# `labrelay service --write` writes this file anew from the configuration. Put lines of your own into another one:
# systemctl edit labrelay
[Service]
"""


@dataclass(frozen=True, slots=True)
class Need:
    """One directive that the site needs, and why.

    Attributes:
        key: `ADDRESSES` or `FOLDERS`.
        value: as it is written.
        why: the part of the configuration, and the reason.
    """

    key: str
    value: str
    why: str

    @property
    def directive(self) -> str:
        return f"{self.key}={self.value}"


def needs(site: Site) -> list[Need]:
    """What the unit does not allow by itself, or what is worth naming; each directive once, addresses first."""
    found = [need for owner, host in _hosts(site) if (need := address(owner, host)) is not None]
    found += [Need(ADDRESSES, one, f"{owner}: it may connect") for owner, one in _senders(site)]
    found += [Need(FOLDERS, _path(folder), owner) for owner, folder in _folders(site)]
    once: dict[str, Need] = {}
    for need in found:
        once.setdefault(need.directive, need)
    return list(once.values())


def address(owner: str, host: str) -> Need | None:
    """The address line for a host that the site connects to; None where the unit's own lines are enough."""
    try:
        found = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        name = host.rstrip(".").lower()
        if "." not in name or name.endswith(tuple(f".{end}" for end in LOCAL_NAMES)):
            return None
        return Need(ADDRESSES, ANY, f"{owner}: {host} is a public name; its addresses are known at run time alone")
    if found.is_loopback:
        return None
    return Need(ADDRESSES, str(found), f"{owner}: {host}")


def grant(site: Path) -> None:
    """Let the service write where an analyzer that is added has its files, by the group that the site's folder has.

    All else of the site stays root's alone, also the folders above, so that no link takes the place of one of these.

    Raises:
        LabRelayError: the group is not the service's, a folder is a link, or this process may not.
    """
    group = site.stat().st_gid
    if not group:
        raise LabRelayError(f"{site}: its group must be the service's: sudo chgrp -R labrelay {site}")
    try:
        for folder in (site / "mappings", *(site / name for name in ADDED)):
            if not folder.is_dir():
                folder.mkdir(0o750)
                folder.chmod(0o750)  # whatever the umask
                os.chown(folder, 0, group)
            if folder.is_symlink():
                raise LabRelayError(f"{folder}: it is a link, and stays as it is")
            if folder != site / "mappings":
                os.chown(folder, 0, group)
                folder.chmod(0o770)
    except OSError as error:
        raise LabRelayError(f"{error.filename}: {error.strerror}; run this as root") from error


def _granted(site: Path) -> Iterator[Path]:
    for folder in map(site.joinpath, ADDED):
        found = folder.stat() if folder.is_dir() else None
        if found is not None and not found.st_uid and found.st_gid and found.st_mode & stat.S_IWGRP:
            yield folder


def drop_in(site: Site) -> str:
    """The text of the drop-in.

    Raises:
        LabRelayError: a name has a sign that would be another line.
    """
    every = needs(site)
    if odd := next((need for need in every if not f"{need.why}{need.directive}".isprintable()), None):
        raise LabRelayError(f"{odd.why!r}: {odd.value!r} cannot be written into a unit")
    lines = [f"# {need.why}\n{need.directive}\n" for need in every]
    return _HEAD + "".join(lines or ["# Nothing: the unit allows all that this site needs.\n"])


def examine(site: Site) -> Iterator[Line]:
    """Whether the installed drop-in is what the configuration needs; nothing where no unit is installed."""
    if not UNIT_FILE.is_file():
        return
    wanted = needs(site)
    every = {line for file in sorted(DROP_IN.parent.glob("*.conf")) for line in _directives(file)}
    missing = [need for need in wanted if need.directive not in every]
    for need in missing:
        yield Line(Health.WARN, "service", f"{need.directive} is missing for {need.why}", RENEW)
    for line in _directives(DROP_IN):
        if line not in {need.directive for need in wanted}:
            text = f"{line} of {DROP_IN} is of an earlier configuration: no part of this one needs it"
            yield Line(Health.WARN, "service", text, RENEW)
    for need in wanted:
        if need.value == ANY and need not in missing:
            yield Line(Health.OK, "service", f"it may talk to any address, because of {need.why}")
    if not missing and not any(need.value == ANY for need in wanted):
        yield Line(Health.OK, "service", "it may talk to this machine, private networks and the addresses of the site")


def _directives(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith((f"{ADDRESSES}=", f"{FOLDERS}="))]


def _hosts(site: Site) -> Iterator[tuple[str, str]]:
    """Each host that the site connects to, with the part of the configuration that names it."""
    for name, destination in site.config.destinations.items():
        owner = f"destination {name}"
        if isinstance(destination, KafkaServers):
            yield from ((owner, one.host) for one in destination.connect)
        elif not destination.folders:
            yield owner, _host(destination.place)
        oauth2 = getattr(getattr(destination, "auth", None), "oauth2", None)
        for url in (getattr(oauth2, "token_url", None), getattr(oauth2, "token_host", None)):
            if url is not None:
                yield f"{owner}, its tokens", _host(url)
    yield from ((server.asked or server.owner, _host(server.place)) for server in servers(site.config))
    for name, channel in site.channels.items():
        owner, source = f"channel {name}", channel.source
        connects = [source.connect] if isinstance(source, TcpPart) else []
        if isinstance(source, TeePart):
            connects = [end.connect for end in source.tee.ends]
        yield from ((owner, one.host) for one in connects if one is not None)
        yield from ((owner, _host(line.device)) for _, line in serial_lines(channel) if line.is_remote)


def _host(place: str) -> str:
    return urlsplit(place if "://" in place else f"//{place}").hostname or ""


def _senders(site: Site) -> Iterator[tuple[str, str]]:
    """Public addresses and networks that may connect to the site."""
    allowed = [("web", site.config.web.allow)]
    allowed += [(f"channel {name}", getattr(one.source, "allow", ())) for name, one in site.channels.items()]
    for owner, networks in allowed:
        yield from ((owner, one) for one in networks if ipaddress.ip_network(one, strict=False).is_global)


def _folders(site: Site) -> Iterator[tuple[str, Path]]:
    """Folders outside of the data folder that the service writes to."""
    config = site.config
    named = [("data", config.data), ("anchor", config.anchor)]
    named += [("backup", config.backup.folder), ("backup, its drills", config.backup.scratch)]
    named += [(f"destination {name}", one) for name, to in config.destinations.items() for one in to.folders]
    named += [(f"channel {name}", one) for name, channel in site.channels.items() for one in channel.source.folders]
    named += [("analyzers are added on the page", folder) for folder in _granted(site.folder)]
    writable = [site.folder / "var", Path("/var/lib/labrelay"), Path("/var/lib/labrelay-anchor")]
    for owner, folder in named:
        if folder is not None and not any(folder.is_relative_to(place) for place in writable):
            yield owner, folder
            writable.append(folder)


def _path(folder: Path) -> str:
    """As systemd reads it; `-`: the service also starts where it is not there, as a share that is not mounted."""
    text = str(folder).replace("\\", "\\\\").replace("%", "%%")
    return f'"-{text}"' if re.search(r"\s", text) else f"-{text}"
