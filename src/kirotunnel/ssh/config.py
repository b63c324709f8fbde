"""From what `ssh` would do with a target to an Endpoint: `ssh -G` is asked; paramiko reads where there is no OpenSSH.

OpenSSH alone reads ssh_config(5) exactly: the readers of the SSH libraries differ from it on a good part of what
people have in there (Match, Include, tokens, times, quoting).
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from kirotunnel.errors import SSHConfigError
from kirotunnel.redaction import Secret
from kirotunnel.ssh.config_keywords import SECONDS
from kirotunnel.ssh.config_text import expand_home, home, parse_line, read_files
from kirotunnel.wire.terminal import one_line

MAX_JUMPS: Final = 8
_RESOLVE_TIMEOUT_S: Final = 30.0
"""Seconds for `ssh -G`: it may run `Match exec` and ask DNS."""
_MAX_COMPLAINT: Final = 16 * 1024
"""Bytes of its complaint that are read."""
_TOKEN: Final = re.compile(r"%(?P<token>.?)")
_TOKEN_OR_VARIABLE: Final = re.compile(r"%(?P<token>.?)|\$\{(?P<variable>[^}]*)\}")
_OF_THE_TARGET: Final = frozenset("%hnpr")
"""The tokens that ProxyCommand and ProxyJump know; file names know all."""
_DEBIANS_BATCH_ALIVE_S: Final = 300
"""What Debian's ssh alone has as ServerAliveInterval with BatchMode, unless something else is said. It is nobody's
wish, and a dead link would be noticed after twenty minutes."""
_DEFAULT_IDENTITY: Final = re.compile(r"~/\.ssh/id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss)")
# What ssh would do for the connection and kirotunnel does not; the value is what switches it off.
_NOT_DONE: Final = {
    "knownhostscommand": "none",
    "pkcs11provider": "none",
    "proxyusefdpass": "no",
    "verifyhostkeydns": "no",
}


# What the short options say, in the words of ssh_config(5).
_MEANT: Final = {"-p": "port", "-l": "user", "-i": "identityfile", "-J": "proxyjump", "-F": "-F"}


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

    @classmethod
    def from_command_line(cls, given: Sequence[tuple[str, str]]) -> Self:
        """Options and their values, as they were typed one after the other: `("-p", "22")`, `("-o", "Port=22")`.

        As in ssh, of two that say the same the first counts, whichever way it says it, and identity files add up in
        their order; -J goes with no other -J, ProxyJump or ProxyCommand before it. The last -F counts.
        Raises SSHConfigError.
        """
        firsts: dict[str, str] = {}
        seen: set[str] = set()
        identities: list[str] = []
        options: list[str] = []
        config = None
        for option, value in given:
            keyword = _MEANT.get(option) or _keyword(value)
            if option == "-F":
                config = value
            elif option == "-o":
                options.append(value)
            elif option == "-i" and keyword in seen:
                options.append(f"IdentityFile={_quoted(value)}")  # an -o named one before: it is tried before
                continue
            elif option == "-i":
                identities.append(value)
                continue
            elif option == "-J" and seen & {"proxyjump", "proxycommand"}:
                raise SSHConfigError(
                    "the command line has -J beside another -J, ProxyJump or ProxyCommand",
                    "give one of them, with commas between several jump hosts",
                )
            elif keyword not in seen:
                firsts[option] = value
            seen.add(keyword)
        return cls(
            port=int(firsts["-p"]) if "-p" in firsts else None,
            user=firsts.get("-l"),
            identity_files=tuple(identities),
            jump=firsts.get("-J"),
            config_file=config,
            options=tuple(options),
        )

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
    one_time_key: Secret[bytes] | None = None
    """A private key that the host accepts for a moment; offered before all others."""
    certificate_files: tuple[Path, ...] = ()
    identities_only: bool = False
    identities_named: bool = True
    """The identity files were chosen by somebody; they are not merely those that ssh looks for by default."""
    identity_agent: str | None = None
    """Path of the agent's socket; None for no agent."""
    known_hosts_files: tuple[Path, ...] = ()
    global_known_hosts_files: tuple[Path, ...] = ()
    revoked_host_keys: Path | None = None
    host_key_alias: str | None = None
    strict_host_key_checking: str = "ask"
    hash_known_hosts: bool = False
    trusts_localhost: bool = False
    """The host key of this very machine need not be known."""
    algorithms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lists by ssh_config's lower-case option: hostkeyalgorithms, kexalgorithms, ciphers, macs, pubkeyaccepted…"""
    jumps: tuple[Endpoint, ...] = ()
    proxy_command: str | None = None
    connect_timeout_s: float | None = None
    alive_interval_s: float | None = None
    alive_count: int = 3
    address_family: str = "any"
    bind_address: str | None = None
    preferred_authentications: str | None = None
    refused_authentications: frozenset[str] = frozenset()
    """Methods of RFC 4252 that the config switches off."""
    password_prompts: int = 3
    batch: bool = False
    """Nobody is to be asked anything."""
    rekey: tuple[int, int] = (0, 0)
    """New keys after so many bytes, and seconds; 0 for the library's own limits."""
    warnings: tuple[str, ...] = ()
    """What of the config could not be followed, as sentences."""

    @property
    def typed(self) -> str:
        """The host's name as the person typed it, without user and port."""
        return _split_destination(self.name)[1]

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

    Raises SSHConfigError where the config cannot be read, or its ProxyJump options form a loop.
    """
    return await _resolve(destination, options, ())


async def _resolve(destination: str, options: SSHOptions, on_the_way: tuple[str, ...]) -> Endpoint:
    way = " → ".join((*on_the_way, destination))
    if destination in on_the_way:
        raise SSHConfigError(
            f"the jump hosts lead in a circle: {way}",
            "one of them has a ProxyJump that leads back: give it `ProxyJump none`, or exclude it from that Host line",
        )
    if len(on_the_way) > MAX_JUMPS:
        raise SSHConfigError(
            f"more than {MAX_JUMPS} jump hosts: {way}", "check the ProxyJump options of the SSH config"
        )
    ssh = shutil.which("ssh")
    if ssh:
        endpoint = build_endpoint(destination, values := await _ask_openssh(ssh, destination, options))
        if any(not str(path).startswith("/") for path in endpoint.known_hosts_files):
            # `ssh -G` prints several files on one line without their quotes. Our own reader knows where each ends.
            values["userknownhostsfile"] = await asyncio.to_thread(_quoted_files, destination, options, values)
            values["globalknownhostsfile"] = [str(path) for path in endpoint.global_known_hosts_files]
            endpoint = build_endpoint(destination, values, separate_files=True)
    else:
        values, warnings = await asyncio.to_thread(_ask_paramiko, destination, options)
        endpoint = build_endpoint(destination, values, separate_files=True)
        endpoint = replace(endpoint, warnings=(*warnings, *endpoint.warnings))
    jumps: list[Endpoint] = []
    for spec in jump_specs(values):
        expanded = expand(spec, tokens_of(endpoint), only=_OF_THE_TARGET)
        hop = await _resolve(expanded, options.for_jump(), (*on_the_way, destination))
        # ssh runs one ssh per hop: only the first reaches the network by itself, so only its own jumps count.
        jumps += [*hop.jumps, replace(hop, jumps=())] if not jumps else [replace(hop, jumps=(), proxy_command=None)]
    warnings = (*endpoint.warnings, *_missing_keys(options.identity_files))
    return replace(endpoint, jumps=tuple(jumps), warnings=warnings)


def _missing_keys(files: Sequence[str]) -> list[str]:
    """What is to be said of files of -i that are not there. Of those of a config ssh says nothing (ssh.c, case 'i')."""
    missing = [file for file in files if "%" not in file and "${" not in file and not Path(expand_home(file)).exists()]
    return [f"the key file {file} is not there: it is left out" for file in missing]


async def _ask_openssh(ssh: str, destination: str, options: SSHOptions) -> dict[str, list[str]]:
    _, host, port = _split_destination(destination)
    # ssh reads no IPv6 address in an ssh:// URI.
    of_v6 = ["-p", str(port)] if port and ":" in host else []
    user = destination.removeprefix("ssh://").rpartition("@")[0]
    plain = "@".join(part for part in (user, host) if part) if of_v6 else destination
    # What a `Match exec` leaves running keeps stderr: a pipe would never end then, and asyncio waits for its end even
    # where the process was killed. Its group is ended as a whole.
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            ssh, "-G", *options.arguments(), *of_v6, "--", plain,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=said, process_group=0,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
                out, _ = await process.communicate()
        except TimeoutError as exc:
            raise SSHConfigError(
                f"`ssh -G {destination}` did not end in {_RESOLVE_TIMEOUT_S:.0f} s",
                "a `Match exec` of your SSH config may hang, or the name service with CanonicalizeHostname",
            ) from exc
        finally:
            if process.returncode is None:
                _kill_group(process)
                await process.wait()
        said.seek(0)
        err = said.read(_MAX_COMPLAINT)
    if process.returncode != 0:
        words = _complaint(err.decode("utf-8", "replace")) or f"exit code {process.returncode}"
        if "recursive" in words:
            # Of Includes that lead back ssh says only that there are too many; our own reader names a file.
            await asyncio.to_thread(read_files, options.config_file)
        raise SSHConfigError(f"ssh cannot resolve {destination}: {words}")
    return parse_options(out.decode("utf-8", "surrogateescape").splitlines())


def _kill_group(process: asyncio.subprocess.Process) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _complaint(text: str) -> str:
    """What ssh says of the config, without its remark on the terminal."""
    return one_line("; ".join(line for line in text.splitlines() if not line.startswith("Pseudo-terminal")))


def parse_options(lines: Iterable[str]) -> dict[str, list[str]]:
    """The `key value` lines that `ssh -G` prints; keys in lower case, repeated ones in order."""
    values: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.strip().partition(" ")
        if key:
            values.setdefault(key.lower(), []).append(value)
    return values


def _ask_paramiko(destination: str, options: SSHOptions) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The same by paramiko's reader, where there is no OpenSSH; and what it does not understand."""
    from kirotunnel.ssh.config_fallback import Fallback, option_pairs

    user, host, port = _split_destination(destination)
    typed = [("port", options.port), ("user", options.user), ("proxyjump", options.jump)]
    identities = [("identityfile", _quoted(path)) for path in options.identity_files]
    first = [*_present(typed), *identities, *option_pairs(options.options), *_present([("user", user), ("port", port)])]
    fallback = Fallback(host, options.config_file, first)
    return fallback.values(), tuple(fallback.warnings)


