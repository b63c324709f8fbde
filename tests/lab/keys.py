"""The keys with which the tests log in, made once a session by ssh-keygen."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PASSPHRASE: Final = "open the laboratory"


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """Key files that every user of the remote accepts."""

    plain: Path
    """An ed25519 key without a passphrase."""
    encrypted: Path
    """An ed25519 key with the passphrase PASSPHRASE."""
    stranger: Path
    """An ed25519 key that no user of the remote accepts."""

    @classmethod
    def make(cls, directory: Path) -> ClientKeys:
        """Make the keys in that directory."""
        return cls(
            plain=generate(directory / "id_plain"),
            encrypted=generate(directory / "id_encrypted", passphrase=PASSPHRASE),
            stranger=generate(directory / "id_stranger"),
        )

    def authorized_keys(self) -> str:
        """The text of ~/.ssh/authorized_keys."""
        return public_key(self.plain) + "\n" + public_key(self.encrypted) + "\n"


def generate(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make one key pair at that path."""
    # One bcrypt round: these passphrases protect nothing, and the tests unlock the key often.
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-a", "1", "-C", path.name, "-f", str(path)]
    subprocess.run(argv, check=True, timeout=60, stdin=subprocess.DEVNULL)
    return path


def public_key(path: Path) -> str:
    """The public half of a key, as authorized_keys and known_hosts have it: type and base64."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])
