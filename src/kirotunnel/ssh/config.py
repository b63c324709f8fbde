"""From what `ssh` would do with a target to an Endpoint: `ssh -G` is asked; paramiko reads where there is no OpenSSH.

OpenSSH alone reads ssh_config(5) exactly: the readers of the SSH libraries differ from it on a good part of what
people have in there (Match, Include, tokens, times, quoting).
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import shutil
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from kirotunnel.errors import SSHConfigError, TargetError
from kirotunnel.wire.terminal import one_line

MAX_JUMPS: Final = 8
_RESOLVE_TIMEOUT_S: Final = 30.0
"""Seconds for `ssh -G`: it may run `Match exec` and ask DNS."""
_TOKEN: Final = re.compile(r"%([%hnprudikl])")
_ENVIRONMENT: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHOptions:
    """The SSH options of the command line, with ssh's own meaning."""

    port: int | None = None
    user: str | None = None
    identity_files: tuple[str, ...] = ()
    jump: str | None = None
    config_file: str | None = None
    options: tuple[str, ...] = ()
    """`KEY=VALUE` as after -o."""

    def arguments(self) -> list[str]:
        """The same as arguments of `ssh`."""
        found: list[str] = []
        if self.config_file is not None:
            found += ["-F", self.config_file]
        if self.port is not None:
            found += ["-p", str(self.port)]
        if self.user is not None:
            found += ["-l", self.user]
        for identity in self.identity_files:
            found += ["-i", identity]
        if self.jump is not None:
            found += ["-J", self.jump]
        for option in self.options:
            found += ["-o", option]
        return found

    def for_jump(self) -> SSHOptions:
        """What of it a jump host is resolved with: the config file, as ssh does (ssh(1), -J)."""
        return SSHOptions(config_file=self.config_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where and how to connect: ssh_config(5) options with their tokens expanded, for one host."""

    name: str
    """As the person typed it."""
    host: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    identities_only: bool = False
    identity_agent: str | None = None
    """Path of the agent's socket; None for no agent."""
    known_hosts_files: tuple[Path, ...] = ()
    global_known_hosts_files: tuple[Path, ...] = ()
    host_key_alias: str | None = None
    strict_host_key_checking: str = "ask"
    hash_known_hosts: bool = False
    algorithms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lists by ssh_config's lower-case option: hostkeyalgorithms, kexalgorithms, ciphers, macs."""
    jumps: tuple[Endpoint, ...] = ()
    proxy_command: str | None = None
    connect_timeout_s: float | None = None
    alive_interval_s: float | None = None
    alive_count: int = 3
    address_family: str = "any"
    bind_address: str | None = None
    preferred_authentications: str | None = None

    @property
    def key_name(self) -> str:
        """The name under which known_hosts has the host's key."""
        return self.host_key_alias or self.host

    def describe(self) -> str:
        """`user@host:port` for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + ("" if self.port == 22 else f":{self.port}")


async def resolve_endpoint(destination: str, options: SSHOptions) -> Endpoint:
    """What ssh would connect to for this destination (`NAME`, `[user@]host`, `ssh://…`).

    Raises SSHConfigError where the config cannot be read, TargetError for a chain of too many jumps.
    """
    return await _resolve(destination, options, depth=0)


async def _resolve(destination: str, options: SSHOptions, depth: int) -> Endpoint:
    if depth > MAX_JUMPS:
        raise TargetError(
            f"{destination} needs more than {MAX_JUMPS} jump hosts; the ProxyJump options may form a loop"
        )
    ssh = shutil.which("ssh")
    values = (
        await _ask_openssh(ssh, destination, options)
        if ssh
        else await asyncio.to_thread(_ask_paramiko, destination, options)
    )
    endpoint = build_endpoint(destination, values)
    jumps: list[Endpoint] = []
    for spec in jump_specs(values):
        hop = await _resolve(spec, options.for_jump(), depth + 1)
        # ssh runs one ssh per hop: only the first reaches the network by itself, so only its own jumps count.
        jumps += [*hop.jumps, replace(hop, jumps=())] if not jumps else [replace(hop, jumps=(), proxy_command=None)]
    return replace(endpoint, jumps=tuple(jumps))


async def _ask_openssh(ssh: str, destination: str, options: SSHOptions) -> dict[str, list[str]]:
    process = await asyncio.create_subprocess_exec(
        ssh, "-G", *options.arguments(), "--", destination,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError as exc:
        raise SSHConfigError(f"`ssh -G {destination}` did not end; a `Match exec` of your SSH config may hang") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = one_line(err.decode("utf-8", "replace")) or f"exit code {process.returncode}"
        raise SSHConfigError(f"ssh cannot resolve {destination}: {words}")
    return parse_options(out.decode("utf-8", "replace").splitlines())


def parse_options(lines: Iterable[str]) -> dict[str, list[str]]:
    """The `key value` lines that `ssh -G` prints; keys in lower case, repeated ones in order."""
    values: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.strip().partition(" ")
        if key:
            values.setdefault(key.lower(), []).append(value)
    return values


def _ask_paramiko(destination: str, options: SSHOptions) -> dict[str, list[str]]:
    """The same from paramiko's reader, where there is no OpenSSH; it knows fewer options."""
    import paramiko.config

    user, host, port = _split_destination(destination)
    path = Path(options.config_file) if options.config_file else Path("~/.ssh/config").expanduser()
    try:
        config = paramiko.config.SSHConfig.from_path(str(path)) if path.exists() else paramiko.config.SSHConfig()
        found = config.lookup(host)
    except (OSError, paramiko.ssh_exception.SSHException) as exc:
        raise SSHConfigError(f"{path} cannot be read: {one_line(str(exc))}") from exc
    values: dict[str, list[str]] = {}
    for key, value in dict(found).items():
        many: object = value  # the stubs say str; identityfile and certificatefile are lists
        values[key.lower()] = [str(item) for item in many] if isinstance(many, list) else [str(many)]
    for key, _, text in (option.partition("=") for option in options.options):
        values[key.strip().lower()] = [text.strip()]
    given = {"port": port or options.port, "user": user or options.user, "proxyjump": options.jump}
    values |= {key: [str(value)] for key, value in given.items() if value is not None}
    default = [f"~/.ssh/{name}" for name in ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")]
    values["identityfile"] = [*options.identity_files, *values.get("identityfile", [])] or default
    return values


def _split_destination(destination: str) -> tuple[str | None, str, int | None]:
    rest = destination.removeprefix("ssh://").rstrip("/")
    user, _, host = rest.rpartition("@")
    name, _, port = host.rpartition(":")
    if destination.startswith("ssh://") and port.isdigit() and name:
        return user or None, name.strip("[]"), int(port)
    return user or None, host.strip("[]"), None


def jump_specs(values: Mapping[str, Sequence[str]]) -> list[str]:
    """The hops of ProxyJump, in order, each as a destination for `ssh`."""
    jump = _one(values, "proxyjump") or "none"
    if jump.lower() == "none":
        return []
    specs = []
    for hop in jump.split(","):
        has_port = re.search(r":\d+$", hop) and (hop.count(":") == 1 or "]:" in hop)
        specs.append(f"ssh://{hop}" if has_port and not hop.startswith("ssh://") else hop)
    return specs


def build_endpoint(name: str, values: Mapping[str, Sequence[str]]) -> Endpoint:
    """The endpoint from the options as printed; tokens, `~` and `${ENV}` are expanded here, missing files skipped."""
    _, host_typed, _ = _split_destination(name)
    host = _one(values, "hostname") or host_typed
    user = _one(values, "user") or getpass.getuser()
    port = int(_one(values, "port") or 22)
    tokens = _tokens(host, host_typed, port, user)

    def paths(key: str) -> tuple[Path, ...]:
        return tuple(path for text in values.get(key, ()) if (path := _path(text, tokens)) is not None)

    proxy_command = _one(values, "proxycommand")
    timeout = _one(values, "connecttimeout")
    interval = _one(values, "serveraliveinterval")
    return Endpoint(
        name=name,
        host=host,
        port=port,
        user=user,
        identity_files=tuple(path for path in paths("identityfile") if path.exists()),
        certificate_files=tuple(path for path in paths("certificatefile") if path.exists()),
        identities_only=_flag(values, "identitiesonly"),
        identity_agent=_agent(_one(values, "identityagent"), tokens),
        known_hosts_files=_known_hosts(
            values, "userknownhostsfile", ("~/.ssh/known_hosts", "~/.ssh/known_hosts2"), tokens
        ),
        global_known_hosts_files=_known_hosts(values, "globalknownhostsfile", ("/etc/ssh/ssh_known_hosts",), tokens),
        host_key_alias=_one(values, "hostkeyalias"),
        strict_host_key_checking=_strictness(_one(values, "stricthostkeychecking")),
        hash_known_hosts=_flag(values, "hashknownhosts"),
        algorithms={
            key: tuple(value.split(","))
            for key in ("hostkeyalgorithms", "kexalgorithms", "ciphers", "macs")
            if (value := _one(values, key)) and value[0] not in "+-^"
        },
        proxy_command=None if proxy_command in {None, "none"} else _expand(proxy_command or "", tokens),
        connect_timeout_s=float(timeout) if timeout and timeout.isdigit() else None,
        alive_interval_s=float(interval) if interval and interval.isdigit() and interval != "0" else None,
        alive_count=int(_one(values, "serveralivecountmax") or 3),
        address_family=_one(values, "addressfamily") or "any",
        bind_address=_one(values, "bindaddress"),
        preferred_authentications=_one(values, "preferredauthentications"),
    )


def _one(values: Mapping[str, Sequence[str]], key: str) -> str | None:
    found = values.get(key)
    return found[0] if found else None


def _flag(values: Mapping[str, Sequence[str]], key: str) -> bool:
    return (_one(values, key) or "no").lower() in {"yes", "true"}


def _strictness(value: str | None) -> str:
    return {"true": "yes", "false": "no", "off": "no"}.get((value or "ask").lower(), (value or "ask").lower())


def _tokens(host: str, typed: str, port: int, user: str) -> dict[str, str]:
    local = socket.gethostname()
    return {
        "%": "%",
        "h": host,
        "n": typed,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
        "d": str(Path.home()),
        "i": str(os.getuid()) if hasattr(os, "getuid") else "",
        "k": host,
        "l": local,
    }


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    return _TOKEN.sub(lambda found: tokens[found[1]], text)


def _path(text: str, tokens: Mapping[str, str]) -> Path | None:
    text = text.strip().strip('"')
    if text.lower() in {"none", ""}:
        return None
    expanded = _ENVIRONMENT.sub(lambda found: os.environ.get(found[1], ""), _expand(text, tokens))
    return Path(expanded).expanduser()


def _known_hosts(
    values: Mapping[str, Sequence[str]], key: str, default: Sequence[str], tokens: Mapping[str, str]
) -> tuple[Path, ...]:
    text = _one(values, key)
    # `ssh -G` prints several files on one line and loses quotes: a path with a space is taken whole if it exists.
    whole = _path(text, tokens) if text else None
    texts = [text] if text and whole is not None and whole.exists() else (text.split() if text else list(default))
    return tuple(path for item in texts if (path := _path(item, tokens)) is not None)


def _agent(text: str | None, tokens: Mapping[str, str]) -> str | None:
    if text is None or text == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if text.lower() == "none":
        return None
    if text.startswith("$") and not text.startswith("${"):
        return os.environ.get(text[1:]) or None
    path = _path(text, tokens)
    return str(path) if path else None
