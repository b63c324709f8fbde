"""FIDO keys (`ed25519-sk`, `ecdsa-sk`) as people have them: in an agent, which asks the token for each signature.

The token is in software: an agent of the test's signs as one does, after a touch (OpenSSH's PROTOCOL.u2f). What it
signs is judged by a real sshd.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from integration.ssh.conftest import MakeRoute
from kirotunnel.errors import AuthenticationFailedError
from lab.remote import RemoteMachine

APPLICATION = b"ssh:"
IDENTITIES, IDENTITIES_ANSWER, SIGN, SIGN_ANSWER, FAILURE = 11, 12, 13, 14, 5
TOUCHED = 0x01


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def strings(data: bytes) -> Iterator[bytes]:
    while len(data) >= 4:
        size = struct.unpack(">I", data[:4])[0]
        yield data[4 : 4 + size]
        data = data[4 + size :]


class Token:
    """One key of a token."""

    def __init__(self, kind: str) -> None:
        self.counter = 0
        self.refuses = False
        """Nobody touches it."""
        if kind == "ed25519":
            self.name = b"sk-ssh-ed25519@openssh.com"
            self.key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey = ed25519.Ed25519PrivateKey.generate()
            public = string(self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        else:
            self.name = b"sk-ecdsa-sha2-nistp256@openssh.com"
            self.key = ec.generate_private_key(ec.SECP256R1())
            point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            public = string(b"nistp256") + string(point)
        self.blob = string(self.name) + public + string(APPLICATION)

    @property
    def line(self) -> str:
        return f"{self.name.decode()} {base64.b64encode(self.blob).decode()}"

    def sign(self, data: bytes) -> bytes:
        self.counter += 1
        state = struct.pack(">BI", TOUCHED, self.counter)
        signed = hashlib.sha256(APPLICATION).digest() + state + hashlib.sha256(data).digest()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            signature = self.key.sign(signed)
        else:
            numbers = decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
            signature = b"".join(string(b"\0" + n.to_bytes(32, "big")) for n in numbers)
        return string(self.name) + string(signature) + state


@pytest.fixture(params=["ed25519", "ecdsa"])
def token(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Token]:
    """A token whose agent is that of SSH_AUTH_SOCK."""
    token = Token(request.param)
    path = tmp_path / "token-agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        served = threading.Thread(target=_serve, args=(listener, token))
        served.start()
        yield token
        listener.shutdown(socket.SHUT_RDWR)
        served.join(10)


def _serve(listener: socket.socket, token: Token) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, client.makefile("rb") as stream:
            while head := stream.read(4):
                request = stream.read(struct.unpack(">I", head)[0])
                answer = bytes([FAILURE])
                if request[0] == IDENTITIES:
                    answer = bytes([IDENTITIES_ANSWER]) + struct.pack(">I", 1) + string(token.blob) + string(b"token")
                elif request[0] == SIGN and not token.refuses:
                    blob, data = list(strings(request[1:]))[:2]
                    assert blob == token.blob
                    answer = bytes([SIGN_ANSWER]) + string(token.sign(data))
                client.sendall(string(answer))


async def test_a_key_on_a_token_signs_in(remote: RemoteMachine, route: MakeRoute, token: Token) -> None:
    server = remote.sshd(extra=["AuthorizedKeysFile /run/lab/token_keys"])
    remote.write("/run/lab/token_keys", token.line + "\n")
    entry = server.entry("box", "bash", IdentityFile="none", IdentitiesOnly="no")
    assert await route(entry).user_at("box") == "bash"
    assert token.counter == 1


async def test_a_token_that_nobody_touches_is_a_key_that_was_not_accepted(
    remote: RemoteMachine, route: MakeRoute, token: Token
) -> None:
    server = remote.sshd(extra=["AuthorizedKeysFile /run/lab/token_keys"])
    remote.write("/run/lab/token_keys", token.line + "\n")
    token.refuses = True
    entry = server.entry("box", "bash", IdentityFile="none", IdentitiesOnly="no")
    with pytest.raises(AuthenticationFailedError):
        await route(entry).user_at("box")
