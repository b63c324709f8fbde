"""kirotunnel as a library: the same flows as the commands, typed, async, without a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kirotunnel.errors import KirotunnelError
from kirotunnel.events import Account, Event
from kirotunnel.flows.attach import AttachOptions, AttachResult
from kirotunnel.flows.attach import attach as _attach
from kirotunnel.flows.environment import Environment, Paste, Silence
from kirotunnel.flows.fleet import MAX_PARALLEL, TABS, Turns, run_each
from kirotunnel.flows.login_plan import Flow, Method
from kirotunnel.flows.native_login import SignInResult, sign_in
from kirotunnel.flows.remote_account import RemoteOptions, remote_logout, remote_whoami
from kirotunnel.flows.remote_login import LoginOptions, LoginResult
from kirotunnel.flows.remote_login import login as _login
from kirotunnel.flows.run import RunOptions, Streams
from kirotunnel.flows.run import run as _run
from kirotunnel.flows.session import Choice, LogoutResult, Sessions
from kirotunnel.flows.sign_in_environment import SignInEnvironment
from kirotunnel.flows.sign_in_route import SignInOptions
from kirotunnel.local.browser import Browser, DefaultBrowser
from kirotunnel.local.callback_ports import CallbackPorts
from kirotunnel.redaction import Secret
from kirotunnel.ssh.company import Company
from kirotunnel.ssh.config import SSHOptions
from kirotunnel.ssh.prompts import Nobody, Prompts
from kirotunnel.wire.containers import Container, Pod, parse_container, parse_pod
from kirotunnel.wire.redirect import TrustedHost

__all__ = [
    "Account",
    "AttachResult",
    "Container",
    "Event",
    "KirotunnelError",
    "LoginResult",
    "LogoutResult",
    "Pod",
    "SignInResult",
    "attach",
    "login",
    "login_all",
    "login_here",
    "logout",
    "parse_container",
    "parse_pod",
    "run",
    "token",
    "whoami",
]


async def login(
    target: str,
    *,
    method: Method | None = None,
    flow: Flow = "auto",
    start_url: str | None = None,
    region: str | None = None,
    expect: str | None = None,
    force: bool = False,
    cli: str = "kiro-cli",
    ssh: SSHOptions | None = None,
    inside: Container | Pod | None = None,
    trust_url_hosts: Sequence[str] = (),
    timeout_s: float = 600.0,
    browser: Browser | None = None,
    prompts: Prompts | None = None,
    paste: Paste | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> LoginResult:
    """Sign the CLI on a remote machine in, with a browser of this machine.

    The arguments are the options of `kirotunnel login`; `timeout_s` is in seconds, for the whole sign-in. `inside` is a
    container on the target, by `parse_container("web")` or `parse_pod("prod/web/app")`; with it the target `localhost`
    needs no SSH. `browser` opens the pages (default: this machine's own), `prompts` answers SSH's questions (default:
    nobody does), `paste` brings the address that the browser ended on, so that nothing is listened on here (default:
    listeners), `on_event` is called in the event loop with each event. Raises KirotunnelError, whose class and `code`
    say what went wrong; cancelling it leaves nothing behind, here or there.
    """
    options = LoginOptions(
        target=target,
        ssh=ssh or SSHOptions(),
        inside=inside,
        cli=cli,
        method=method,
        flow=flow,
        start_url=start_url,
        region=region,
        expect=expect,
        force=force,
        trusted_hosts=tuple(TrustedHost.parse(text) for text in trust_url_hosts),
        timeout_s=timeout_s,
    )
    environment = Environment(
        conversation=Silence(on_event),
        prompts=prompts or Nobody(),
        browser=browser or DefaultBrowser(),
        paste=paste,
    )
    return await _login(options, environment)


async def login_all(
    targets: Sequence[str],
    *,
    max_parallel: int = MAX_PARALLEL,
    tabs: int = TABS,
    method: Method | None = None,
    flow: Flow = "auto",
    start_url: str | None = None,
    region: str | None = None,
    expect: str | None = None,
    force: bool = False,
    cli: str = "kiro-cli",
    ssh: SSHOptions | None = None,
    trust_url_hosts: Sequence[str] = (),
    timeout_s: float = 600.0,
    browser: Browser | None = None,
    prompts: Prompts | None = None,
    on_event: Callable[[str, Event], None] | None = None,
) -> dict[str, LoginResult | KirotunnelError]:
    """Sign the CLI in on each of the targets, with one local port for all: how it ended for each, as result or error.

    At most `max_parallel` are connected at once, and at most `tabs` pages wait for the person; `timeout_s` is for each
    target, without the time that it waits for its turn. `on_event` is called with the target and the event; `prompts`
    may be asked by several at once, and each question says which host asks. The other arguments are those of `login`.
    One failure does not stop the others. Cancelling it leaves nothing behind, here or there.
    """
    trusted = tuple(TrustedHost.parse(text) for text in trust_url_hosts)
    company, ports, turns = Company(), CallbackPorts(), Turns(tabs)

    async def one(target: str) -> LoginResult:
        turn = turns.turn(target)

        def notice(event: Event) -> None:
            turn.notice(event)
            if on_event is not None:
                on_event(target, event)

        options = LoginOptions(
            target=target,
            ssh=ssh or SSHOptions(),
            cli=cli,
            method=method,
            flow=flow,
            start_url=start_url,
            region=region,
            expect=expect,
            force=force,
            trusted_hosts=trusted,
            timeout_s=timeout_s,
        )
        environment = Environment(
            conversation=Silence(notice),
            prompts=prompts or Nobody(),
            browser=browser or DefaultBrowser(),
            company=company,
            ports=ports,
            own_pages=True,
            turn=turn,
        )
        try:
            return await _login(options, environment)
        finally:
            turn.end()

    outcomes = await run_each(list(dict.fromkeys(targets)), one, max_parallel=max_parallel)
    return {outcome.target: ended for outcome in outcomes if (ended := outcome.done or outcome.error) is not None}


async def attach(
    target: str,
    *,
    port: int | None = None,
    cli: str = "kiro-cli",
    ssh: SSHOptions | None = None,
    inside: Container | Pod | None = None,
    trust_url_hosts: Sequence[str] = (),
    timeout_s: float = 600.0,
    prompts: Prompts | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> AttachResult:
    """Deliver the one callback of a login that waits already on a remote machine.

    `port` is the callback port that the login shows; None looks for it. Raises KirotunnelError.
    """
    options = AttachOptions(
        target=target,
        ssh=ssh or SSHOptions(),
        inside=inside,
        cli=cli,
        port=port,
        trusted_hosts=tuple(TrustedHost.parse(text) for text in trust_url_hosts),
        timeout_s=timeout_s,
    )
    return await _attach(options, Environment(conversation=Silence(on_event), prompts=prompts or Nobody()))


async def run(
    target: str,
    command: Sequence[str],
    *,
    inside: Container | Pod | None = None,
    profile: str | None = None,
    ssh: SSHOptions | None = None,
    trust_url_hosts: Sequence[str] = (),
    timeout_s: float | None = None,
    browser: Browser | None = None,
    prompts: Prompts | None = None,
    stdin: int = 0,
    stdout: int = 1,
    stderr: int = 2,
    on_event: Callable[[Event], None] | None = None,
) -> int:
    """Run a command on a remote machine, with its browser and its callbacks brought here; its exit code.

    Several words of `command` are the command to the letter, a single one is a line for the shell there. `profile`
    names what is known of it (default: the profile that recognises it). The descriptors are joined to its streams
    (default: this process's own); it gets no terminal. `timeout_s` is in seconds, for all of it. `inside`,
    `browser`, `prompts` and `on_event` are as for `login`; where nobody answers, an unknown host ends the command.
    Raises KirotunnelError; cancelling it ends the command, and leaves nothing behind, here or there. Signals stay with
    the program that calls it.
    """
    options = RunOptions(
        target=target,
        command=tuple(command),
        ssh=ssh or SSHOptions(),
        inside=inside,
        terminal=False,
        profile=profile,
        trusted_hosts=tuple(TrustedHost.parse(text) for text in trust_url_hosts),
        timeout_s=timeout_s,
    )
    environment = Environment(
        conversation=Silence(on_event),
        prompts=prompts or Nobody(),
        browser=browser or DefaultBrowser(),
    )
    streams = Streams(stdin=stdin, stdout=stdout, stderr=stderr, takes_interrupts=False)
    return await _run(options, environment, streams)


async def login_here(
    *,
    method: Method | None = None,
    flow: Flow = "auto",
    start_url: str | None = None,
    region: str | None = None,
    issuer: str | None = None,
    client_id: str | None = None,
    scopes: Sequence[str] = (),
    expect: str | None = None,
    force: bool = False,
    trust_url_hosts: Sequence[str] = (),
    timeout_s: float = 600.0,
    browser: Browser | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> SignInResult:
    """Sign in on this machine, with no kiro-cli needed; the arguments are the options of `kirotunnel login`.

    Raises KirotunnelError; a sign-in that fails leaves the session that was there before.
    """
    options = SignInOptions(
        method=method,
        flow=flow,
        start_url=start_url,
        region=region,
        issuer=issuer,
        client_id=client_id,
        scopes=tuple(scopes),
        expect=expect,
        force=force,
        timeout_s=timeout_s,
    )
    trusted = tuple(TrustedHost.parse(text) for text in trust_url_hosts)
    return await sign_in(options, _here(on_event, browser or DefaultBrowser(), trusted))


async def whoami(
    target: str | None = None,
    *,
    cli: str = "kiro-cli",
    ssh: SSHOptions | None = None,
    inside: Container | Pod | None = None,
    prompts: Prompts | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Account | None:
    """Who is signed in on this machine, or with the CLI of a target; None for nobody.

    A session that is about to end is renewed first. The other arguments are about the target. Raises KirotunnelError.
    """
    if target is None:
        return await Sessions(_here(on_event)).whoami(Choice())
    return await remote_whoami(*_there(target, cli, ssh, inside, prompts, on_event))


async def token() -> Secret[str]:
    """This machine's access token, renewed if it ends within a minute. Raises KirotunnelError where there is none."""
    session = await Sessions(_here()).fresh(Choice())
    return session.tokens.access_token


async def logout(
    target: str | None = None,
    *,
    cli: str = "kiro-cli",
    ssh: SSHOptions | None = None,
    inside: Container | Pod | None = None,
    prompts: Prompts | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> LogoutResult:
    """Sign out on this machine, or have the CLI of a target sign out.

    Here the session is deleted first, then revoked at the service where it can be; there the CLI's own logout is run,
    and its whoami asked afterwards. Raises NobodySignedInError where there is nothing to end, other KirotunnelErrors.
    """
    if target is None:
        return await Sessions(_here(on_event)).end(Choice())
    return await remote_logout(*_there(target, cli, ssh, inside, prompts, on_event))


def _there(
    target: str,
    cli: str,
    ssh: SSHOptions | None,
    inside: Container | Pod | None,
    prompts: Prompts | None,
    on_event: Callable[[Event], None] | None,
) -> tuple[RemoteOptions, Environment]:
    options = RemoteOptions(target=target, ssh=ssh or SSHOptions(), inside=inside, cli=cli)
    return options, Environment(conversation=Silence(on_event), prompts=prompts or Nobody())


def _here(
    on_event: Callable[[Event], None] | None = None,
    browser: Browser | None = None,
    trusted: tuple[TrustedHost, ...] = (),
) -> SignInEnvironment:
    return SignInEnvironment.real(conversation=Silence(on_event), browser=browser, trusted=trusted)
