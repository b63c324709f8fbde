"""Where sessions are kept on this machine: in the system's keyring where there is one, else in a file for us alone.

One file, `sessions.json` (0600, in a directory 0700), names what there is and has what the keyring has not. It is
replaced as a whole or not at all; changes take turns by a lock file. What is kept is opaque here: a name and a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from kirotunnel.errors import SessionNotSavedError, SessionStoreBusyError, SessionStoreError
from kirotunnel.local.file_lock import file_lock
from kirotunnel.local.whole_file import replace_file
from kirotunnel.redaction import Secret

T = TypeVar("T")

FILE_NAME: Final = "sessions.json"
_VERSION: Final = 1
_MAX_FILE: Final = 4 * 1024 * 1024
CHANGE_PATIENCE_S: Final = 20.0
"""Seconds to wait for others who change the file: each takes milliseconds."""
TURN_PATIENCE_S: Final = 180.0
"""Seconds to wait for another process that renews a session: a service may be slow, and is tried several times."""
KEYRING_PATIENCE_S: Final = 60.0
"""Seconds that a keyring may take: it may be asking somebody to unlock it."""

_log: Final = logging.getLogger(__name__)


class VaultError(Exception):
    """The keyring does not do as asked: locked, gone, or the secret is too long for it."""


class Vault(Protocol):
    """A keyring. Its methods block; they are called in a thread."""

    def get(self, name: str) -> Secret[str] | None:
        """What is kept under that name. Raises VaultError."""

    def put(self, name: str, secret: Secret[str]) -> None:
        """Keep it. Raises VaultError."""

    def remove(self, name: str) -> None:
        """Forget it; no error where there is none. Raises VaultError."""


@dataclass(slots=True)
class _Contents:
    entries: dict[str, str | None] = field(default_factory=dict)
    """The secret by its name; None where the keyring has it."""
    current: str | None = None
    remembered: dict[str, str] = field(default_factory=dict)

    def dump(self) -> str:
        entries = {
            name: {"in": "keyring"} if value is None else {"in": "file", "value": value}
            for name, value in self.entries.items()
        }
        values = {
            "version": _VERSION,
            "current": self.current,
            "entries": entries,
            "remembered": self.remembered,
        }
        return json.dumps(values, indent=1)

    @classmethod
    def load(cls, text: str) -> _Contents:
        """Raises ValueError, whose own text has nothing of it."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("it is no JSON; it may have been cut off") from None
        if not isinstance(values, dict) or not isinstance(values.get("entries"), dict):
            raise ValueError("it is no session store")  # noqa: TRY004 - a bad value, whatever its type
        if values.get("version") != _VERSION:
            raise ValueError("it was written by a later version of kirotunnel")
        entries = {str(name): _entry(entry) for name, entry in values["entries"].items()}
        current = values.get("current")
        return cls(
            entries=entries,
            current=current if isinstance(current, str) and current in entries else None,
            remembered=_texts(values.get("remembered")),
        )


def _entry(entry: Any) -> str | None:
    if isinstance(entry, dict):
        if entry.get("in") == "keyring":
            return None
        value = entry.get("value")
        if entry.get("in") == "file" and isinstance(value, str):
            return value
    raise ValueError("one of its entries is damaged")


def _texts(values: Any) -> dict[str, str]:
    if not isinstance(values, Mapping):
        return {}
    return {str(name): text for name, text in values.items() if isinstance(text, str)}


