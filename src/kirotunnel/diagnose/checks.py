"""The opinions: what to make of the facts. Pure, so that each can be tested from facts alone.

A check is a line of the report: its subject, what is so, and the findings, if any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kirotunnel.diagnose.findings import Finding, Severity, finding
from kirotunnel.diagnose.ports import PortReport, judge_ports
from kirotunnel.diagnose.probes import HereFacts, ThereFacts
from kirotunnel.profiles.profile import Profile
from kirotunnel.wire.examined import Reached

CLOCK_TOLERANCE_S: Final = 300
"""Seconds that clocks may differ (RFC 7519 §4.1.4 leaves it open; identity providers take five minutes)."""
DISK_FREE_KIB: Final = 1024
PORTS_NEEDED: Final = 2
"""An organization's identity provider takes two of the listed ports."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    subject: str
    says: str
    findings: tuple[Finding, ...] = ()


# --- this machine ----------------------------------------------------------------------------------------------------


def check_here(facts: HereFacts, profile: Profile) -> list[Check]:
    """This machine, in the order in which a login needs it."""
    report = judge_ports(profile.ports, facts.ports)
    return [
        Check("versions", ", ".join(facts.versions)),
        _ssh(facts),
        _agent(facts),
        _browser(facts),
        _localhost(facts),
        _loopback(facts),
        _ports_here(report),
        _keyring(facts),
    ]


def _ssh(facts: HereFacts) -> Check:
    if facts.ssh_config_error:
        return Check("ssh", "has a config error", (finding("KT203", "error", facts.ssh_config_error),))
    if facts.ssh:
        return Check("ssh", facts.ssh)
    return Check("ssh", "not installed", (finding("KT804", "warning", "there is no `ssh` on PATH"),))


def _agent(facts: HereFacts) -> Check:
    keys = facts.agent_keys
    if keys is None:
        return Check("agent", "none is set; keys come from files")
    if keys > 0:
        return Check("agent", f"{keys} {'key' if keys == 1 else 'keys'}")
    what = "the agent holds no key" if keys == 0 else "the agent of SSH_AUTH_SOCK does not answer"
    return Check("agent", what, (finding("KT805", "warning", what),))


def _browser(facts: HereFacts) -> Check:
    if facts.browsers:
        return Check("browser", f"opened by {facts.browsers[0]}")
    return Check("browser", "none", (finding("KT801", "warning", "nothing here opens pages by itself"),))


def _localhost(facts: HereFacts) -> Check:
    addresses = ", ".join(facts.localhost) or "nothing"
    if facts.localhost and set(facts.localhost) <= {"127.0.0.1", "::1"}:
        return Check("localhost", addresses)
    return Check("localhost", addresses, (finding("KT802", "error", f"localhost resolves to {addresses}"),))


def _loopback(facts: HereFacts) -> Check:
    proxies = facts.ports.proxies
    found: list[Finding] = []
    if not proxies.loopback_works:
        found.append(finding("KT803", "error", "a connection of this machine to itself did not arrive"))
    if proxies.caught:
        detail = f"the proxy {proxies.http_proxy} would be asked for {' and '.join(proxies.caught)}"
        found.append(finding("KT803", "warning", detail))
    if proxies.pac:
        hint = "make sure that it answers DIRECT for localhost and 127.0.0.1"
        found.append(finding("KT803", "info", "a PAC file decides about proxies", hint=hint))
    if not facts.has_ipv6:
        found.append(finding("KT820", "info", "::1 cannot be bound"))
    families = "127.0.0.1 and ::1" if facts.has_ipv6 else "127.0.0.1"
    return Check("loopback", families, tuple(found))


def _ports_here(report: PortReport) -> Check:
    busy = [port for port in report.ports if port.state not in {"free", "shared"}]
    free = len(report.ports) - len(busy)
    says = f"{free} of {len(report.ports)} callback ports are free"
    if not busy:
        return Check("ports", says)
    rows = "; ".join(
        f"{port.port} by {' and '.join(owner.what for owner in port.holders) or 'the system'}" for port in busy
    )
    if free == 0:
        return Check("ports", says, (finding("KT501", "error", f"all callback ports are held here: {rows}"),))
    severity: Severity = "warning" if free < PORTS_NEEDED else "info"
    return Check("ports", says, (finding("KT816", severity, f"held here: {rows}"),))


