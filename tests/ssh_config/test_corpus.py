"""What people have in their SSH config, resolved as ssh resolves it: by `ssh -G`, by us, and by us without OpenSSH."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kirotunnel.errors import SSHConfigError
from kirotunnel.ssh.config import Endpoint, resolve_endpoint
from ssh_config.cases import Case, lay_out, names, plain

# What the reader without OpenSSH gives otherwise, by case and field. Each is said in a warning with these words.
DIFFERENCES: dict[str, dict[str, str]] = {
    # The name is not asked of the DNS. Where no domain has it, as here, only the warning differs.
    "canonicalized": {"warnings": "CanonicalizeHostname"},
}

ALGORITHMS = ("hostkeyalgorithms", "kexalgorithms", "ciphers", "macs", "pubkeyacceptedalgorithms")


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    directory = tmp_path / "case"
    directory.mkdir()
    found = lay_out(request.param, directory)
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found


def printed_by_ssh(arguments: list[str]) -> tuple[dict[str, list[str]], str]:
    done = subprocess.run(
        ["ssh", "-G", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False
    )
    values: dict[str, list[str]] = {}
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value)
    return values, done.stderr


async def without_openssh(case: Case, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda _: None)
        return await resolve_endpoint(case.target, case.options())


def as_dict(endpoint: Endpoint) -> dict[str, Any]:
    fields = {field.name: getattr(endpoint, field.name) for field in dataclasses.fields(endpoint)}
    return fields | {"jumps": [as_dict(hop) for hop in endpoint.jumps], "algorithms": algorithms_of(endpoint)}


@cache
def default_algorithms() -> Mapping[str, frozenset[str]]:
    """This ssh's defaults: another version has others, and the reader without OpenSSH has those of 9.2."""
    values, _ = printed_by_ssh(["-F", "none", "box"])
    return {key: frozenset(values[key][0].split(",")) for key in ALGORITHMS}


def algorithms_of(endpoint: Endpoint) -> dict[str, tuple[str, ...]]:
    from kirotunnel.ssh.config_keywords import DEFAULT_ALGORITHMS

    other = {key: default_algorithms()[key] ^ set(DEFAULT_ALGORITHMS[key]) for key in ALGORITHMS}
    return {key: tuple(n for n in value if n not in other[key]) for key, value in endpoint.algorithms.items()}


GOOD = [name for name in names() if not name.startswith("error-")]
BAD = [name for name in names() if name.startswith("error-")]


def for_ssh(case: Case) -> list[str]:
    """Its command line; ssh reads no IPv6 address in a URI, so it is asked with -p."""
    uri = re.fullmatch(r"ssh://(.*@)\[(.*:.*)\]:(\d+)", case.target)
    return [*case.arguments[:-1], "-p", uri[3], uri[1] + uri[2]] if uri else list(case.arguments)


def test_the_corpus_is_large() -> None:
    assert len(GOOD) >= 60


@pytest.mark.parametrize("case", GOOD, indirect=True)
async def test_it_is_resolved_as_ssh_prints_it(case: Case) -> None:
    printed, complaint = printed_by_ssh(for_ssh(case))
    assert printed, complaint
    endpoint = await resolve_endpoint(case.target, case.options())
    one = {key: values[0] for key, values in printed.items()}
    assert (endpoint.host, endpoint.user, endpoint.port) == (one["hostname"], one["user"], int(one["port"]))
    assert endpoint.identities_only == (one["identitiesonly"] == "yes")
    assert endpoint.host_key_alias == one.get("hostkeyalias")
    assert endpoint.strict_host_key_checking == {"true": "yes", "false": "no"}.get(
        one["stricthostkeychecking"], one["stricthostkeychecking"]
    )
    assert endpoint.hash_known_hosts == (one["hashknownhosts"] == "yes")
    assert endpoint.trusts_localhost == (one["nohostauthenticationforlocalhost"] == "yes")
    assert endpoint.batch == (one["batchmode"] == "yes")
    assert endpoint.address_family == one["addressfamily"]
    assert endpoint.bind_address == one.get("bindaddress")
    assert endpoint.preferred_authentications == one.get("preferredauthentications")
    assert endpoint.password_prompts == int(one["numberofpasswordprompts"])
    assert endpoint.alive_count == int(one["serveralivecountmax"])
    # Debian's ssh alone has a keepalive of 300 s with BatchMode, which is no setting of the person's.
    alive = "0" if endpoint.batch and one["serveraliveinterval"] == "300" else one["serveraliveinterval"]
    assert (endpoint.alive_interval_s or 0) == float(alive)
    assert str(endpoint.connect_timeout_s and int(endpoint.connect_timeout_s)).lower() == one["connecttimeout"]
    assert endpoint.rekey == tuple(map(int, one["rekeylimit"].split()))
    assert {key: ",".join(endpoint.algorithms[key]) for key in ALGORITHMS} == {key: one[key] for key in ALGORITHMS}
    files = " ".join(map(str, endpoint.known_hosts_files)), " ".join(map(str, endpoint.global_known_hosts_files))
    assert files == tuple(one[key].removesuffix("none") for key in ("userknownhostsfile", "globalknownhostsfile"))
    assert len(endpoint.jumps) >= len([hop for hop in one.get("proxyjump", "").split(",") if hop])
    assert bool(endpoint.proxy_command) == (one.get("proxycommand", "none") != "none")


