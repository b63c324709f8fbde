"""The records of our scripts on the target, found in whatever a login shell prints around them."""

from __future__ import annotations

from typing import Final

import pytest

from kirotunnel.events import Account
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.records import (
    MAX_RECORD,
    Record,
    RecordReader,
    RemoteFacts,
    parse_version,
    read_account,
    read_facts,
    read_listeners,
)

NONCE: Final = "kt-5f2a9c"


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (f"{NONCE} os Linux\n", [Record("os", "Linux")]),
        (f"{NONCE} os Linux\r\n", [Record("os", "Linux")]),
        (f"{NONCE} done\n", [Record("done", "")]),
        (f"{NONCE} home /home/ada lovelace \n", [Record("home", "/home/ada lovelace ")]),
        (f"Welcome to box!{NONCE} os Linux\n", [Record("os", "Linux")]),
        (f"\x1b]0;ada@box\x07{NONCE} os Linux\n", [Record("os", "Linux")]),
        (f"motd\n\n{NONCE} a 1\nnoise\n{NONCE} b 2\n", [Record("a", "1"), Record("b", "2")]),
        (f"{NONCE}x a 1\n{NONCE}\n kt-000000 a 1\n", []),
        (f"{NONCE} unfinished", []),
        ("", []),
    ],
)
def test_records_are_found_wherever_they_stand(data: str, records: list[Record]) -> None:
    assert RecordReader(NONCE).feed(data.encode()) == records


def test_the_cut_into_pieces_does_not_matter() -> None:
    data = f"noise\n{NONCE} a é\nmore {NONCE} b 2\n".encode()
    reader = RecordReader(NONCE)
    assert [record for byte in data for record in reader.feed(bytes([byte]))] == [Record("a", "é"), Record("b", "2")]


def test_an_endless_line_is_cut_and_the_next_record_is_read() -> None:
    reader = RecordReader(NONCE)
    assert reader.feed(f"{NONCE} big ".encode()) == []
    for _ in range(100):
        assert reader.feed(b"x" * 65536) == []
    big, after = reader.feed(f"\n{NONCE} after 1\n".encode())
    assert (big.key, len(big.value)) == ("big", MAX_RECORD - len(f"{NONCE} big "))
    assert after == Record("after", "1")


def test_what_is_no_text_is_kept_as_such() -> None:
    assert RecordReader(NONCE).feed(NONCE.encode() + b" home /h\xff\n") == [Record("home", "/h\ufffd")]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("kiro-cli 2.10.0", (2, 10, 0)),
        ("kiro-cli 1.24", (1, 24, 0)),
        ("Kiro CLI version: 2.27.1 (abc1234)", (2, 27, 1)),
        ("kiro-cli v2.1.0-beta", (2, 1, 0)),
        ("kiro-cli", None),
        ("", None),
        ("9" * 5000 + ".1", None),
        ("1." + "9" * 5000, None),
        ("٢.١", None),
    ],
)
def test_the_version_is_read(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


def facts(**values: str) -> RemoteFacts:
    return read_facts([Record(key.replace("_", "-"), value) for key, value in values.items()])


def test_the_facts_of_a_usual_target() -> None:
    found = facts(
        os="Linux", kernel="6.1.0-18-amd64", user="ada", home="/home/ada", cli="/home/ada/.local/bin/kiro-cli",
        version="kiro-cli 2.10.0", dir="/tmp/kt.x1", whoami="Not logged in", whoami_exit="1",
    )  # fmt: skip
    assert found == RemoteFacts(
        system="Linux", wsl=False, user="ada", home="/home/ada", cli="/home/ada/.local/bin/kiro-cli",
        version=(2, 10, 0), account=None, directory="/tmp/kt.x1",
    )  # fmt: skip
    assert found.version_text == "2.10.0"


def test_the_facts_of_a_target_that_says_nothing() -> None:
    nothing = RemoteFacts(system="", wsl=False, user="", home="", cli=None, version=None, account=None, directory=None)
    assert read_facts([]) == nothing
    assert facts(cli="", dir="", version="no version") == nothing
    assert nothing.version_text is None


@pytest.mark.parametrize("kernel", ["5.15.90.1-microsoft-standard-WSL2", "4.4.0-19041-Microsoft", "6.6.0-wsl"])
def test_wsl_is_known_by_its_kernel(kernel: str) -> None:
    assert facts(kernel=kernel).wsl is True


def test_the_first_record_of_a_key_counts_and_the_first_version_that_is_one() -> None:
    records = [
        Record("os", "Linux"),
        Record("os", "Darwin"),
        Record("version", "a warning"),
        Record("version", "x 2.1.0"),
    ]
    found = read_facts(records)
    assert (found.system, found.version) == ("Linux", (2, 1, 0))


def test_what_is_shown_of_the_facts_is_harmless() -> None:
    assert facts(os="Li\x1b[2Jnux\x07", user="a\u202eb" * 80).system == "Linux"
    assert len(facts(user="a\u202eb" * 80).user) == 80


@pytest.mark.parametrize(
    ("records", "account"),
    [
        ([("whoami", '{"accountType":"ApiKey"}'), ("whoami-exit", "0")], Account(type="api-key")),
        ([("whoami", "{"), ("whoami", '"accountType":"ApiKey"}'), ("whoami-exit", "0")], Account(type="api-key")),
        ([("whoami", '{"accountType":"ApiKey"}'), ("whoami-exit", "1")], None),
        ([("whoami", '{"accountType":"ApiKey"}')], None),
        ([("whoami-exit", "0")], Account(type=None)),
        ([("whoami", "Logged in with something new"), ("whoami-exit", "0")], Account(type=None)),
        ([], None),
    ],
)
def test_the_exit_code_of_whoami_says_whether_anybody_is_signed_in(
    records: list[tuple[str, str]], account: Account | None
) -> None:
    assert read_account([Record(key, value) for key, value in records]) == account


def test_the_listeners_are_read_by_the_tool_that_was_there() -> None:
    ss = Record("ss", "LISTEN 0 128 127.0.0.1:3128 0.0.0.0:*")
    proc = Record(
        "proc", "   0: 0100007F:1229 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 9 1"
    )
    lsof = [Record("lsof", "p1"), Record("lsof", "n127.0.0.1:6588")]
    rows = [ss, proc, Record("socket", "/proc/7 9 kiro-cli"), *lsof]
    assert read_listeners([Record("listeners-by", "ss"), *rows]) == [ListeningPort("127.0.0.1", 3128)]
    assert read_listeners([Record("listeners-by", "proc"), *rows]) == [ListeningPort("127.0.0.1", 4649, 7, "kiro-cli")]
    assert read_listeners([*rows, Record("listeners-by", "lsof")]) == [ListeningPort("127.0.0.1", 6588, 1)]


@pytest.mark.parametrize("tool", ["", "none", "netstat"])
def test_without_a_tool_nothing_is_claimed_about_listeners(tool: str) -> None:
    assert read_listeners([Record("listeners-by", tool)]) is None
    assert read_listeners([]) is None
