"""The usual suspects: programs that are met on callback ports, as data, each with what to do about it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from kirotunnel.local.ports import PortHolder
from kirotunnel.wire.command_line import SshCommand, parse_ssh

Kind = Literal["ssh", "kirotunnel", "known", "stranger"]


@dataclass(frozen=True, slots=True)
class Suspect:
    """What a process that holds a port is, in a person's words."""

    kind: Kind
    name: str
    advice: str
    stale: bool = False
    """This user's own, left over, and of no use to anybody: what `ports --free` may end."""


@dataclass(frozen=True, slots=True)
class _Usual:
    program: str
    """A pattern for the process name; of the kernel's 15 characters at least."""
    name: str
    advice: str
    command: str = ""
    """A pattern that the command line must have as well."""


# First match counts. `{port}` and `{pid}` are filled in.
USUAL: Final = (
    _Usual(
        r"docker-proxy|com\.docker|vpnkit|rootlessport|rootlesskit|slirp4netns|pasta|gvproxy|conmon|podman",
        "a container's published port",
        "`docker ps --filter publish={port}` (or podman) names the container; stop it or publish it elsewhere",
    ),
    _Usual(
        r"code(-insiders|-oss|-server|-tunnel)?$|Code( - Insiders)? Helper|Code\.exe|codium|cursor|windsurf",
        "an editor's port forwarding (VS Code or its kin)",
        "open its Ports view and stop forwarding {port}; `remote.autoForwardPorts: false` keeps it from coming back",
    ),
    _Usual(r"node", "VS Code's server", "stop forwarding {port} in its Ports view", r"\.vscode-server|vscode-remote"),
    _Usual(
        r"kiro-cli|kiro-cli-chat",
        "a kiro-cli login of this machine",
        "finish its sign-in in the browser, or end it with Ctrl-C in its terminal",
    ),
    _Usual(
        r"kiro(\.exe)?$|Kiro( Helper.*)?$",
        "the Kiro IDE of this machine",
        "finish or cancel its sign-in, or close it for the time of yours",
    ),
    _Usual(
        r"electron", "the Kiro IDE of this machine", "finish or cancel its sign-in, or close it", r"/kiro/|Kiro\.app"
    ),
    _Usual(
        r"\(?squid",
        "the Squid proxy, whose own port is 3128",
        "leave it: the login takes another port by itself; or give Squid another http_port",
    ),
    _Usual(
        r"clash|mihomo|verge-mihomo|ClashX|sing-box|v2ray|xray|nekoray",
        "a Clash proxy or its kin",
        "leave it: the login takes another port by itself; or change its port in its settings",
    ),
    _Usual(
        r"cntlm|px(\.exe)?$|privoxy|tinyproxy|polipo|mitmproxy|mitmdump|charles|fiddler",
        "an HTTP proxy",
        "leave it: the login takes another port by itself; or give it another port",
    ),
    _Usual(r"wslrelay|wslhost", "WSL's relay of a port of the Linux side", "look for {port} inside WSL: `ss -ltnp`"),
    _Usual(
        r"node|deno|bun|vite|next-server|esbuild|webpack|ng$|hugo|jekyll|caddy|nginx|httpd|apache2|rails|puma|ruby|php"
        r"|gunicorn|uvicorn|flask|java|dotnet|air$|gradle|beam\.smp",
        "a web or development server",
        "stop it, or start it on another port",
    ),
    _Usual(
        r"python[0-9.]*",
        "a development server in Python",
        "stop it, or start it on another port",
        r"http\.server|runserver|uvicorn|gunicorn|flask|streamlit|jupyter|mkdocs",
    ),
)
_KIROTUNNEL: Final = re.compile(r"(?:^|[/ ])kirotunnel(?: |$)")


def recognise(holder: PortHolder) -> Suspect:
    """What that process is, and what to do about it."""
    command = " ".join(holder.command)
    if (ssh := parse_ssh(holder.command)) is not None:
        return _ssh(holder, ssh)
    if _KIROTUNNEL.search(command) or holder.program == "kirotunnel":
        return _kirotunnel(holder)
    program = holder.program or ""
    for usual in USUAL:
        if re.match(usual.program, program, re.IGNORECASE) and re.search(usual.command, command):
            return Suspect("known", usual.name, usual.advice.format(port=holder.port, pid=holder.pid))
    return _stranger(holder)


def _ssh(holder: PortHolder, ssh: SshCommand) -> Suspect:
    to = f" to {ssh.host}" if ssh.host else ""
    if ssh.is_master:
        return Suspect(
            "ssh",
            f"a shared ssh connection{to} that forwards this port",
            f"take the forward back: `ssh -O cancel -L {holder.port}:localhost:{holder.port} {ssh.host or 'HOST'}`",
        )
    if not ssh.forwards_port(holder.port):
        advice = f"look for LocalForward {holder.port} in your SSH config; it ends with that ssh"
        return Suspect("ssh", f"an ssh connection{to}", advice)
    if not ssh.tunnel_only:
        return Suspect(
            "ssh",
            f"an ssh session{to} with -L",
            f"log out of it, or type `~C` and `-KL {holder.port}` in it",
        )
    if not holder.mine:
        return Suspect("ssh", f"another user's ssh tunnel{to}", f"ask {holder.user or 'its owner'} to end it")
    return Suspect("ssh", f"a forgotten ssh tunnel{to}", f"`kirotunnel ports {holder.port} --free` ends it", stale=True)


def _kirotunnel(holder: PortHolder) -> Suspect:
    if holder.mine and holder.orphan:
        return Suspect(
            "kirotunnel",
            "a kirotunnel that nobody waits for any more",
            f"`kirotunnel ports {holder.port} --free` ends it",
            stale=True,
        )
    return Suspect(
        "kirotunnel",
        "another kirotunnel, waiting for its browser",
        "finish its sign-in, or end it with Ctrl-C in its terminal; it ends by itself after its --timeout",
    )


def _stranger(holder: PortHolder) -> Suspect:
    if not holder.listening:
        return Suspect("stranger", "an outgoing connection that was given this port", "it ends by itself; try again")
    if holder.pid is None:
        look = f"`sudo ss -ltnp sport = :{holder.port}` (macOS: `sudo lsof -nP -iTCP:{holder.port}`) names it"
        return Suspect("stranger", "a process that only its owner and root may look at", look)
    whose = "" if holder.mine else f" as user {holder.user}" if holder.user else " as another user"
    return Suspect("stranger", f"a program running{whose}", f"end it if it is not needed: `kill {holder.pid}`")
