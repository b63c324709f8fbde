"""What is kept of sessions on this machine: whole or not at all, for its owner alone."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import keyring
import keyring.backend
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import KirotunnelError, SessionNotSavedError, SessionStoreBusyError, SessionStoreError
from kirotunnel.local import session_store
from kirotunnel.local.file_lock import file_lock
from kirotunnel.local.keyring_vault import KeyringVault, find_keyring
from kirotunnel.local.session_store import SessionStore, Vault, VaultError, _Contents
from kirotunnel.redaction import Secret

SECRET = Secret("s3cr3t")


@pytest.fixture
def store(tmp_path: Path) -> SessionStore:
    return SessionStore(tmp_path / "a" / "kirotunnel")


async def test_what_is_kept_is_there_and_only_for_us(store: SessionStore) -> None:
    assert await store.names() == ()
    assert await store.get("x") is None
    await store.put("x", SECRET, make_current=True)
    assert await store.get("x") == SECRET
    assert (await store.names(), await store.current()) == (("x",), "x")
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


async def test_a_directory_that_others_can_read_is_closed_to_them(store: SessionStore) -> None:
    store.directory.mkdir(mode=0o755, parents=True)
    await store.put("x", SECRET)
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


async def test_the_newest_is_the_last_and_what_is_forgotten_is_not_current(store: SessionStore) -> None:
    await store.put("x", SECRET, make_current=True)
    await store.put("y", SECRET, make_current=True)
    await store.put("x", Secret("other"))
    assert (await store.names(), await store.current()) == (("y", "x"), "y")
    assert await store.remove("y")
    assert not await store.remove("y")
    assert (await store.names(), await store.current()) == (("x",), None)
    await store.make_current("nobody")
    assert await store.current() is None


async def test_what_was_removed_meanwhile_is_not_brought_back_by_a_renewal(store: SessionStore) -> None:
    assert not await store.replace("x", SECRET)
    assert await store.names() == ()
    await store.put("x", SECRET)
    assert await store.replace("x", Secret("new"))
    assert await store.get("x") == Secret("new")


async def test_answers_are_remembered(store: SessionStore) -> None:
    await store.remember(start_url="https://x", region="r")
    await store.remember(region="s")
    assert await store.remembered() == {"start_url": "https://x", "region": "s"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "cut off"),
        (lambda text: "", "cut off"),
        (lambda text: "[]", "no session store"),
        (lambda text: '{"entries": []}', "no session store"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "later version"),
        (lambda text: text.replace('"value"', '"valve"'), "damaged"),
        (lambda text: "[" * 100_000, "cut off"),
    ],
)
async def test_a_damaged_store_is_an_error_and_left_as_it_is(
    store: SessionStore, damage: Callable[[str], str], words: str
) -> None:
    await store.put("x", SECRET)
    store.file.write_text(damage(store.file.read_text()))
    before = store.file.read_bytes()
    for work in (store.names(), store.get("x"), store.put("y", SECRET), store.remove("x"), store.ensure_writable()):
        with pytest.raises(SessionStoreError, match=words) as caught:
            await work
        assert caught.value.code == "KT103"
        assert "s3cr3t" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert store.file.read_bytes() == before


async def test_no_text_at_all(store: SessionStore) -> None:
    await store.put("x", SECRET)
    store.file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SessionStoreError, match="no text"):
        await store.names()


async def test_a_store_that_is_a_link_or_a_directory(store: SessionStore, tmp_path: Path) -> None:
    store.directory.mkdir(parents=True)
    store.file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SessionStoreError):
        await store.names()
    store.file.unlink()
    store.file.mkdir()
    with pytest.raises(SessionStoreError):
        await store.names()


_NAMES = st.sampled_from(["version", "entries", "in", "value", "current", "remembered", "x"])
_VALUES = st.recursive(st.none() | st.text() | st.integers(), lambda value: st.dictionaries(_NAMES, value))


@given(st.text() | _VALUES.map(json.dumps))
def test_any_text_is_a_store_or_our_value_error(text: str) -> None:
    try:
        _Contents.load(text)
    except ValueError as exc:
        assert str(exc).startswith(("it ", "one of its"))  # noqa: PT017 - both ends are right


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "kirotunnel", Path("/proc/nowhere")):
        for work in (SessionStore(place).ensure_writable(), SessionStore(place).put("x", SECRET)):
            with pytest.raises(SessionNotSavedError) as caught:
                await work
            assert caught.value.code == "KT104"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file somebody else's")
async def test_a_store_of_another_user(store: SessionStore) -> None:
    await store.put("x", SECRET)
    os.chown(store.file, 12345, 12345)
    with pytest.raises(SessionStoreError, match="another user"):
        await store.get("x")


async def test_a_write_that_fails_half_way_changes_nothing(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put("x", SECRET)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SessionNotSavedError, match="no space"):
        await store.put("x", Secret("new"))
    assert await store.get("x") == SECRET
    assert sorted(path.name for path in store.directory.iterdir()) == [".sessions.lock", "sessions.json"]


async def test_many_at_once_lose_nothing(store: SessionStore) -> None:
    await asyncio.gather(*(store.put(f"x{number}", Secret(str(number))) for number in range(40)))
    assert len(await store.names()) == 40


async def test_a_turn_is_one_processs_at_a_time_and_ends_with_it(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "TURN_PATIENCE_S", 0.2)
    await store.put("x", SECRET)
    async with store.turn("x"):
        async with store.turn("y"):
            pass
        with pytest.raises(SessionStoreBusyError) as caught:
            async with store.turn("x"):
                pass
        assert caught.value.code == "KT105"
    async with store.turn("x"):
        pass


async def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = (
        "import fcntl, os, sys, time; descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
        "fcntl.flock(descriptor, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(SessionStoreBusyError):
        async with file_lock(lock, 0.1):
            pass
    process.kill()
    process.communicate()
    async with file_lock(lock, 5):
        pass


# --- a keyring -------------------------------------------------------------------------------------------------------


class Drawer:
    """A keyring in memory, which can be locked, lost or slow."""

    def __init__(self) -> None:
        self.things: dict[str, Secret[str]] = {}
        self.locked = False

    def _check(self) -> None:
        if self.locked:
            raise VaultError("KeyringLocked")

    def get(self, name: str) -> Secret[str] | None:
        self._check()
        return self.things.get(name)

    def put(self, name: str, secret: Secret[str]) -> None:
        self._check()
        self.things[name] = secret

    def remove(self, name: str) -> None:
        self._check()
        self.things.pop(name, None)


async def test_with_a_keyring_the_file_has_no_secret(tmp_path: Path) -> None:
    drawer = Drawer()
    store = SessionStore(tmp_path, lambda: drawer)
    await store.put("x", SECRET, make_current=True)
    assert await store.get("x") == SECRET
    assert "s3cr3t" not in store.file.read_text()
    await store.replace("x", Secret("new"))
    assert drawer.things == {"x": Secret("new")}
    await store.remove("x")
    assert drawer.things == {}


async def test_a_keyring_that_does_not_take_it_leaves_it_to_the_file(tmp_path: Path) -> None:
    drawer = Drawer()
    drawer.locked = True
    store = SessionStore(tmp_path, lambda: drawer)
    await store.put("x", SECRET)
    assert json.loads(store.file.read_text())["entries"]["x"]["in"] == "file"
    assert await store.get("x") == SECRET


async def test_a_keyring_keeps_nothing_that_the_store_does_not_name(tmp_path: Path) -> None:
    drawer = Drawer()
    store = SessionStore(tmp_path, lambda: drawer)
    await store.put("x", SECRET)

    def too_long(name: str, secret: Secret[str]) -> None:
        raise VaultError("TooLong")

    drawer.put = too_long
    await store.replace("x", Secret("new and longer"))
    assert drawer.things == {}
    assert await store.get("x") == Secret("new and longer")


async def test_a_keyring_that_is_locked_or_gone_is_said(tmp_path: Path) -> None:
    drawer = Drawer()
    await SessionStore(tmp_path, lambda: drawer).put("x", SECRET)
    drawer.locked = True
    with pytest.raises(SessionStoreError, match="does not give"):
        await SessionStore(tmp_path, lambda: drawer).get("x")
    with pytest.raises(SessionStoreError, match="there is no keyring here"):
        await SessionStore(tmp_path).get("x")
    assert await SessionStore(tmp_path).remove("x")  # signing out works all the same


async def test_a_keyring_that_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_store, "KEYRING_PATIENCE_S", 0.05)
    waiting = threading.Event()

    def find() -> Vault | None:
        waiting.wait(5)
        return None

    store = SessionStore(tmp_path, find)
    await store.put("x", SECRET)
    assert await store.get("x") == SECRET
    waiting.set()


async def test_a_keyring_that_answers_in_the_moment_of_ctrl_c(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []
    go = threading.Event()

    def find() -> Vault | None:
        threads.append(threading.current_thread())
        go.wait()
        return None

    putting = asyncio.ensure_future(SessionStore(tmp_path, find).put("x", SECRET))
    while not threads:
        await asyncio.sleep(0)
    go.set()
    threads[0].join()  # its answer is the next that the loop does, and Ctrl-C comes right behind
    asyncio.get_running_loop().call_soon(putting.cancel)
    with pytest.raises(asyncio.CancelledError):
        await putting


class Memory(keyring.backend.KeyringBackend):
    priority = 5

    def __init__(self) -> None:
        super().__init__()
        self.things: dict[tuple[str, str], str] = {}
        self.longest = 10_000

    def get_password(self, service: str, username: str) -> str | None:
        return self.things.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.things[(service, username)] = password[: self.longest]

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.things:
            raise keyring.errors.PasswordDeleteError
        del self.things[(service, username)]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    backend = Memory()
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    monkeypatch.setattr("keyring.core.get_keyring", lambda: backend)
    return backend


def test_the_systems_keyring(memory: Memory) -> None:
    vault = find_keyring()
    assert isinstance(vault, KeyringVault)
    vault.put("x", SECRET)
    assert memory.things == {("kirotunnel", "x"): "s3cr3t"}
    assert vault.get("x") == SECRET
    vault.remove("x")
    vault.remove("x")
    assert vault.get("x") is None


def test_a_keyring_that_cuts_off_what_is_long_is_not_used(memory: Memory) -> None:
    memory.longest = 3
    with pytest.raises(VaultError):
        KeyringVault().put("x", SECRET)


def test_a_keyring_of_no_use_is_none(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "priority", 0.5)
    assert find_keyring() is None


def test_errors_of_the_store_have_codes_and_hints() -> None:
    for error in (SessionStoreError, SessionNotSavedError, SessionStoreBusyError):
        assert issubclass(error, KirotunnelError)
        assert error.exit_code == 3
        assert error.default_hint