def _keyword(option: str) -> str:
    """The keyword of what stands after -o; empty where ssh will complain of it."""
    try:
        found = parse_line(option, "command line")
    except SSHConfigError:
        return ""
    return found[0] if found else ""


def _present(pairs: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in pairs if value is not None]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _quoted_files(destination: str, options: SSHOptions, values: Mapping[str, Sequence[str]]) -> list[str]:
    """The files of UserKnownHostsFile one by one, where what our reader finds is what `ssh -G` printed."""
    printed = values["userknownhostsfile"]
    try:
        ours, _ = _ask_paramiko(destination, options)
    except SSHConfigError:
        return list(printed)
    files = ours.get("userknownhostsfile", [])
    tokens = tokens_of(build_endpoint(destination, values))
    expanded = [expand(expand_home(file), tokens) for file in files]
    return expanded if " ".join(expanded) == printed[0] else list(printed)


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
        if has_port and not hop.startswith("ssh://"):
            specs.append(f"ssh://{hop}")
        else:
            specs.append(re.sub(r"\[([^\]]+)\]$", r"\1", hop))
    return specs


def build_endpoint(name: str, values: Mapping[str, Sequence[str]], *, separate_files: bool = False) -> Endpoint:
    """The endpoint from the options as printed; tokens, `~` and `${ENV}` are expanded here, missing files skipped.

    `separate_files`: known_hosts files come one by one, not on one line.
    """
    _, host_typed, _ = _split_destination(name)
    host = _one(values, "hostname") or host_typed
    user = _one(values, "user") or getpass.getuser()
    port = int(_one(values, "port") or 22)
    alias = _one(values, "hostkeyalias")
    tokens = _tokens(host, host_typed, port, user, alias)

    def paths(key: str) -> tuple[Path, ...]:
        return tuple(path for text in values.get(key, ()) if (path := _path(text, tokens)) is not None)

    def files(key: str, default: Sequence[str]) -> tuple[Path, ...]:
        if separate_files:
            texts = values.get(key) or default
            return tuple(path for text in texts if (path := _path(text, tokens)) is not None)
        return _known_hosts(values, key, default, tokens)

    proxy_command = _one(values, "proxycommand")
    raw_identities = values.get("identityfile", ())
    batch, alive = _flag(values, "batchmode"), _seconds(values, "serveraliveinterval")
    return Endpoint(
        name=name,
        host=host,
        port=port,
        user=user,
        identity_files=tuple(path for path in paths("identityfile") if path.exists()),
        identities_named=not all(_DEFAULT_IDENTITY.fullmatch(text) for text in raw_identities),
        certificate_files=tuple(path for path in paths("certificatefile") if path.exists()),
        identities_only=_flag(values, "identitiesonly"),
        identity_agent=_agent(_one(values, "identityagent"), tokens),
        known_hosts_files=files("userknownhostsfile", ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")),
        global_known_hosts_files=files(
            "globalknownhostsfile", ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
        ),
        revoked_host_keys=next(iter(paths("revokedhostkeys")), None),
        host_key_alias=alias,
        strict_host_key_checking=_strictness(_one(values, "stricthostkeychecking")),
        hash_known_hosts=_flag(values, "hashknownhosts"),
        trusts_localhost=_flag(values, "nohostauthenticationforlocalhost"),
        algorithms={
            key: tuple(value.split(",")) for key in ALGORITHMS if (value := _one(values, key)) and value[0] not in "+-^"
        },
        proxy_command=None if proxy_command in {None, "none"} else expand(proxy_command or "", tokens, _OF_THE_TARGET),
        connect_timeout_s=_seconds(values, "connecttimeout"),
        alive_interval_s=None if batch and alive == _DEBIANS_BATCH_ALIVE_S else alive,
        alive_count=int(_one(values, "serveralivecountmax") or 3),
        address_family=(_one(values, "addressfamily") or "any").lower(),
        bind_address=_one(values, "bindaddress"),
        preferred_authentications=_one(values, "preferredauthentications"),
        refused_authentications=frozenset(
            method
            for key, method in _METHODS.items()
            if (_one(values, key) or "yes").lower() in {"no", "false", "host-bound-no"}
        ),
        password_prompts=int(_one(values, "numberofpasswordprompts") or 3),
        batch=batch,
        rekey=_rekey(_one(values, "rekeylimit")),
        warnings=tuple(
            f"{key} of your SSH config is not supported: {host} is reached without it"
            for key, off in _NOT_DONE.items()
            if (_one(values, key) or off).lower() not in {off, "false"}
        ),
    )


ALGORITHMS: Final = ("hostkeyalgorithms", "kexalgorithms", "ciphers", "macs", "pubkeyacceptedalgorithms")
_METHODS: Final = {
    "pubkeyauthentication": "publickey",
    "passwordauthentication": "password",
    "kbdinteractiveauthentication": "keyboard-interactive",
}
_UNITS: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _rekey(text: str | None) -> tuple[int, int]:
    """Bytes and seconds of RekeyLimit; 0 for what the protocol's own limits are."""
    amount, _, time = (text or "").strip().partition(" ")
    size = re.fullmatch(r"(\d+)([kmgKMG]?)", amount)
    count = int(size[1]) * _UNITS.get(size[2].lower(), 1) if size else 0
    spans = re.findall(r"(\d+)([smhdwSMHDW]?)", time)
    return count, sum(int(n) * SECONDS[unit.lower()] for n, unit in spans)


def _seconds(values: Mapping[str, Sequence[str]], key: str) -> float | None:
    text = _one(values, key)
    return float(text) if text and text.isdigit() and text != "0" else None


def _one(values: Mapping[str, Sequence[str]], key: str) -> str | None:
    found = values.get(key)
    return found[0] if found else None


def _flag(values: Mapping[str, Sequence[str]], key: str) -> bool:
    return (_one(values, key) or "no").lower() in {"yes", "true"}


def _strictness(value: str | None) -> str:
    return {"true": "yes", "false": "no", "off": "no"}.get((value or "ask").lower(), (value or "ask").lower())


def tokens_of(endpoint: Endpoint) -> dict[str, str]:
    """What each token stands for, for one host."""
    _, typed, _ = _split_destination(endpoint.name)
    return _tokens(endpoint.host, typed, endpoint.port, endpoint.user, endpoint.host_key_alias)


def _tokens(host: str, typed: str, port: int, user: str, alias: str | None) -> dict[str, str]:
    local = socket.gethostname()
    connection = hashlib.sha1(f"{local}{host}{port}{user}".encode(), usedforsecurity=False).hexdigest()
    return {
        "%": "%",
        "C": connection,
        "d": str(home()),
        "h": host,
        "i": str(os.getuid()) if hasattr(os, "getuid") else "",
        "j": "",
        "k": alias or typed,
        "L": local.partition(".")[0],
        "l": local,
        "n": typed,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
    }


def expand(text: str, tokens: Mapping[str, str], only: frozenset[str] | None = None) -> str:
    """Put in what tokens stand for; with `only` those and no variables. Raises SSHConfigError for what ssh refuses."""

    def value(found: re.Match[str]) -> str:
        token = found["token"]
        if token is None:
            variable = found["variable"]
            if variable not in os.environ:
                raise SSHConfigError(f"{text} in the SSH config: the environment has no {variable}")
            return os.environ[variable]
        if token not in tokens or (only is not None and token not in only):
            raise SSHConfigError(f"{text} in the SSH config: unknown token %{token}")
        return tokens[token]

    return (_TOKEN_OR_VARIABLE if only is None else _TOKEN).sub(value, text)


def _path(text: str, tokens: Mapping[str, str]) -> Path | None:
    text = text.strip()
    if text.lower() in {"none", ""}:
        return None
    return Path(expand(expand_home(text), tokens))


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
