"""The system's keyring: Keychain, Secret Service, Credential Manager. The only user of the `keyring` library."""

from __future__ import annotations

from typing import Final

from kirotunnel.local.session_store import VaultError
from kirotunnel.redaction import Secret

SERVICE: Final = "kirotunnel"
_USABLE: Final = 1
"""Priorities below it are of backends that keep nothing, or keep it in clear (keyring's own scale)."""


class KeyringVault:
    """The keyring that the library recommends on this machine; found by `find_keyring`."""

    def get(self, name: str) -> Secret[str] | None:
        """What is kept under that name."""
        import keyring
        import keyring.errors

        try:
            value = keyring.get_password(SERVICE, name)
        except Exception as exc:  # backends raise what their libraries do
            raise VaultError(type(exc).__name__) from exc
        return None if value is None else Secret(value)

    def put(self, name: str, secret: Secret[str]) -> None:
        """Keep it, and see that it is kept: some keyrings cut off what is too long for them."""
        import keyring

        try:
            keyring.set_password(SERVICE, name, secret.reveal())
            kept = keyring.get_password(SERVICE, name)
        except Exception as exc:  # backends raise what their libraries do
            raise VaultError(type(exc).__name__) from None
        if kept != secret.reveal():
            raise VaultError("it does not keep what it is given")

    def remove(self, name: str) -> None:
        """Forget it."""
        import keyring
        import keyring.errors

        try:
            keyring.delete_password(SERVICE, name)
        except keyring.errors.PasswordDeleteError:
            return
        except Exception as exc:  # backends raise what their libraries do
            raise VaultError(type(exc).__name__) from exc


def find_keyring() -> KeyringVault | None:
    """The keyring, where there is one that can be used."""
    import keyring

    try:
        return KeyringVault() if keyring.get_keyring().priority >= _USABLE else None
    except Exception:  # a backend that fails even to say its priority is none
        return None
