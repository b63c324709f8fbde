"""What ssh's questions want, by their words: those of OpenSSH's sources, older and newer."""

from __future__ import annotations

import pytest

from kirotunnel.wire.askpass import Wanted, read_question

UNKNOWN = (
    "The authenticity of host 'hop (192.0.2.7)' can't be established.\n"
    "ED25519 key fingerprint is SHA256:Xo5zyB4Z.\n"
    "This key is not known by any other names.\n"
    "Are you sure you want to continue connecting "
)


@pytest.mark.parametrize(
    ("hint", "words", "wanted"),
    [
        ("", "ada@hop's password: ", Wanted.SECRET),
        ("", "Enter passphrase for key '/home/ada/.ssh/id_ed25519': ", Wanted.SECRET),
        ("", "(ada@hop) Verification code: ", Wanted.SECRET),
        ("", "Enter PIN for ED25519-SK key /home/ada/.ssh/id_ed25519_sk: ", Wanted.SECRET),
        ("", f"{UNKNOWN}(yes/no/[fingerprint])? ", Wanted.LINE),
        ("", f"{UNKNOWN}(yes/no)? ", Wanted.LINE),
        ("", "Please type 'yes', 'no' or the fingerprint: ", Wanted.LINE),
        ("", "Please type 'yes' or 'no': ", Wanted.LINE),
        ("", "Accept updated hostkeys? (yes/no): ", Wanted.LINE),
        ("", "(ada@hop) Your password, not (yes/no)? but all of it: ", Wanted.SECRET),
        ("confirm", "Add key /home/ada/.ssh/id (ada@laptop) to agent?", Wanted.CONSENT),
        ("none", "Confirm user presence for key ED25519-SK SHA256:Xo5zyB4Z", Wanted.NOTHING),
        ("anything", "ada@hop's password: ", Wanted.SECRET),
        ("", "", Wanted.SECRET),
    ],
)
def test_what_is_wanted(hint: str, words: str, wanted: Wanted) -> None:
    assert read_question(hint.encode(), words.encode()).wanted is wanted


def test_it_is_one_line_and_harmless() -> None:
    assert read_question(b"", f"{UNKNOWN}(yes/no)? ".encode()).words == " ".join(f"{UNKNOWN}(yes/no)?".split())
    assert read_question(b"", b"\x1b]0;title\x07Pass\xffword:\x1b[2J ").words == "Pass�word:"
    assert len(read_question(b"", b"x" * 100_000).words) == 1000
