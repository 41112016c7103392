"""The certificate of the page: make one, and put the page on the network.

Browsers trust it once its authority is installed on their machines. The authority's own key signs this one certificate
and is kept nowhere, so no other certificate can ever be made with it. A hospital that has an authority of its own
takes a certificate of that instead: `web: {tls: {cert: ..., key: ...}}`.
"""

import fcntl
import ipaddress
import os
import re
import shutil
import socket
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared.output import ExitCode, say, show_lines
from engine.commands.shared.session import Session, pass_session
from engine.config.site import CONFIG_FILE
from engine.model.errors import ConfigError, RefusedError
from engine.store.core.files.durable import write_atomically
from engine.store.core.files.ownership import give_to_owner

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

GROUP = "upkeep"
FOLDER = Path("tls")  # of the site
CERT, KEY, AUTHORITY = "page.pem", "page.key", "authority.pem"
MOST_DAYS = 825  # browsers of Apple take none that is longer
NAME = re.compile(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")
_ADDRESS_OF = 0x8915  # SIOCGIFADDR


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command()
@click.option("--name", "names", metavar="NAME", multiple=True, help="Another name or address of this machine.")
@click.option("--days", type=click.IntRange(1, MOST_DAYS), default=MOST_DAYS, show_default=True, help="How long valid.")
@click.option("--write", is_flag=True, help="Set `web:` in config/labrelay.yaml, too; else its lines are printed.")
@pass_session
def make(session: Session, names: tuple[str, ...], days: int, write: bool) -> ExitCode:
    """Make a key and a certificate for the page, with this machine's names and addresses, in the site's folder tls.

    Overwrites nothing. To renew: move the folder away, and give this again. That a certificate ends is on the page
    30 days before.
    """
    wrong = [one for one in names if not _is_address(one) and not NAME.fullmatch(one)]
    if wrong:
        raise click.UsageError(f"--name {wrong[0]}: expected a name, as labrelay.lab.example, or an address")
    site = session.load(require_secrets=False)
    web, file = site.config.web, session.folder / CONFIG_FILE
    listen = replace(web.listen, host="0.0.0.0") if web.listen.is_loopback else web.listen  # noqa: S104  # once there is a user
    found = [*dict.fromkeys((*names, *names_of_this_machine()))]
    own = next(one for one in found if not one.startswith("*"))  # localhost is one
    tls = f"{{cert: {FOLDER / CERT}, key: {FOLDER / KEY}}}"
    lines = {"listen": f'"{listen}"', "names": f'"{own}"', "tls": tls}
    text = None
    if web.tls is None and write:
        text = with_page(file.read_text(encoding="utf-8"), lines)
    folder = session.folder / FOLDER
    _make(folder, found, days, site.config.site.name, site.config.data)
    say(
        f"made {folder / CERT}, valid until {datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}, for {', '.join(found)}"
    )
    say(f"made {folder / KEY}, which only the service reads")
    say(f"made {folder / AUTHORITY}: install it once on each machine with a browser, as an authority for websites")
    if text is not None:
        _set(session, file, text)
        say(f"wrote web: into {file}")
    elif web.tls is None:
        say(f"write into {file}:")
        show_lines(["web:", *(f"  {key}: {value}" for key, value in lines.items())])
    elif {web.tls.cert.resolve(), web.tls.key.resolve()} != {(folder / CERT).resolve(), (folder / KEY).resolve()}:
        say(f"the page has another certificate, {web.tls.cert}: to change it, set web.tls in {file}")
    place = replace(listen, host=own)
    say(f"Then restart LabRelay. Once there is a user (labrelay user add), https://{place}/ answers")
    return ExitCode.OK


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return False


def names_of_this_machine() -> Iterator[str]:
    """Its name, and that as its network may know it; localhost; the addresses of its interfaces."""
    name = socket.gethostname().lower()
    if NAME.fullmatch(name) and name != "localhost":
        yield name
        if "." not in name:
            yield f"{name}.local"
    yield "localhost"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, interface in socket.if_nameindex():
            with suppress(OSError):  # it has no address of IPv4
                answer = fcntl.ioctl(asked, _ADDRESS_OF, struct.pack("256s", interface.encode()[:15]))
                yield socket.inet_ntoa(answer[20:24])


def _make(folder: Path, names: Sequence[str], days: int, site: str, data: Path) -> None:
    """Make the folder with the three files; it is there with all of them, or not at all.

    Raises:
        RefusedError: it is there already, or cannot be made.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if folder.exists():
        raise RefusedError(f"{folder} is there already and was left as it is; to make a new one, move it away first")
    own, authority, key = signed(names, days, site)
    pem = Encoding.PEM
    files = {
        CERT: (own.public_bytes(pem) + authority.public_bytes(pem), 0o644),
        AUTHORITY: (authority.public_bytes(pem), 0o644),
        KEY: (key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()), 0o600),
    }
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir()
        part.chmod(0o755)  # whatever the umask
        for name, (content, mode) in files.items():
            descriptor = os.open(part / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
        if data.is_dir():
            give_to_owner(part, data)
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RefusedError(f"{folder} cannot be made: {error.strerror}") from error


def signed(
    names: Sequence[str], days: int, site: str
) -> "tuple[x509.Certificate, x509.Certificate, EllipticCurvePrivateKey]":
    """A certificate for these names, the authority that signed it, and the certificate's key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    begins = datetime.now(UTC) - timedelta(hours=1)  # clocks of other machines may be behind
    ends = datetime.now(UTC) + timedelta(days=days)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(name: str, issuer: str, whose: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one[:64])]) for one in (name, issuer))
        made = x509.CertificateBuilder(subject_name=subject, issuer_name=by, public_key=whose)
        return made.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)

    def usage(*, signs: bool) -> x509.KeyUsage:
        never = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        more = {"encipher_only": False, "decipher_only": False, "crl_sign": False}
        return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, **never, **more)

    named = f"LabRelay {begins:%Y-%m-%d %H:%M} {site}"  # two in one browser are set apart
    known = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    authority = (
        builder(named, named, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(known, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    general = [
        x509.IPAddress(ipaddress.ip_address(one)) if _is_address(one) else x509.DNSName(one.lower()) for one in names
    ]
    own = (
        builder(names[0], named, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return own, authority, key


def with_page(text: str, lines: Mapping[str, str]) -> str:
    """The site's file with these keys under ``web:``; all else stays, comments too.

    Args:
        lines: key -> value. ``listen`` takes the place of one that is there; another key that is there stays.

    Raises:
        RefusedError: its ``web:`` is written in brackets.
    """
    from engine.config.reading.yaml_nodes import read

    root = read(text, str(CONFIG_FILE))
    web, key = root.get("web"), root.key("web")
    rows = text.splitlines()
    if web is None or key is None:
        return "\n".join([*rows, "", "web:", *(f"  {key}: {value}" for key, value in lines.items())]) + "\n"
    if web.kind != "map" or not web.pairs or web.line == key.line:
        raise RefusedError(f"{web.place}: web: is written in one line; write it in lines, or without --write")
    indent = " " * (web.pairs[0][0].column - 1)
    old = web.key("listen")
    at = (old or web.pairs[0][0]).line - 1
    new = [f"{indent}{key}: {value}" for key, value in lines.items() if key == "listen" or web.key(key) is None]
    rows[at : at + (old is not None)] = new
    return "\n".join(rows) + "\n"


def _set(session: Session, file: Path, text: str) -> None:
    """Write the site's file. Raises ConfigError, and leaves it as it was, where that is no valid site."""
    before = file.read_text(encoding="utf-8")
    _replace(file, text)
    try:
        session.load(require_secrets=False)
    except ConfigError:
        _replace(file, before)
        raise


def _replace(file: Path, text: str) -> None:
    facts = file.stat()
    with write_atomically(file) as part:
        part.write_text(text, encoding="utf-8")
        part.chmod(stat.S_IMODE(facts.st_mode))
        if os.geteuid() == 0:
            os.chown(part, facts.st_uid, facts.st_gid)
