"""Keys and sealed columns: patient data is never stored in clear.

Key tree: the site's *key-encryption key* (KEK) wraps *data keys*; a data key seals the columns of one class of rows for
one month. Rotation re-wraps the data keys (`rewrap`) and rewrites no row; destroying a month's data key destroys that
month. Two more keys are wrapped alike and never rotate, because their hashes are used elsewhere or must be found again:
``identity`` (FHIR ids) and ``token`` (repeats, delivery keys, exact search).

The layout of a sealed value, and its content::

    1 version 1 | 4 key id | 12 random nonce | AES-256-GCM(1 codec | content) with its 16-byte tag
    codec: 0 as it is, 1 zstd
    additional data: column NUL row id NUL channel NUL key id     so that values cannot be moved between rows

A wrapped key is ``12 nonce | AES-256-GCM(32-byte key)`` with ``class NUL month`` as additional data.
"""

import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from engine.model.errors import ConfigError, IntegrityError
from engine.model.packing import Packer, unpack
from engine.store.core.files.durable import sync_folder
from engine.store.core.files.ownership import read_own

KEY_NAME = "labrelay.key"
CREDENTIAL_NAME = "labrelay-kek"
KEY_BYTES = 32
MESSAGE_KEYS = "message"  # classes of data keys
DOCUMENT_KEYS = "document"
NOTE_KEYS = "note"
IDENTITY = "identity"
TOKEN = "token"  # noqa: S105

_VERSION = 1
_HEAD = struct.Struct(">BI")
_NONCE_BYTES = 12
_TAG_BYTES = 16
_LARGE_BYTES = 1024 * 1024  # sealed and opened without another copy
_BODY_AT = _HEAD.size + _NONCE_BYTES
_TESTS_KEPT, _TEST_LENGTH = 4096, 200
_PLAIN = b"\x00"
_ZSTD = b"\x01"


OpenedKeys = tuple[dict[int, bytes], dict[str, bytes]]
"""Data keys by their numbers; those that never rotate, by their classes."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One row of ``data_key``. ``month`` is ``2026-03``, or empty for the keys that never rotate."""

    id: int
    key_class: str
    month: str
    wrapped: bytes


