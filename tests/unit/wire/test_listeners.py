"""Who listens on the target: what ss, /proc/net/tcp and lsof really print."""

from __future__ import annotations

from typing import Final

import pytest

from kirotunnel.wire.listeners import ListeningPort, parse_lsof, parse_proc, parse_ss

SS: Final = """\
LISTEN 0      4096     127.0.0.53%lo:53        0.0.0.0:*
LISTEN 0      128            0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=811,fd=3))
LISTEN 0      1024         127.0.0.1:3128      0.0.0.0:*    users:(("kiro-cli",pid=4711,fd=9),("a",pid=4712,fd=9))
LISTEN 0      128               [::]:22           [::]:*    users:(("sshd",pid=811,fd=4))
LISTEN 0      511                  *:8080            *:*    users:(("node",pid=77,fd=18))
LISTEN 0      128              [::1]:631          [::]:*
LISTEN 0      4096   [::ffff:127.0.0.1]:63342        *:*    users:(("java",pid=5,fd=1))
LISTEN 0      128    [fe80::1]%eth0:546           [::]:*"""


def proc_row(local: str, state: str, uid: int, inode: int, peer: str = "00000000:0000") -> str:
    """A row of /proc/net/tcp as the kernel formats it."""
    queues = "00000000:00000000 00:00000000 00000000"
    return f"   0: {local} {peer} {state} {queues} {uid:5d}        0 {inode} 1 ffff9a 100 0 0 10 0"


PROC: Final = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    proc_row("0100007F:0C38", "0A", 1000, 52345),
    proc_row("00000000:0016", "0A", 0, 18000),
    proc_row("0100007F:0C38", "01", 1000, 52399, "0100007F:D5E2"),
    proc_row("3500007F:0035", "0A", 101, 17000).replace("   0:", "  12:"),
]

NOBODY6: Final = "0" * 32 + ":0000"
PROC6: Final = [
    "  sl  local_address                         remote_address                        st tx_queue rx_queue tr",
    proc_row("00000000000000000000000001000000:0277", "0A", 0, 20001, NOBODY6),
    proc_row("00000000000000000000000000000000:1F90", "0A", 1000, 20002, NOBODY6),
    proc_row("0000000000000000FFFF00000100007F:0C38", "0A", 1000, 20003, NOBODY6),
    proc_row("B80D0120000000000000000001000000:01BB", "0A", 0, 20004, NOBODY6),
]

LSOF: Final = """\
p811
csshd
f3
n*:22
f4
n[::]:22
p4711
ckiro-cli
f9
n127.0.0.1:49153
f10
n[::1]:49153
p90
crapportd
n[fe80:1::1]:5000"""


def test_the_rows_of_ss() -> None:
    assert list(parse_ss(SS.splitlines())) == [
        ListeningPort("127.0.0.53", 53),
        ListeningPort("0.0.0.0", 22, 811, "sshd"),
        ListeningPort("127.0.0.1", 3128, 4711, "kiro-cli"),
        ListeningPort("::", 22, 811, "sshd"),
        ListeningPort("::", 8080, 77, "node"),
        ListeningPort("::1", 631),
        ListeningPort("::ffff:127.0.0.1", 63342, 5, "java"),
        ListeningPort("fe80::1", 546),
    ]


def test_the_rows_of_proc_with_the_owners_of_their_sockets() -> None:
    sockets = ["/proc/4711 52345 kiro-cli", "/proc/4711 52399 kiro-cli", "/proc/12 18000", "noise", "/proc/x 1 y"]
    assert list(parse_proc(PROC, sockets)) == [
        ListeningPort("127.0.0.1", 3128, 4711, "kiro-cli"),
        ListeningPort("0.0.0.0", 22, 12),
        ListeningPort("127.0.0.53", 53),
    ]


def test_the_rows_of_proc_for_v6_in_the_kernels_byte_order() -> None:
    assert list(parse_proc(PROC6)) == [
        ListeningPort("::1", 631),
        ListeningPort("::", 8080),
        ListeningPort("::ffff:127.0.0.1", 3128),
        ListeningPort("2001:db8::1", 443),
    ]


def test_the_fields_of_lsof() -> None:
    assert list(parse_lsof(LSOF.splitlines())) == [
        ListeningPort("::", 22, 811, "sshd"),
        ListeningPort("::", 22, 811, "sshd"),
        ListeningPort("127.0.0.1", 49153, 4711, "kiro-cli"),
        ListeningPort("::1", 49153, 4711, "kiro-cli"),
        ListeningPort("fe80:1::1", 5000, 90, "rapportd"),
    ]


@pytest.mark.parametrize(
    "row",
    [
        "",
        "State Recv-Q Send-Q Local",
        "LISTEN 0 128 localhost:3128 0.0.0.0:*",
        "LISTEN 0 128 127.0.0.1:http 0.0.0.0:*",
        "LISTEN 0 128 127.0.0.1:65536 0.0.0.0:*",
        f"LISTEN 0 128 127.0.0.1:{'9' * 5000} 0.0.0.0:*",
        "LISTEN 0 128 127.0.0.1:３１２８ 0.0.0.0:*",
        "ESTAB 0 0 10.0.0.1:22 10.0.0.2:5555",
    ],
)
def test_rows_of_ss_that_are_none(row: str) -> None:
    assert list(parse_ss([row])) == []


@pytest.mark.parametrize("pid", ["9" * 5000, "x", ""])
def test_a_process_that_cannot_be_one_leaves_the_port(pid: str) -> None:
    row = f'LISTEN 0 128 127.0.0.1:3128 0.0.0.0:* users:(("a",pid={pid},fd=1))'
    assert list(parse_ss([row])) == [ListeningPort("127.0.0.1", 3128)]
    assert list(parse_lsof([f"p{pid}", "ca", "n127.0.0.1:3128"])) == [ListeningPort("127.0.0.1", 3128, None, "a")]


@pytest.mark.parametrize(
    "lines", [["n127.0.0.1:²"], ["n127.0.0.1:99999"], ["nlocalhost:22"], ["n"], ["p²"], [""], ["n*:*"], ["nx" * 50]]
)
def test_fields_of_lsof_that_are_none(lines: list[str]) -> None:
    assert list(parse_lsof(lines)) == []


@pytest.mark.parametrize(
    ("address", "reachable"),
    [
        ("127.0.0.1", True), ("0.0.0.0", True), ("::", True), ("::ffff:127.0.0.1", True), ("::1", False),
        ("127.0.0.2", False), ("10.0.0.1", False), ("fe80::1", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_what_a_connection_to_127_0_0_1_reaches(address: str, reachable: bool) -> None:
    assert ListeningPort(address, 3128).reachable_by_loopback is reachable
