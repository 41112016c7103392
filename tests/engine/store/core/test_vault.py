"""Keys and sealed columns: nothing opens elsewhere, with another key or damaged, and no key is ever made twice."""

import os
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import ConfigError, IntegrityError
from engine.model.process.clock import ManualClock
from engine.store.core import key_encryption_key as kek
from engine.store.core.vault import KEY_NAME, Sealer, Vault, WrappedKey, check_value, make_kek, rewrap
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader, stored_payload
from tests.support.journals import opened, running, store

KEK = bytes(range(32))


def a_vault() -> tuple[Vault, Sealer]:
    vault = Vault(KEK, ())
    vault.add(*vault.make(1, "identity", ""))
    vault.add(*vault.make(2, "token", ""))
    vault.add(*vault.make(7, "message", "2026-03"))
    return vault, vault.sealer("message", "2026-03")


@given(st.binary(max_size=400), st.integers(1, 2**40), st.text(max_size=20))
def test_what_was_sealed_opens_in_its_place(content: bytes, row_id: int, channel: str) -> None:
    vault, sealer = a_vault()
    sealed = sealer.seal(content, "body", row_id, channel)
    assert vault.open(sealed, "body", row_id, channel) == content


@pytest.mark.parametrize("place", [("meta", 5, "chem"), ("body", 6, "chem"), ("body", 5, "blood")])
def test_a_value_moved_to_another_place_does_not_open(place: tuple[str, int, str]) -> None:
    vault, sealer = a_vault()
    sealed = sealer.seal(b"result", "body", 5, "chem")
    with pytest.raises(IntegrityError, match=f"{place[0]} of row {place[1]}"):
        vault.open(sealed, *place)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 3 * 2**20 + 7])