@pytest.mark.parametrize("case", GOOD, indirect=True)
async def test_what_is_known_without_ssh_is_right(case: Case) -> None:
    endpoint = await resolve_endpoint(case.target, case.options())
    found = {key: plain(getattr(endpoint, key)) for key in case.expect}
    assert found == case.expect
    for word in case.warns:
        assert word in " ".join(endpoint.warnings).lower()
    assert not (Path(case.options().config_file or "").parent / "ran").exists()


@pytest.mark.parametrize("case", GOOD, indirect=True)
async def test_without_openssh_it_is_the_same_or_said(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = as_dict(await resolve_endpoint(case.target, case.options()))
    without = as_dict(await without_openssh(case, monkeypatch))
    different = {key for key in with_it if with_it[key] != without[key]}
    listed = DIFFERENCES.get(case.name, {})
    assert different == set(listed), {key: (with_it[key], without[key]) for key in different}
    for words in listed.values():
        assert words
        assert words in " ".join(without["warnings"])


@pytest.mark.parametrize("case", BAD, indirect=True)
@pytest.mark.parametrize("openssh", [True, False], ids=["openssh", "fallback"])
async def test_an_error_has_its_place(case: Case, monkeypatch: pytest.MonkeyPatch, openssh: bool) -> None:
    printed, _ = printed_by_ssh(case.arguments)
    assert not printed
    with pytest.raises(SSHConfigError) as caught:
        await (resolve_endpoint(case.target, case.options()) if openssh else without_openssh(case, monkeypatch))
    said = caught.value.message.lower()
    assert [word for word in case.error or () if word not in said] == []
    assert caught.value.hint


@pytest.mark.parametrize("case", GOOD, indirect=True)
async def test_ssh_itself_looks_for_the_same_keys(case: Case) -> None:
    """`ssh -G` prints file names with their tokens; a verbose ssh says which files it takes."""
    arguments = for_ssh(case)
    if "-J" in arguments:  # which ssh does not take beside a ProxyCommand; keys have nothing to do with it
        place = arguments.index("-J")
        del arguments[place : place + 2]
    argv = ["ssh", "-v", "-oBatchMode=yes", "-oControlPath=none", "-oProxyCommand=false", *arguments]
    said = subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False
    ).stderr
    assert "debug1: Executing proxy command" in said
    endpoint = await resolve_endpoint(case.target, case.options())
    keys = [file for file in files_in(said, "identity file") if not file.endswith("-cert") and Path(file).exists()]
    assert [str(file) for file in endpoint.identity_files] == keys
    certificates = [file for file in files_in(said, "certificate file") if Path(file).exists()]
    assert [str(file) for file in endpoint.certificate_files] == certificates


def files_in(said: str, kind: str) -> list[str]:
    """The files of that kind that a verbose ssh says it takes."""
    return re.findall(rf"^debug1: {kind} (.*) type -?\d+$", said, re.MULTILINE)


@pytest.mark.parametrize("case", GOOD, indirect=True)
async def test_ways_are_those_that_ssh_would_go(case: Case) -> None:
    """Each hop is what `ssh -G` makes of it by itself, and a ProxyCommand has its tokens put in."""
    printed, _ = printed_by_ssh(for_ssh(case))
    one = {key: values[0] for key, values in printed.items()}
    tokens = {"h": one["hostname"], "p": one["port"], "r": one["user"], "n": case.target.rpartition("@")[2], "%": "%"}

    def expanded(text: str) -> str:
        return re.sub(r"%(.)", lambda found: tokens[found[1]], text)

    endpoint = await resolve_endpoint(case.target, case.options())
    if "proxycommand" in one and one["proxycommand"] != "none":
        assert endpoint.proxy_command == expanded(one["proxycommand"])
    hops = []
    for text in filter(None, expanded(one.get("proxyjump", "")).split(",")):
        found = re.fullmatch(r"(?:ssh://)?(?:(.+)@)?(?:\[(.+)\]|([^:]+))(?::(\d+))?", text)
        assert found, text
        user, six, name, port = found.groups()
        words = [*(["-l", user] if user else []), *(["-p", port] if port else []), six or name]
        values, complaint = printed_by_ssh(["-F", case.arguments[1], *words])
        assert values, complaint
        hops.append((values["hostname"][0], values["user"][0], int(values["port"][0])))
    ours = [(hop.host, hop.user, hop.port) for hop in endpoint.jumps]
    assert ours[len(ours) - len(hops) :] == hops  # before them may stand those that the first of them needs