def _keyring(facts: HereFacts) -> Check:
    if facts.keyring:
        return Check("keyring", "there is one")
    return Check("keyring", "none", (finding("KT819", "info", "own sessions go to a file that only you can read"),))


# --- the target ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target as its checks see it."""

    name: str
    cli: str
    profile: Profile
    facts: ThereFacts
    busy_here: frozenset[int]


def check_there(target: Target) -> list[Check]:
    """The target, in the order in which a login needs it."""
    checks: Sequence[Callable[[Target], Check]] = (
        _connection,
        _forwarding,
        _cli,
        _path,
        _account,
        _flow,
        _home,
        _disk,
        _opener,
        _keychain,
        _ports_there,
        _clock,
        _network,
        _leftovers,
    )
    return [check(target) for check in checks]


def _connection(target: Target) -> Check:
    return Check("connection", f"{target.facts.user}, {target.facts.server}")


def _forwarding(target: Target) -> Check:
    forwards = target.facts.forwards
    if forwards is None:
        return _carrying(target)
    if forwards.to_target and forwards.to_here:
        return Check("forwarding", "allowed, both ways")
    if forwards.to_target:
        return Check("forwarding", "allowed to the target; ports are held there by a program instead")
    if carrier := target.facts.examined.carrier:
        return Check("forwarding", f"refused; the callback travels over a command there instead ({carrier})")
    return Check(
        "forwarding",
        "refused",
        (
            finding(
                "KT307", "error", f"{target.name} does not let us reach its loopback, and has nothing to do it for us"
            ),
        ),
    )


def _carrying(target: Target) -> Check:
    """Into a container only commands go."""
    if carrier := target.facts.examined.carrier:
        return Check("forwarding", f"not needed; the callback travels over a command there ({carrier})")
    detail = f"only commands go into it, and {target.name} has nothing to carry the callback over one"
    return Check("forwarding", "none", (finding("KT307", "error", detail),))


def _cli(target: Target) -> Check:
    facts = target.facts.examined.facts
    if facts.cli is None:
        return Check("cli", "not found", (finding("KT401", "error", f"{target.cli} was not found on {target.name}"),))
    return Check("cli", f"{facts.cli}, {_era(target)}")


def _era(target: Target) -> str:
    facts, profile = target.facts.examined.facts, target.profile
    if facts.version is None:
        return "of an unknown version"
    if facts.version >= profile.device_since:
        what = "one-time codes for all but external-idp"
    elif facts.version >= profile.forward_since:
        what = "one-time codes for AWS, a port for Google and GitHub"
    else:
        what = "one-time codes for AWS alone"
    return f"{facts.version_text} (in its own remote mode: {what})"


def _path(target: Target) -> Check:
    examined = target.facts.examined
    if examined.on_path is None or examined.facts.cli is None:
        return Check("path", "does not matter")
    if examined.on_path:
        return Check("path", f"has {target.cli}")
    detail = f"{target.cli} is at {examined.facts.cli}, which is not on PATH"
    return Check("path", f"lacks {target.cli}", (finding("KT810", "info", detail, because=["KT401"]),))


def _account(target: Target) -> Check:
    account = target.facts.examined.facts.account
    return Check("account", f"signed in as {account.describe()}" if account else "nobody is signed in")


def _flow(target: Target) -> Check:
    facts = target.facts.examined.facts
    if facts.system == "Darwin" or facts.wsl:
        where = "macOS" if facts.system == "Darwin" else "WSL"
        return Check("flow", "by one-time code", (finding("KT817", "info", f"{target.name} runs {where}"),))
    return Check("flow", "by callback, through the tunnel")


def _home(target: Target) -> Check:
    examined = target.facts.examined
    if examined.home_writable and examined.data_writable:
        return Check("home", f"{examined.facts.home} is writable")
    what = (
        examined.facts.home if not examined.home_writable else f"{examined.facts.home}/{target.profile.data_directory}"
    )
    return Check("home", "not writable", (finding("KT807", "error", f"{what} on {target.name} is not writable"),))