def test_a_large_content_is_sealed_in_the_same_form(size: int, packed: bool) -> None:
    vault, sealer = a_vault()
    content = random.Random(size).randbytes(size)  # does not shrink
    sealed = bytes(sealer.seal(content, "body", 5, "chem", packed=packed))
    assert vault.open_packed(sealed, "body", 5, "chem") == (content, packed)
    for at in (0, 9, 20, size // 2, len(sealed) - 1):
        damaged = bytearray(sealed)
        damaged[at] ^= 1
        with pytest.raises(IntegrityError):
            vault.open_packed(bytes(damaged), "body", 5, "chem")


def test_a_large_content_is_sealed_and_opened_without_a_further_copy() -> None:
    vault, sealer = a_vault()
    content = random.Random(1).randbytes(4 * 2**20)
    tracemalloc.start()
    try:
        sealed = sealer.seal(content, "body", 5, "chem", packed=True)
        _, sealing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        opened, _ = vault.open_packed(sealed, "body", 5, "chem")
        _, opening = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert opened == content
    assert sealing < 1.1 * len(content)
    assert opening - before < 1.1 * len(content)


def test_no_flipped_bit_opens() -> None:
    vault, sealer = a_vault()
    sealed = sealer.seal(b"result", "body", 5, "chem")
    for bit in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            vault.open(bytes(damaged), "body", 5, "chem")
    for length in range(len(sealed)):
        with pytest.raises(IntegrityError):
            vault.open(sealed[:length], "body", 5, "chem")


def test_the_content_stands_nowhere_in_clear_and_sealing_twice_differs() -> None:
    _, sealer = a_vault()
    first, second = (sealer.seal(b"ROSSI^MARIA" * 20, "body", 5, "chem") for _ in range(2))
    assert b"ROSSI" not in first
    assert first != second
    assert len(first) < 200  # compressed before it was sealed


def test_keyed_hashes_tell_apart_what_differs() -> None:
    vault, _ = a_vault()
    token = vault.message_token("chem", "C1", b"h" * 32)
    others = [
        vault.message_token(*of)
        for of in (("chem", "C2", b"h" * 32), ("blood", "C1", b"h" * 32), ("chem", "C1", b"i" * 32))
    ]
    assert len({token, *others}) == 4
    assert token[:12] == vault.control_token("chem", "C1") == others[2][:12]
    keys = {vault.delivery_key(token, 1, n, to) for n in (1, 2) for to in ("a", "b")}
    assert len(keys | {vault.delivery_key(token, 2, 1, "a")}) == 5
    other_site, _ = a_vault()
    assert other_site.message_token("chem", "C1", b"h" * 32) != token


@given(st.text(max_size=100))
def test_a_text_in_an_address_opens_here_alone_and_differs_each_time(text: str) -> None:
    (vault, _), (other_site, _) = a_vault(), a_vault()
    sealed = vault.in_address(text, "x")
    assert sealed.replace("-", "").replace("_", "").isalnum()
    assert (vault.out_of_address(sealed, "x"), vault.in_address(text, "x") == sealed) == (text, False)
    for wrong in ("", "x", sealed[:-1], f"{sealed}A", sealed.swapcase(), "\u00e4"):
        with pytest.raises(IntegrityError):
            vault.out_of_address(wrong, "x")
    with pytest.raises(IntegrityError):
        other_site.out_of_address(sealed, "x")
    with pytest.raises(IntegrityError):
        vault.out_of_address(sealed, "y")


def test_a_rotation_wraps_the_same_keys_again() -> None:
    vault = Vault(KEK, ())
    made = [
        vault.make(n, key_class, month)
        for n, (key_class, month) in enumerate([("identity", ""), ("message", "2026-03")])
    ]
    new_kek = os.urandom(32)
    renewed = rewrap(KEK, new_kek, [wrapped for wrapped, _ in made])
    sealed = Sealer(1, made[1][1]).seal(b"result", "body", 5, "chem")
    assert Vault(new_kek, renewed).open(sealed, "body", 5, "chem") == b"result"
    assert Vault(new_kek, renewed).identity_key == made[0][1]
    with pytest.raises(IntegrityError, match="data_key"):
        Vault(KEK, renewed)
    with pytest.raises(IntegrityError):
        rewrap(new_kek, KEK, [WrappedKey(1, "message", "2026-04", renewed[1].wrapped)])


def test_the_key_is_made_once_for_its_owner_only_and_its_owner_is_told(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert str(tmp_path / KEY_NAME) in first.notes[0]
    identity = first.vault.identity_key
    first.close()
    assert (tmp_path / KEY_NAME).stat().st_mode & 0o777 == 0o600
    again = opened(tmp_path)
    assert again.notes == []
    assert again.vault.identity_key == identity
    again.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    opened(tmp_path).close()
    (tmp_path / KEY_NAME).chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        opened(tmp_path)
    (tmp_path / KEY_NAME).chmod(0o600)
    opened(tmp_path).close()


def test_a_missing_key_is_never_replaced(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / KEY_NAME).unlink()
    with pytest.raises(ConfigError, match="missing"):
        opened(tmp_path)
    assert not (tmp_path / KEY_NAME).exists()


def test_another_key_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "one").close()
    opened(tmp_path / "two").close()
    key = (tmp_path / "two" / KEY_NAME).read_bytes()
    (tmp_path / "one" / KEY_NAME).write_bytes(key)
    with pytest.raises(IntegrityError, match="not the one that this journal was made with"):
        opened(tmp_path / "one")
    with pytest.raises(IntegrityError, match="not the one"):
        Reader.beside(tmp_path / "one")


@pytest.mark.parametrize("content", [b"", b"secret", b"0" * 63, b"z" * 64, b"\xff" * 31])
def test_a_file_that_is_no_key_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / KEY_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as raised:
        opened(tmp_path)
    assert content == b"" or content.decode("latin-1") not in str(raised.value)


async def test_a_credential_of_the_service_manager_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "labrelay-kek").write_bytes(KEK)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    data = tmp_path / "data"
    async with running(data) as journal:
        (note,) = journal.notes  # no key was made
        assert note.startswith("There was no journal in")
        await store(journal, b"result")
    assert not (data / KEY_NAME).exists()
    (found,) = kek.candidates(data)
    assert (found.source, found.kek) == (kek.Source.CREDENTIAL, KEK)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="missing"):
        opened(data)
    # A command that has no access to the credential sees everything but sealed columns.
    reader = Reader.beside(data)
    assert [(one.id, one.control_id) for one in messages_page(reader)] == [(1, "")]
    with pytest.raises(ConfigError, match=r"labrelay.key: .* is not there.*credential, run this as the service's user"):
        stored_payload(reader, 1)
    reader.close()


async def test_each_month_has_its_own_key_and_all_stay_readable(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        await store(journal, b"march")
        clock.advance(31 * 86_400)
        await store(journal, b"april")
        assert [stored_payload(journal, n) for n in (1, 2)] == [b"march", b"april"]
    reader = Reader.beside(tmp_path)
    assert [stored_payload(reader, n) for n in (1, 2)] == [b"march", b"april"]
    with reader.snapshot() as execute:
        months = execute("SELECT month, count(*) FROM data_key WHERE month <> '' GROUP BY month").fetchall()
    assert months == [("2026-03", 3), ("2026-04", 3)]
    reader.close()


def test_the_check_value_tells_keys_apart_and_gives_nothing_away(tmp_path: Path) -> None:
    kek, note = make_kek(tmp_path)
    assert check_value(kek) != check_value(KEK)
    assert kek.hex() not in note
    with pytest.raises(FileExistsError):
        make_kek(tmp_path)