class Sealer:
    """Seals values with one data key. Not for two threads at once: the compressor is not."""

    __slots__ = ("_aead", "_head", "_key", "_pack", "key_id")

    def __init__(self, key_id: int, key: bytes) -> None:
        self.key_id = key_id
        self._key = key
        self._aead = AESGCM(key)
        self._head = _HEAD.pack(_VERSION, key_id)
        self._pack = Packer().pack

    def seal(self, content: bytes, column: str, row_id: int, channel: str, *, packed: bool = False) -> bytes:
        """Seal ``content`` for exactly this place. ``packed``: it is compressed already."""
        if not packed:
            content, packed = self._pack(content)
        flag, nonce, place = (
            _ZSTD if packed else _PLAIN,
            os.urandom(_NONCE_BYTES),
            _place(column, row_id, channel, self.key_id),
        )
        if len(content) > _LARGE_BYTES:
            return self._sealed_in_place(flag, content, nonce, place)
        return self._head + nonce + self._aead.encrypt(nonce, flag + content, place)

    def _sealed_in_place(self, flag: bytes, content: bytes, nonce: bytes, place: bytes) -> bytes:
        """The same form, for a large content without another copy of it."""
        head = self._head + nonce
        made = bytearray(len(head) + len(flag) + len(content) + _TAG_BYTES)
        made[: len(head)] = head
        encryptor = Cipher(AES(self._key), GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(place)
        with memoryview(made) as whole:
            at = len(head)
            at += encryptor.update_into(flag, whole[at:])
            encryptor.update_into(content, whole[at:])
        encryptor.finalize()
        made[-_TAG_BYTES:] = encryptor.tag
        return cast(bytes, made)  # SQLite and hashes accept it as it is; converting it to bytes would copy it


class Vault:
    """The unlocked keys of one journal.

    Attributes:
        identity_key: 32 bytes; FHIR ids are keyed hashes under it. Never rotates.
    """

    def __init__(self, kek: bytes, keys: Iterable[WrappedKey]) -> None:
        """Unwrap ``keys``.

        Raises:
            IntegrityError: a key does not unwrap: another KEK, or a damaged row.
        """
        self._kek = AESGCM(kek)
        self._keks = {check_value(kek): self._kek}
        self._opening: dict[int, tuple[AESGCM, bytes]] = {}
        self._sealing: dict[tuple[str, str], Sealer] = {}
        self._fixed: dict[str, bytes] = {}
        self._tests: dict[str, bytes] = {}
        for wrapped in keys:
            self.add(wrapped, self._unwrap(wrapped))

    @property
    def identity_key(self) -> bytes:
        return self._fixed[IDENTITY]

    # -- data keys -----------------------------------------------------------------------------------------------

    @property
    def known(self) -> tuple[int, ...]:
        """The numbers of its data keys; of others, there are others."""
        return tuple(self._opening)

    def opened(self) -> "OpenedKeys":
        """All its keys, for another process that reads this journal, and has no key of them."""
        return {number: key for number, (_, key) in self._opening.items()}, dict(self._fixed)

    @classmethod
    def of(cls, opened: "OpenedKeys") -> Self:
        """One that opens values, and makes no keys."""
        made = cls(os.urandom(KEY_BYTES), ())
        made._opening = {number: (AESGCM(key), key) for number, key in opened[0].items()}
        made._fixed = opened[1]
        return made

    def add(self, wrapped: WrappedKey, key: bytes) -> None:
        """Use a key from now on; the caller has committed (or just read) its row."""
        if wrapped.month:
            self._opening[wrapped.id] = AESGCM(key), key
            self._sealing[wrapped.key_class, wrapped.month] = Sealer(wrapped.id, key)
        else:
            self._fixed[wrapped.key_class] = key

    def offer_kek(self, kek: bytes) -> None:
        """Add a KEK that a rotation is about to use; it takes effect once the journal has its check value."""
        self._keks[check_value(kek)] = AESGCM(kek)

    def use_kek(self, check: bytes) -> None:
        """Wrap new data keys by the KEK with this check value, which the journal now has.

        Raises:
            IntegrityError: no offered KEK has it: another process has rotated the key.
        """
        kek = self._keks.get(check)
        if kek is None:
            raise IntegrityError("the journal's key was changed by another process; start LabRelay again")
        self._kek = kek

    def make(self, key_id: int, key_class: str, month: str) -> tuple[WrappedKey, bytes]:
        """A new random key and its row; `add` it once the row is committed."""
        key, nonce = os.urandom(KEY_BYTES), os.urandom(_NONCE_BYTES)
        sealed = nonce + self._kek.encrypt(nonce, key, _key_place(key_class, month))
        return WrappedKey(key_id, key_class, month, sealed), key

    def has(self, key_class: str, month: str) -> bool:
        return (key_class, month) in self._sealing if month else key_class in self._fixed

    def sealer(self, key_class: str, month: str) -> Sealer:
        """The sealer of that class and month; the store makes the keys of a month before its first batch."""
        return self._sealing[key_class, month]

    def _unwrap(self, wrapped: WrappedKey) -> bytes:
        try:
            return self._kek.decrypt(
                wrapped.wrapped[:_NONCE_BYTES],
                wrapped.wrapped[_NONCE_BYTES:],
                _key_place(wrapped.key_class, wrapped.month),
            )
        except InvalidTag as error:
            raise IntegrityError(
                f"data_key {wrapped.id}: cannot be opened: the row is damaged, or wrapped by another key"
            ) from error

    # -- values --------------------------------------------------------------------------------------------------

    def open(self, sealed: bytes, column: str, row_id: int, channel: str) -> bytes:
        """Open a value that was sealed for exactly this place. Any thread may call it.

        Raises:
            IntegrityError: damaged, moved from another place, or sealed by a missing key.
        """
        content, packed = self.open_packed(sealed, column, row_id, channel)
        if not packed:
            return content
        try:
            return unpack(content)
        except ValueError as error:
            raise IntegrityError(f"{column} of row {row_id}: {error}") from error

    def open_packed(self, sealed: bytes, column: str, row_id: int, channel: str) -> tuple[bytes, bool]:
        """As `open`, but a compressed value stays compressed; also returns whether it is."""
        if len(sealed) <= _BODY_AT:
            raise IntegrityError(f"{column} of row {row_id}: cut short")
        version, key_id = _HEAD.unpack_from(sealed)
        known = self._opening.get(key_id)
        if version != _VERSION or known is None:
            raise IntegrityError(
                f"{column} of row {row_id}: sealed by an unknown key ({key_id}) or version ({version})"
            )
        aead, key = known
        place = _place(column, row_id, channel, key_id)
        try:
            if len(sealed) > _LARGE_BYTES:
                return _opened_in_place(key, sealed, place)
            inner = aead.decrypt(sealed[_HEAD.size : _BODY_AT], sealed[_BODY_AT:], place)
        except InvalidTag as error:
            raise IntegrityError(f"{column} of row {row_id}: not the bytes that were stored") from error
        return inner[1:], inner[:1] == _ZSTD

    # -- keyed hashes --------------------------------------------------------------------------------------------

    def message_token(self, channel: str, control_id: str, payload_hash: bytes) -> bytes:
        """24 bytes: 12 of (channel, control id), then 12 of (channel, payload).

        A message with the token of an earlier one that may be another result gets 16 more: `apart`.
        """
        return self.control_token(channel, control_id) + self._hash(b"payload", 12, channel.encode(), payload_hash)

    def control_token(self, channel: str, control_id: str) -> bytes:
        """The first 12 bytes of `message_token`; finds a message by its control id."""
        return self._hash(b"control-id", 12, channel.encode(), control_id.encode())

    def fits(self, token: bytes, channel: str, payload_hash: bytes) -> bool:
        """Whether the payload half of a message token belongs to this payload."""
        return len(token) in (24, 40) and token[12:24] == self._hash(b"payload", 12, channel.encode(), payload_hash)

    @staticmethod
    def apart(token: bytes, received_us: int, seq: int) -> bytes:
        """The token extended by the time of receipt and the number in the channel: another token, so other delivery
        keys.
        """
        return token + received_us.to_bytes(8, "big") + seq.to_bytes(8, "big")

    def delivery_key(self, token: bytes, revision: int, ordinal: int, destination: str) -> bytes:
        """16 bytes, the same whenever the same document of a message goes to the same destination."""
        return self._hash(b"delivery", 16, token, b"%d.%d" % (revision, ordinal), destination.encode())

    def search_token(self, kind: str, number: str) -> bytes:
        """8 bytes: the keyed hash of a number, for `engine.store.operations.search_index`."""
        return self._hash(b"search", 8, kind.encode(), number.encode("utf-8", "surrogatepass"))

    def test_token(self, test: str) -> bytes:
        """As `search_token`, of a test: analyzers send the same few hundred again and again."""
        found = self._tests.get(test)
        if found is None:
            found = self.search_token("test", test)
            if len(self._tests) < _TESTS_KEPT and len(test) <= _TEST_LENGTH:
                self._tests[test] = found
        return found

    def cause_token(self, channel: str, cause: str) -> bytes:
        """16 bytes for the cause of a dead letter: 8 for the cause, then `channel_token`."""
        return self._hash(b"cause", 8, cause.encode("utf-8", "surrogatepass")) + self.channel_token(channel)

    def channel_token(self, channel: str) -> bytes:
        """The last 8 bytes of the channel's cause tokens: they identify the channel of the counted letters."""
        return self._hash(b"cause-channel", 8, channel.encode())

    def log_in_token(self, kind: str, value: str) -> bytes:
        """16 bytes: the keyed hash of what refused log-ins are counted by; a name that was typed may be a password."""
        return self._hash(b"log-in", 16, kind.encode(), value.encode("utf-8", "surrogatepass"))

    def request_token(self, *parts: bytes) -> bytes:
        """16 bytes: the keyed hash of a request, which may have a number that a patient bears."""
        return self._hash(b"request", 16, *parts)

    def in_address(self, text: str, purpose: str) -> str:
        """A text as an address or a cookie may have it, which browsers keep: sealed, in URL-safe base 64. It differs
        each time, so that two addresses do not show that they are about the same.
        """
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._of_addresses().encrypt(nonce, text.encode(), purpose.encode())
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def out_of_address(self, sealed: str, purpose: str) -> str:
        """
        Raises:
            IntegrityError: `in_address` of this journal did not make it for this purpose.
        """
        try:
            given = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._of_addresses().decrypt(given[:_NONCE_BYTES], given[_NONCE_BYTES:], purpose.encode()).decode()
        except (ValueError, InvalidTag):
            raise IntegrityError("an address was cut short, or is of another journal") from None

    def _of_addresses(self) -> AESGCM:
        return AESGCM(self._hash(b"address", KEY_BYTES))

    def anchor_seal(self, said: bytes) -> bytes:
        """16 bytes that only the holder of the key can compute from the content of an anchor
        (`engine.store.core.anchor`).
        """
        return self._hash(b"anchor", 16, said)

    def past_key(self, kind: bytes, *parts: bytes) -> bytes:
        """16 bytes: the key of an entry in the history for hold rules
        (`engine.features.results.rows.delta_history`)."""
        return self._hash(kind, 16, *parts)

    def _hash(self, person: bytes, size: int, *parts: bytes) -> bytes:
        return blake2b(b"\0".join(parts), key=self._fixed[TOKEN], digest_size=size, person=person).digest()


def _opened_in_place(key: bytes, sealed: bytes, place: bytes) -> tuple[bytes, bool]:
    """Open a large content without another copy of it; also returns whether it is compressed.

    Raises:
        InvalidTag: it was changed, or sealed for another place.
    """
    decryptor = Cipher(AES(key), GCM(sealed[_HEAD.size : _BODY_AT])).decryptor()
    decryptor.authenticate_additional_data(place)
    at = _BODY_AT + len(_PLAIN)
    with memoryview(sealed) as whole:
        flag = decryptor.update(whole[_BODY_AT:at])
        content = decryptor.update(whole[at:-_TAG_BYTES])
    decryptor.finalize_with_tag(bytes(sealed[-_TAG_BYTES:]))
    return content, flag == _ZSTD


def rewrap(old_kek: bytes, new_kek: bytes, keys: Iterable[WrappedKey]) -> list[WrappedKey]:
    """The same data keys wrapped by ``new_kek``: all that a rotation has to write, with the new `check_value`."""
    vault, wrapper = Vault(old_kek, ()), AESGCM(new_kek)
    renewed = []
    for wrapped in keys:
        nonce, place = os.urandom(_NONCE_BYTES), _key_place(wrapped.key_class, wrapped.month)
        sealed = nonce + wrapper.encrypt(nonce, vault._unwrap(wrapped), place)
        renewed.append(WrappedKey(wrapped.id, wrapped.key_class, wrapped.month, sealed))
    return renewed


# -- the key-encryption key ----------------------------------------------------------------------------------------


def check_value(kek: bytes) -> bytes:
    """Identifies a KEK without revealing anything about it; stored in the journal."""
    return blake2b(b"labrelay key check", key=kek, digest_size=16).digest()


def make_kek(data: Path) -> tuple[bytes, str]:
    """Create a KEK in the data folder, durable when this returns; with a note to show to its owner."""
    path, kek = data / KEY_NAME, os.urandom(KEY_BYTES)
    write_kek(path, kek)
    return kek, (
        f"A new key was made: {path}. If it is lost, so is all that is stored here: print its recovery sheet now, "
        "labrelay key recovery-sheet"
    )


def write_kek(path: Path, kek: bytes) -> None:
    """Write a new key file, durable and for its owner only.

    Raises:
        FileExistsError: a key is never overwritten.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(kek.hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def read_kek(path: Path, *, own: bool = True) -> bytes:
    """The key in a file.

    Args:
        own: of the service's own, as in a data folder; else a credential, which the system has put there.

    Raises:
        StoreError: it is not the owner's own file.
        ConfigError: it holds no key.
    """
    kek = parse_kek(read_own(path) if own else path.read_bytes())
    if kek is None:
        raise ConfigError(
            f"{path}: not a key: 64 hexadecimal digits (or 32 raw bytes) are expected. Put back your copy "
            "of it, or type it in from its recovery sheet: labrelay key init --from-sheet"
        )
    return kek


def parse_kek(content: bytes) -> bytes | None:
    if len(content) == KEY_BYTES:
        return content
    try:
        kek = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        return None
    return kek if len(kek) == KEY_BYTES else None


def sealed_to(key: bytes) -> int:
    """The row id that a value is sealed to whose row has a key and no number: no such value can be moved to another
    key.
    """
    return int.from_bytes(key[:7])


def _place(column: str, row_id: int, channel: str, key_id: int) -> bytes:
    return f"{column}\0{row_id}\0{channel}\0{key_id}".encode()


def _key_place(key_class: str, month: str) -> bytes:
    return f"{key_class}\0{month}".encode()
