"""The opinions of doctor, from facts alone."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from kirotunnel.diagnose.checks import Check, Target, all_findings, check_here, check_there
from kirotunnel.diagnose.doctor import Report, Section
from kirotunnel.diagnose.findings import finding, without_consequences
from kirotunnel.diagnose.ports import PortFacts
from kirotunnel.diagnose.probes import ForwardFacts, HereFacts, ThereFacts
from kirotunnel.local.ports import PortTable
from kirotunnel.local.proxies import ProxyFacts
from kirotunnel.profiles.profile import load_profile
from kirotunnel.wire.examined import Examined
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.records import RemoteFacts

PROFILE = load_profile("kiro-cli")
PROXIES = ProxyFacts(http_proxy=None, caught=(), pac=False, loopback_works=True)
PORTS = PortFacts(refused={}, table=PortTable({}, frozenset(), True), reserved=None, proxies=PROXIES)
HERE = HereFacts(
    versions=("kirotunnel 1",),
    browsers=("xdg-open",),
    localhost=("127.0.0.1", "::1"),
    has_ipv6=True,
    ports=PORTS,
    ssh="OpenSSH_9.2p1",
    ssh_config_error=None,
    agent_keys=2,
    keyring=True,
)
REMOTE = RemoteFacts(
    system="Linux",
    wsl=False,
    user="ada",
    home="/home/ada",
    cli="/usr/bin/kiro-cli",
    version=(2, 10, 0),
    account=None,
    directory=None,
)
EXAMINED = Examined(
    facts=REMOTE,
    seconds=0,
    on_path=True,
    home_writable=True,
    data_writable=True,
    disk_free_kib=10**6,
    places=("/tmp",),
    left=(),
    keychain=None,
    proxy=False,
    listeners=[],
    carrier="python3",
    reached={"https://service": "yes"},
)
THERE = ThereFacts(
    server="OpenSSH", user="ada@box", forwards=ForwardFacts(to_target=True, to_here=True), examined=EXAMINED,
    clock_ahead_s=0.0,
)  # fmt: skip


def severities(checks: list[Check]) -> dict[str, str]:
    return {found.code: found.severity for found in without_consequences(all_findings(checks))}


def target(facts: ThereFacts, busy_here: frozenset[int] = frozenset()) -> Target:
    return Target(name="box", cli="kiro-cli", profile=PROFILE, facts=facts, busy_here=busy_here)


def busy(*ports: int) -> PortFacts:
    return replace(PORTS, refused=dict.fromkeys(ports, errno.EADDRINUSE))


def test_a_healthy_pair_has_no_findings() -> None:
    assert severities(check_here(HERE, PROFILE)) == {}
    assert severities(check_there(target(THERE))) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ssh": None}, {"KT804": "warning"}),
        ({"ssh_config_error": "config line 2: bad"}, {"KT203": "error"}),
        ({"agent_keys": None}, {}),
        ({"agent_keys": 0}, {"KT805": "warning"}),
        ({"agent_keys": -1}, {"KT805": "warning"}),
        ({"browsers": ()}, {"KT801": "warning"}),
        ({"localhost": ()}, {"KT802": "error"}),
        ({"localhost": ("127.0.0.1",)}, {}),
        ({"localhost": ("127.0.0.1", "10.0.0.7")}, {"KT802": "error"}),
        ({"has_ipv6": False}, {"KT820": "info"}),
        ({"keyring": False}, {"KT819": "info"}),
        ({"ports": busy(3128)}, {"KT816": "info"}),
        ({"ports": busy(*PROFILE.ports[1:])}, {"KT816": "warning"}),
        ({"ports": busy(*PROFILE.ports)}, {"KT501": "error"}),
        ({"ports": replace(PORTS, proxies=replace(PROXIES, loopback_works=False))}, {"KT803": "error"}),
        ({"ports": replace(PORTS, proxies=replace(PROXIES, caught=("localhost",)))}, {"KT803": "warning"}),
        ({"ports": replace(PORTS, proxies=replace(PROXIES, pac=True))}, {"KT803": "info"}),
    ],
)
def test_what_is_wrong_here(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert severities(check_here(replace(HERE, **change), PROFILE)) == expected


def held(*ports: int, program: str | None = "node") -> list[ListeningPort]:
    return [ListeningPort("127.0.0.1", port, 7 if program else None, program) for port in ports]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"facts": replace(REMOTE, cli=None), "on_path": False}, {"KT401": "error"}),
        ({"on_path": False}, {"KT810": "info"}),
        ({"on_path": None}, {}),
        ({"facts": replace(REMOTE, wsl=True)}, {"KT817": "info"}),
        ({"facts": replace(REMOTE, system="Darwin"), "keychain": "locked"}, {"KT817": "info", "KT818": "error"}),
        ({"home_writable": False}, {"KT807": "error"}),
        ({"data_writable": False}, {"KT807": "error"}),
        ({"home_writable": False, "disk_free_kib": 0}, {"KT807": "error"}),
        ({"disk_free_kib": 12}, {"KT808": "error"}),
        ({"disk_free_kib": None}, {}),
        ({"places": ()}, {"KT809": "error"}),
        ({"listeners": None}, {"KT812": "warning"}),
        ({"listeners": held(3128)}, {"KT815": "info"}),
        ({"listeners": held(*PROFILE.ports[1:])}, {"KT815": "warning"}),
        ({"listeners": held(*PROFILE.ports)}, {"KT402": "error"}),
        ({"listeners": held(3128, program="kiro-cli")}, {"KT815": "info", "KT814": "info"}),
        ({"reached": {"https://a": "no"}}, {"KT811": "error"}),
        ({"reached": {"https://a": "name"}}, {"KT811": "error"}),
        ({"reached": {"https://a": "tls"}}, {"KT811": "error"}),
        ({"reached": {"https://a": "unknown"}}, {}),
        ({"left": ("/tmp/kirotunnel.x",)}, {"KT813": "warning"}),
    ],
)
def test_what_is_wrong_there(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert severities(check_there(target(replace(THERE, examined=replace(EXAMINED, **change))))) == expected


@pytest.mark.parametrize(
    ("ahead", "wrong"), [(None, False), (299.0, False), (-299.0, False), (7200.0, True), (-301.0, True)]
)
def test_clocks_may_differ_by_five_minutes(ahead: float | None, wrong: bool) -> None:
    found = severities(check_there(target(replace(THERE, clock_ahead_s=ahead))))
    assert found == ({"KT806": "error"} if wrong else {})


def test_a_wrong_clock_silences_the_certificates_that_it_breaks() -> None:
    wrong = replace(THERE, clock_ahead_s=10**8, examined=replace(EXAMINED, reached={"https://a": "tls"}))
    assert severities(check_there(target(wrong))) == {"KT806": "error"}


@pytest.mark.parametrize(
    ("forwards", "carrier", "expected"),
    [
        ((True, True), None, {}),
        ((True, False), None, {}),
        ((False, True), None, {"KT307": "error"}),
        ((False, False), None, {"KT307": "error"}),
        ((False, False), "perl", {}),
    ],
)
def test_only_a_way_to_the_target_is_needed(
    forwards: tuple[bool, bool], carrier: str | None, expected: dict[str, str]
) -> None:
    examined = replace(EXAMINED, carrier=carrier)
    facts = replace(THERE, examined=examined, forwards=ForwardFacts(to_target=forwards[0], to_here=forwards[1]))
    assert severities(check_there(target(facts))) == expected


def test_ports_that_are_busy_at_one_end_each_leave_none() -> None:
    there = replace(THERE, examined=replace(EXAMINED, listeners=held(3128)))
    found = severities(check_there(target(there, frozenset(PROFILE.ports) - {3128})))
    assert found == {"KT815": "warning", "KT501": "error"}


def test_a_cause_silences_its_consequences_and_not_itself() -> None:
    cause, effect = finding("KT401", "error", "x"), finding("KT810", "info", "y", because=["KT401", "KT810"])
    assert without_consequences([effect, cause]) == [cause]
    assert without_consequences([effect]) == [effect]


def test_a_report_is_healthy_without_errors() -> None:
    warned = Section(None, (Check("x", "y", (finding("KT801", "warning", "z"),)),))
    broken = Section("box", (Check("x", "y", (finding("KT401", "error", "z"),)),))
    assert Report((warned,)).healthy
    assert not Report((warned, broken)).healthy
    assert [where for where, _ in Report((warned, broken)).findings] == [None, "box"]
