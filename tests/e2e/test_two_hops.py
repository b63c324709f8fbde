"""kirotunnel at both ends: on a remote machine it is the CLI at the far end of its own tunnel."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import kirotunnel as package
from e2e.conftest import Box, MakeBox
from e2e.harness import kirotunnel, robot
from e2e.test_login import LEGS, METHODS, PEOPLE, TYPES
from lab.servers import Server

IDC: Final = ("--start-url", "https://acme.awsapps.com/start", "--region", "us-east-1")
LIBRARY: Final = "/opt/kirotunnel/lib"
# What signing in needs of the environment that the tests run in; the remote has a Python and nothing else.
PACKAGES: Final = (
    "anyio", "backports", "certifi", "cffi", "click", "cryptography", "h11", "httpcore", "httpx", "idna",
    "importlib_metadata", "jaraco", "jeepney", "joserfc", "keyring", "lazy_importer", "more_itertools",
    "platformdirs", "psutil", "secretstorage", "socksio", "truststore", "zipp",
)  # fmt: skip


@pytest.fixture
def far(make_box: MakeBox, sshd: Server) -> Iterator[Box]:
    """A remote with kirotunnel installed as its users would have it."""
    box = make_box(sshd)
    library = box.remote.path(LIBRARY)
    half_written = shutil.ignore_patterns("*.pyc.*")  # by another Python, which gives it its name in a moment
    site = Path(sysconfig.get_paths()["purelib"])
    for name in PACKAGES:
        if (site / name).is_dir():
            shutil.copytree(site / name, library / name, dirs_exist_ok=True, ignore=half_written)
    for single in (*site.glob("_cffi_backend*"), site / "typing_extensions.py"):
        shutil.copy(single, library / single.name)
    here = Path(package.__file__).parent
    shutil.copytree(here, library / "kirotunnel", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    variables = {**box.services.cli_environment(), "PYTHONPATH": LIBRARY, "PYTHONDONTWRITEBYTECODE": "1"}
    exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    script = f'#!/bin/sh\n{exports}exec /usr/bin/python3 -m kirotunnel "$@"\n'
    box.remote.write(f"/home/{box.user}/.local/bin/kirotunnel", script, mode=0o755, owner=box.user)
    yield box
    # Installed and signed in, so these are no remains; whatever else is left is one.
    box.remote.run("rm -rf ~/.local/bin/kirotunnel ~/.local/share/kirotunnel", user=box.user)


def test_an_identity_provider_that_was_named_needs_no_portal(far: Box) -> None:
    where = far.services.where
    named = ("--issuer", where["issuer_url"], "--client-id", where["client_id"])
    run = kirotunnel(*far.arguments(*robot("external-idp"), "--cli", "kirotunnel", *named))
    assert run.code == 0, run.stderr
    assert run.named("signed_in")[0]["account"]["type"] == "external-idp"
    assert len(run.named("tunnel_opened")) == 1


def test_kiro_cli_takes_no_identity_provider_by_option(far: Box) -> None:
    run = kirotunnel(*far.arguments("--issuer", "https://idp.example.com", "--client-id", "x"))
    assert (run.code, run.failure) == (6, "KT403")


@pytest.mark.parametrize("method", METHODS)
def test_it_signs_itself_in_by_callback(far: Box, method: str) -> None:
    options = IDC if method == "idc" else ()
    run = kirotunnel(*far.arguments(*robot(method), "--cli", "kirotunnel", "--method", method, *options))
    assert run.code == 0, run.stderr
    account = run.named("signed_in")[0]["account"]
    assert (account["type"], account["email"]) == (TYPES.get(method, method), PEOPLE[method])
    assert len(run.named("callback_received")) <= LEGS[method]
    whoami = far.remote.run("~/.local/bin/kirotunnel whoami", user=far.user)
    assert PEOPLE[method] in whoami.stdout


@pytest.mark.parametrize("method", METHODS)
def test_it_signs_itself_in_by_one_time_code(far: Box, method: str) -> None:
    where = far.services.where
    named = {"idc": IDC, "external-idp": ("--issuer", where["issuer_url"], "--client-id", where["client_id"])}
    arguments = [*robot(method), "--cli", "kirotunnel", "--flow", "device", "--method", method]
    run = kirotunnel(*far.arguments(*arguments, *named.get(method, ())))
    assert run.code == 0, run.stderr
    account = run.named("signed_in")[0]["account"]
    assert (account["type"], account["email"]) == (TYPES.get(method, method), PEOPLE[method])
    assert run.named("device_code")


def test_it_is_asked_and_signed_out_there_by_its_own_word(far: Box) -> None:
    there = [far.alias, "-F", str(far.config), "--cli", "kirotunnel", "--json"]
    assert kirotunnel(*far.arguments(*robot("google"), "--cli", "kirotunnel")).code == 0
    run = kirotunnel("whoami", *there)
    assert (run.code, run.named("signed_in")[0]["account"]["email"]) == (0, "ada@example.com")
    run = kirotunnel("logout", *there)
    assert (run.code, run.named("signed_out")[0]["revoked"]) == (0, True)
    assert kirotunnel("whoami", *there).code == 1
