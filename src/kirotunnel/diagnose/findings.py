"""A finding: something that can break a login, as a value. And the codes that only findings have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from kirotunnel.errors import KirotunnelError, all_errors

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, how badly, and what to do."""

    code: str
    severity: Severity
    title: str
    detail: str
    hint: str
    depends_on: frozenset[str] = frozenset()
    """Codes that would explain this one: where one of them was found, this is its consequence, and not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What stands behind a code that is no error of a command."""

    code: str
    title: str
    explanation: str
    hint: str


KINDS: Final = {
    kind.code: kind
    for kind in (
        Kind(
            code="KT801",
            title="No browser here",
            explanation=(
                "Nothing on this machine opens web pages here: there is no display, no opener, and $BROWSER is not set."
                " The address to open is always printed, so a login works with any browser that can reach "
                "this machine's localhost, or with --paste."
            ),
            hint="open the printed address yourself, or name a browser with --browser or $BROWSER",
        ),
        Kind(
            code="KT802",
            title="localhost is not this machine's loopback",
            explanation=(
                "The sign-in page sends the browser to http://localhost:PORT. On this machine that name resolves to "
                "nothing, or to an address other than 127.0.0.1 and ::1, so that the browser may end elsewhere."
            ),
            hint="put `127.0.0.1 localhost` and `::1 localhost` into the hosts file",
        ),
        Kind(
            code="KT803",
            title="Loopback is intercepted",
            explanation=(
                "A proxy would be asked for localhost, or a connection of this machine to itself does not arrive: a "
                "firewall, a transparent proxy or a VPN client takes it. Then the callback never comes."
            ),
            hint="add localhost,127.0.0.1,::1 to NO_PROXY, and exclude loopback from the proxy or firewall",
        ),
        Kind(
            code="KT804",
            title="No ssh here",
            explanation=(
                "OpenSSH's client is not installed. kirotunnel connects without it, but only `ssh -G` reads the "
                "SSH config exactly; another reader takes its place, which knows fewer options."
            ),
            hint="install OpenSSH's client",
        ),
        Kind(
            code="KT805",
            title="SSH agent without keys",
            explanation=(
                "SSH_AUTH_SOCK names an agent that does not answer, or that holds no key. Keys with a passphrase can "
                "then be used on a terminal only."
            ),
            hint="start the agent, and add your key with ssh-add",
        ),
        Kind(
            code="KT806",
            title="Clocks differ",
            explanation=(
                "The clocks of this machine and of the target are more than five minutes apart. Sign-in services "
                "refuse signatures and tokens whose time is wrong, with messages that do not say so."
            ),
            hint="set the wrong clock: `timedatectl set-ntp true` on most Linux systems",
        ),
        Kind(
            code="KT807",
            title="Home directory not writable on the target",
            explanation=(
                "The CLI keeps its session below the home directory, which is read-only, belongs to somebody else, or "
                "lies on a file system that is. A sign-in would be made in vain."
            ),
            hint="make the home directory on the target writable, or remount it",
        ),
        Kind(
            code="KT808",
            title="Disk full on the target",
            explanation="The file system of the home directory has less than a megabyte left.",
            hint="remove what is not needed from the target's home directory",
        ),
        Kind(
            code="KT809",
            title="No place for the opener on the target",
            explanation=(
                "A login needs a private directory there for a moment, and none of TMPDIR (or /tmp), XDG_RUNTIME_DIR, "
                "~/.cache, ~ and /var/tmp can be written to. The one-time code flow needs none."
            ),
            hint="make one of these directories writable for that account, or use --flow device",
        ),
        Kind(
            code="KT810",
            title="CLI not on PATH",
            explanation=(
                "The CLI is installed on the target, but a plain command over SSH does not find it. kirotunnel looks "
                "in the usual places as well and uses its full path, so this concerns only what you run by hand."
            ),
            hint="add its directory to PATH in the target's ~/.profile or ~/.bashrc",
        ),
        Kind(
            code="KT811",
            title="Sign-in service not reachable from the target",
            explanation=(
                "The browser part happens here, but the CLI on the target exchanges the code for a token itself. Name "
                "service, proxy, firewall or certificates there keep it from the service."
            ),
            hint="check DNS, HTTPS_PROXY, firewall and certificate authorities on the target",
        ),
        Kind(
            code="KT812",
            title="Listeners cannot be seen on the target",
            explanation=(
                "Neither ss nor /proc nor lsof shows who listens there. A login works all the same, but it cannot tell "
                "which ports are taken, and attach needs --port."
            ),
            hint="install ss (iproute2) or lsof on the target",
        ),
        Kind(
            code="KT813",
            title="Leftovers on the target",
            explanation="A login that was ended in the middle left its private directory behind.",
            hint="remove the directories that the finding names",
        ),
        Kind(
            code="KT814",
            title="A login is waiting on the target",
            explanation="A CLI of this user listens on a callback port there: a login in another terminal waits.",
            hint="finish it there, with `kirotunnel attach` if it needs the browser of this machine",
        ),
        Kind(
            code="KT815",
            title="Callback port held on the target",
            explanation=(
                "Some of the fixed callback ports are taken there. The CLI passes over them; only when none is left "
                "(KT402), or one for an organization's identity provider, which takes two, does a login fail."
            ),
            hint="nothing, as long as enough of them are free at both ends",
        ),
        Kind(
            code="KT816",
            title="Callback port held here",
            explanation=(
                "Some of the fixed callback ports are taken on this machine. A login holds them on the target, so that "
                "the CLI takes another; only when none is free at both ends (KT501) does it fail."
            ),
            hint="`kirotunnel ports` says who holds them, and what to do about each",
        ),
        Kind(
            code="KT817",
            title="The CLI cannot be given a browser there",
            explanation=(
                "Under WSL and on macOS the CLI does not ask for a browser in a way that can be led here, so a sign-in "
                "goes by one-time code. An organization's identity provider cannot be used that way."
            ),
            hint="nothing for most methods; for an organization's identity provider sign in on that machine itself",
        ),
        Kind(
            code="KT818",
            title="Keychain locked on the target",
            explanation="On macOS the CLI keeps its session in the login keychain, which is locked in SSH sessions.",
            hint="run `security unlock-keychain` on the target, in the same session or before",
        ),
        Kind(
            code="KT819",
            title="No keyring here",
            explanation=(
                "This machine has no keyring that can be used. Sessions of this machine's own sign-in are then kept in "
                "a file that only you can read; logins on targets do not need it."
            ),
            hint="nothing, or install and unlock a keyring",
        ),
        Kind(
            code="KT820",
            title="One loopback address only",
            explanation=(
                "This machine has no IPv6 loopback (::1). Logins listen on 127.0.0.1 alone, which is all that a "
                "browser can reach here."
            ),
            hint="nothing",
        ),
    )
}
"""By code."""


def finding(
    code: str, severity: Severity, detail: str, *, hint: str | None = None, because: Iterable[str] = ()
) -> Finding:
    """A finding of a known code."""
    if (kind := KINDS.get(code)) is not None:
        title, usual = kind.title, kind.hint
    else:
        error = all_errors()[code]
        title, usual = error.title, error.default_hint
    return Finding(
        code=code,
        severity=severity,
        title=title,
        detail=detail,
        hint=usual if hint is None else hint,
        depends_on=frozenset(because),
    )


def finding_of(error: KirotunnelError) -> Finding:
    """An error that a probe met, as a finding."""
    return Finding(code=error.code, severity="error", title=error.title, detail=error.message, hint=error.hint)


def without_consequences(findings: Iterable[Finding]) -> list[Finding]:
    """The findings whose cause is not among them."""
    found = list(findings)
    codes = {finding.code for finding in found}
    return [finding for finding in found if finding.depends_on.isdisjoint(codes - {finding.code})]