class SessionStore:
    """The store in a directory."""

    def __init__(self, directory: Path, find_vault: Callable[[], Vault | None] = lambda: None) -> None:
        self.directory = directory
        self.file = directory / FILE_NAME
        self._find_vault = find_vault
        self._vault: Vault | None = None
        self._vault_sought = False

    # --- reading -----------------------------------------------------------------------------------------------------

    async def names(self) -> tuple[str, ...]:
        """The names of all that is kept, in the order in which it came. Raises SessionStoreError."""
        return tuple(self._read().entries)

    async def current(self) -> str | None:
        """The name that was made current last."""
        return self._read().current

    async def remembered(self) -> dict[str, str]:
        """Answers of earlier sign-ins that are no secrets."""
        return dict(self._read().remembered)

    async def get(self, name: str) -> Secret[str] | None:
        """What is kept under that name. Raises SessionStoreError, SessionStoreBusyError."""
        entries = self._read().entries
        if name not in entries:
            return None
        value = entries[name]
        if value is not None:
            return Secret(value)
        vault = await self._keyring()
        if vault is None:
            raise SessionStoreError(
                f"{self.file} says that the keyring has the session, and there is no keyring here",
                "run it in the session in which you signed in, or sign in again with `kirotunnel login`",
            )
        try:
            return await _in_thread(lambda: vault.get(name))
        except VaultError as exc:
            raise SessionStoreError(
                f"the system's keyring does not give the session: {exc}", "unlock the keyring, or sign in again"
            ) from exc

    # --- changing ----------------------------------------------------------------------------------------------------

    async def ensure_writable(self) -> None:
        """Find out before it matters. Raises SessionNotSavedError; SessionStoreError for a store that is damaged."""
        self._prepare()
        self._read()
        async with self._changing():
            self._probe()

    async def put(self, name: str, secret: Secret[str], *, make_current: bool = False) -> None:
        """Keep it. Raises SessionNotSavedError; then everything is as before."""
        self._prepare()
        await self._keep(name, secret, anew=True, make_current=make_current)

    async def replace(self, name: str, secret: Secret[str]) -> bool:
        """Keep a new value under a name that is there still; whether it was. For what is renewed, not begun."""
        if name not in self._read().entries:
            return False
        return await self._keep(name, secret, anew=False, make_current=False)

    async def _keep(self, name: str, secret: Secret[str], *, anew: bool, make_current: bool) -> bool:
        in_keyring = await self._put_in_keyring(name, secret)
        async with self._changing():
            contents = self._read()
            was_in_keyring = contents.entries.get(name, "") is None
            wanted = anew or name in contents.entries  # what was signed out meanwhile stays so
            if wanted:
                if anew:
                    contents.entries.pop(name, None)  # the newest is the last
                contents.entries[name] = None if in_keyring else secret.reveal()
                contents.current = name if make_current else contents.current
                self._write(contents)
        if (in_keyring and not wanted) or (was_in_keyring and not in_keyring):
            await self._take_out_of_keyring(name)
        return wanted

    async def make_current(self, name: str) -> None:
        """The account that is meant when none is named."""
        async with self._changing():
            contents = self._read()
            contents.current = name if name in contents.entries else contents.current
            self._write(contents)

    async def remove(self, name: str) -> bool:
        """Forget it; whether there was something. Raises SessionNotSavedError."""
        if name not in self._read().entries:
            return False
        async with self._changing():
            contents = self._read()
            if name not in contents.entries:
                return False
            was_in_keyring = contents.entries.pop(name) is None
            contents.current = None if contents.current == name else contents.current
            self._write(contents)
        if was_in_keyring:
            await self._take_out_of_keyring(name)
        return True

    async def remember(self, **answers: str) -> None:
        """Keep answers that are no secrets for the next time."""
        self._prepare()
        async with self._changing():
            contents = self._read()
            contents.remembered |= answers
            self._write(contents)

    def turn(self, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Be the only process that begins, renews or ends this session. Raises SessionStoreBusyError."""
        self._prepare()
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return file_lock(self.directory / f".turn-{digest}.lock", TURN_PATIENCE_S)

    # --- the file ----------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.name != "nt" and stat.S_IMODE(self.directory.stat().st_mode) & 0o077:
                self.directory.chmod(0o700)
        except OSError as exc:
            raise self._not_saved(exc) from exc

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        async with file_lock(self.directory / ".sessions.lock", CHANGE_PATIENCE_S):
            yield

    def _read(self) -> _Contents:
        try:
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return _Contents()
        except OSError as exc:
            raise SessionStoreError(f"{self.file} cannot be opened: {(exc.strerror or 'error').lower()}") from exc
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE:
            os.close(descriptor)
            raise SessionStoreError(f"{self.file} is no session store: it is no file, or far too large")
        with os.fdopen(descriptor, encoding="utf-8") as file:
            # With another user's HOME (sudo -E), root would leave a file behind that its owner cannot change.
            if os.name != "nt" and status.st_uid != os.geteuid():
                raise SessionStoreError(
                    f"{self.file} belongs to another user", "run it as that user, or set HOME to your own"
                )
            try:
                return _Contents.load(file.read())
            except (ValueError, OSError) as exc:
                why = "it is no text" if isinstance(exc, UnicodeDecodeError) else str(exc)
                raise SessionStoreError(f"{self.file} cannot be read: {why}") from None

    def _probe(self) -> None:
        try:
            descriptor, path = tempfile.mkstemp(dir=self.directory, prefix=".probe-")
            os.close(descriptor)
            Path(path).unlink()
        except OSError as exc:
            raise self._not_saved(exc) from exc

    def _write(self, contents: _Contents) -> None:
        try:
            replace_file(self.file, contents.dump(), durable=True)
        except OSError as exc:
            raise self._not_saved(exc) from exc

    def _not_saved(self, exc: OSError) -> SessionNotSavedError:
        return SessionNotSavedError(f"{self.directory} cannot be written: {(exc.strerror or 'error').lower()}")

    # --- the keyring -------------------------------------------------------------------------------------------------

    async def _keyring(self) -> Vault | None:
        if not self._vault_sought:
            self._vault = await _in_thread(self._find_vault)
            self._vault_sought = True
        return self._vault

    async def _put_in_keyring(self, name: str, secret: Secret[str]) -> bool:
        try:
            vault = await self._keyring()
            if vault is None:
                return False
            await _in_thread(lambda: vault.put(name, secret))
        except (VaultError, SessionStoreBusyError) as exc:
            _log.debug("the keyring is not used: %s", exc)
            return False
        return True

    async def _take_out_of_keyring(self, name: str) -> None:
        vault = await self._keyring()
        if vault is None:
            return
        try:
            await _in_thread(lambda: vault.remove(name))
        except (VaultError, SessionStoreBusyError) as exc:
            _log.debug("the keyring did not forget an entry: %s", exc)


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a thread that nobody waits for at the end: a keyring may wait for a person for ever."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as exc:  # handed over, whatever it is
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, daemon=True).start()
    try:
        # By `wait_for` of Python 3.11, a Ctrl-C in the moment of the answer would be lost, and later ones passed over.
        async with asyncio.timeout(KEYRING_PATIENCE_S):
            return await done
    except TimeoutError as exc:
        raise SessionStoreBusyError(
            f"the system's keyring did not answer within {KEYRING_PATIENCE_S:.0f} s",
            "unlock it, and run the command again",
        ) from exc