def _disk(target: Target) -> Check:
    free = target.facts.examined.disk_free_kib
    if free is None:
        return Check("disk", "unknown")
    shown = f"{free // 1024} MiB free" if free < 1024 * 1024 else f"{free // 1024 // 1024} GiB free"
    if free >= DISK_FREE_KIB:
        return Check("disk", shown)
    return Check(
        "disk", shown, (finding("KT808", "error", f"{free} KiB are left on {target.name}", because=["KT807"]),)
    )


def _opener(target: Target) -> Check:
    places = target.facts.examined.places
    if places:
        return Check("opener", f"has a place in {places[0]}")
    return Check(
        "opener", "has no place", (finding("KT809", "error", f"no directory on {target.name} can be written to"),)
    )


def _keychain(target: Target) -> Check:
    match target.facts.examined.keychain:
        case None:
            return Check("keychain", "none there")
        case "open":
            return Check("keychain", "open")
        case "locked":
            return Check("keychain", "locked", (finding("KT818", "error", f"the keychain on {target.name} is locked"),))


def _ports_there(target: Target) -> Check:
    rows = target.facts.examined.listeners
    if rows is None:
        detail = f"{target.name} has neither ss nor a readable /proc nor lsof"
        return Check("ports", "unknown", (finding("KT812", "warning", detail),))
    listed = target.profile.ports
    busy = {row.port: row for row in rows if row.port in listed and row.reachable_by_loopback}
    waiting = [row for row in busy.values() if (row.program or "").startswith(target.cli.rpartition("/")[2][:15])]
    free = [port for port in listed if port not in busy and port not in target.busy_here]
    says = f"{len(listed) - len(busy)} of {len(listed)} callback ports are free"
    held = "; ".join(f"{port} by {row.describe()}" for port, row in sorted(busy.items()))
    found: list[Finding] = []
    if len(busy) == len(listed):
        found.append(finding("KT402", "error", f"all callback ports are held on {target.name}: {held}"))
    elif busy:
        severity: Severity = "info" if len(free) >= PORTS_NEEDED else "warning"
        found.append(finding("KT815", severity, f"held on {target.name}: {held}"))
    if not free:
        found.append(
            finding(
                "KT501", "error", "no callback port is free at both ends", because=["KT402"], hint="end what holds them"
            )
        )
    if waiting:
        detail = "; ".join(f"{row.describe()} listens on port {row.port}" for row in waiting)
        found.append(finding("KT814", "info", detail))
    return Check("ports", says, tuple(found))


def _clock(target: Target) -> Check:
    ahead = target.facts.clock_ahead_s
    if ahead is None:
        return Check("clock", "unknown")
    if abs(ahead) <= CLOCK_TOLERANCE_S:
        return Check("clock", "agrees with this machine's")
    way = "ahead of" if ahead > 0 else "behind"
    detail = f"the clock of {target.name} is {_duration(abs(ahead))} {way} this machine's; one of them is wrong"
    return Check("clock", f"{_duration(abs(ahead))} {way} this machine's", (finding("KT806", "error", detail),))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{round(minutes / 60)} hours" if minutes < 48 * 60 else f"{round(minutes / 1440)} days"


_UNREACHED: Final[dict[Reached, str]] = {
    "no": "does not answer",
    "name": "has a name that is not resolved there",
    "tls": "answers with a certificate that is not trusted there",
}


def _network(target: Target) -> Check:
    examined = target.facts.examined
    bad = {url: _UNREACHED[how] for url, how in examined.reached.items() if how in _UNREACHED}
    if bad:
        detail = "; ".join(f"{url} {what}" for url, what in bad.items())
        because = ["KT806"] if {examined.reached[url] for url in bad} == {"tls"} else []
        return Check("network", "sign-in services not reached", (finding("KT811", "error", detail, because=because),))
    if not examined.reached or set(examined.reached.values()) == {"unknown"}:
        return Check("network", "unknown: there is neither curl nor bash nor wget")
    return Check("network", "reaches the sign-in services" + (" by a proxy" if examined.proxy else ""))


def _leftovers(target: Target) -> Check:
    left = target.facts.examined.left
    if not left:
        return Check("leftovers", "none")
    hint = f"`rm -r {' '.join(left)}` on {target.name}"
    return Check("leftovers", f"{len(left)}", (finding("KT813", "warning", ", ".join(left), hint=hint),))


def all_findings(checks: Iterable[Check]) -> list[Finding]:
    """The findings of all checks, in their order."""
    return [found for check in checks for found in check.findings]
