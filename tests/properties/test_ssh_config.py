"""Whatever stands in an SSH config, ssh and our reader without OpenSSH make the same of it, or both refuse it."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kirotunnel.errors import SSHConfigError
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint
from ssh_config.test_corpus import as_dict

NAMES = ("box", "web1", "web2", "box.example.com", "10.0.0.7", "Box")
USERS = ("ada", "grace", "root")

patterns = st.lists(
    st.sampled_from(
        ["box", "web?", "web*", "*", "!web1", "!box", "*.example.com", "10.0.0.*", "b*x", "Box", '"web1"', "w[e]b1"]
    ),
    min_size=1,
    max_size=3,
)
lists = st.lists(st.sampled_from(["box", "web*", "!web1", "*", "*.example.com", "BOX"]), min_size=1, max_size=3).map(
    ",".join
)
user_lists = st.lists(st.sampled_from([*USERS, "!ada", "*", "g*"]), min_size=1, max_size=2).map(",".join)
criterion = st.one_of(
    st.tuples(st.sampled_from(["", "!"]), st.sampled_from(["host", "originalhost"]), lists),
    st.tuples(st.sampled_from(["", "!"]), st.sampled_from(["user", "localuser"]), user_lists),
    st.tuples(st.sampled_from(["", "!"]), st.sampled_from(["final", "canonical"]), st.just("")),
    st.tuples(
        st.just(""),
        st.just("exec"),
        st.sampled_from(['"test %n = box"', '"test %r = ada"', '"test %h = web1"', "true", "false"]),
    ),
).map(lambda parts: f"{parts[0]}{parts[1]} {parts[2]}".strip())
matches = st.one_of(st.just("all"), st.lists(criterion, min_size=1, max_size=3).map(" ".join))
block = st.one_of(patterns.map(lambda found: "Host " + " ".join(found)), matches.map(lambda found: f"Match {found}"))
comment = st.sampled_from(["", "", "", " # why", "  "])
setting = st.one_of(
    st.sampled_from(NAMES).map(lambda name: f"HostName {name}"),
    st.just("HostName %h.example.com"),
    st.sampled_from(USERS).map(lambda name: f"User {name}"),
    st.integers(1, 65535).map(lambda port: f"Port {port}"),
    st.sampled_from(["ConnectTimeout 1m", "ConnectTimeout=5", "ServerAliveInterval 1h2m", "ServerAliveCountMax 4"]),
    st.sampled_from(
        ["HostKeyAlias some", 'HostKeyAlias "other"', "StrictHostKeyChecking accept-new", "IdentitiesOnly yes"]
    ),
    st.sampled_from(
        ["IdentityFile /keys/%n", "IdentityFile '/keys/a b'", "CertificateFile /keys/c", "IdentityAgent none"]
    ),
    st.sampled_from(["UserKnownHostsFile /k/one /k/two", "UserKnownHostsFile none", "GlobalKnownHostsFile /k/%h"]),
    st.sampled_from(
        ["ProxyJump hop1", "ProxyJump u@hop1:2200,hop2", "ProxyJump none", "ProxyCommand nc %h %p", "ProxyCommand none"]
    ),
    st.sampled_from(
        ["Ciphers ^aes256-ctr", "MACs -hmac-sha1*", "HostKeyAlgorithms +ssh-rsa", "BatchMode no", "LocalForward 1 a:2"]
    ),
    st.sampled_from(["Nonsense 1", "Port 22x", "User", "Port 1 2", 'User "open', "ConnectTimeout soon"]),
)
good_setting = setting.filter(
    lambda text: text not in {"Nonsense 1", "Port 22x", "User", "Port 1 2", 'User "open', "ConnectTimeout soon"}
)
good_line = st.tuples(st.one_of(block, good_setting, good_setting), comment).map("".join)
good_text = st.lists(good_line, max_size=9)
any_text = st.lists(st.one_of(block, setting), max_size=6)


def resolve(target: str, options: SSHOptions, *, openssh: bool) -> dict[str, Any] | None:
    """The endpoint's fields; None where it is refused."""

    async def work() -> dict[str, Any]:
        endpoint = await resolve_endpoint(target, options)
        # Whatever is done about the files is done to both alike, and there are none.
        return as_dict(dataclasses.replace(endpoint, warnings=()))

    try:
        if openssh:
            return asyncio.run(work())
        with patch.object(shutil, "which", lambda _: None):
            return asyncio.run(work())
    except SSHConfigError:
        return None


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated") / "config"


relaxed = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@relaxed
@given(lines=good_text, name=st.sampled_from(NAMES), user=st.sampled_from(["", "ada@"]))
def test_a_good_config_means_the_same_without_openssh(file: Path, lines: list[str], name: str, user: str) -> None:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = SSHOptions(config_file=str(file))
    assert resolve(user + name, options, openssh=False) == resolve(user + name, options, openssh=True)


@relaxed
@given(lines=any_text, name=st.sampled_from(NAMES))
def test_what_ssh_refuses_is_refused_without_openssh_as_well(file: Path, lines: list[str], name: str) -> None:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = SSHOptions(config_file=str(file))
    with_it = resolve(name, options, openssh=True)
    assert (resolve(name, options, openssh=False) is None) == (with_it is None)


@relaxed
@given(outer=block, inner=good_text, after=good_setting, name=st.sampled_from(NAMES))
def test_an_include_means_the_same_without_openssh(
    file: Path, outer: str, inner: list[str], after: str, name: str
) -> None:
    included = file.with_name("included")
    included.write_text("\n".join(inner) + "\n", encoding="utf-8")
    file.write_text(f"{outer}\nInclude {included}\n{after}\n", encoding="utf-8")
    options = SSHOptions(config_file=str(file))
    assert resolve(name, options, openssh=False) == resolve(name, options, openssh=True)


@relaxed
@given(text=st.text(max_size=60))
def test_no_text_is_an_exception_that_nobody_foresaw(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", errors="surrogateescape") if "\x00" not in text else file.write_text("")
    resolve("box", SSHOptions(config_file=str(file)), openssh=False)
