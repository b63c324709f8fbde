"""Profiles of the user's own, at work: what they say is done, by `run` and by `login --cli`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.consenting_browser import request
from e2e.harness import finish, listening_here, start, wait_until
from e2e.running_command import IDP, Desk
from e2e.test_run import LISTEN

ACME = (
    LISTEN
    + """
from pathlib import Path
session = Path.home() / ".acme"
match sys.argv[1:]:
    case ["login"]:
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
        server.handle_request()
        session.write_text("ada@acme.example")
        print("Logged in as ada@acme.example")
    case ["logout"]:
        session.unlink(missing_ok=True)
    case ["whoami"]:
        print(f"You are {session.read_text()}." if session.exists() else "You are not logged in.")
    case ["--version"]:
        print("acme 3.1.4")
"""
)


@pytest.fixture
def folder(desk: Desk, tmp_path: Path) -> Path:
    desk.environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_STATE_HOME": str(tmp_path / "state")}
    made = tmp_path / "config" / "kirotunnel" / "profiles"
    made.mkdir(parents=True)
    return made


def test_the_hosts_of_a_profile_are_opened_without_asking(desk: Desk, folder: Path) -> None:
    desk.program("acme", ACME)
    (folder / "acme.toml").write_text(f'authorize_hosts = ["{IDP}"]\n')
    run = desk.run("acme", "login", options=())
    assert run.code == 0, run.stderr
    assert "Logged in as ada@acme.example" in run.stdout


def test_the_environment_is_as_the_profile_says(desk: Desk, folder: Path) -> None:
    (folder / "env.toml").write_text(
        'unset = ["DISPLAY", "HOME"]\nenvironment = { ACME = "it\'s $HOME" }\nopeners = ["acme-open"]\n'
    )
    run = desk.run("env", options=())
    variables = dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)
    assert variables["ACME"] == "it's $HOME"
    assert variables["BROWSER"].endswith("/bin/acme-open")
    assert {"DISPLAY", "HOME"}.isdisjoint(variables)
    assert "SSH_CONNECTION" in variables


def test_a_profile_may_want_a_terminal(desk: Desk, folder: Path) -> None:
    (folder / "tty.toml").write_text("terminal = true\n")
    assert desk.run("tty", options=()).stdout.startswith("/dev/pts/")
    assert "not a tty" in desk.run("tty", options=("-T",)).stdout


def test_once_it_says_so_a_command_that_runs_on_is_left_alone(desk: Desk, folder: Path) -> None:
    desk.program(
        "acme",
        LISTEN
        + """
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
server.handle_request()
print("Logged in as ada", flush=True)
print("port", server.server_port, flush=True)
sys.stdin.read()
""",
    )
    (folder / "acme.toml").write_text(f'authorize_hosts = ["{IDP}"]\nsuccess = "^Logged in as "\n')
    with desk.start("acme", options=()) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        port = next(int(line.split()[1]) for line in lines if line.startswith("port"))
        assert wait_until(lambda: not listening_here(port))  # though the server there still listens
        assert ("127.0.0.1", port) in desk.remote.listeners()
        _, err = process.communicate("", timeout=20)
    assert process.returncode == 0
    assert "acme on dev-box says that it is signed in" in err


def test_a_page_of_ours_comes_when_the_answer_takes_too_long(desk: Desk, folder: Path) -> None:
    desk.program(
        "acme",
        LISTEN
        + """
class Slow(Handler):
    def do_GET(self):
        time.sleep(3)
        super().do_GET()
server = http.server.HTTPServer(("127.0.0.1", 0), Slow)
subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
server.handle_request()
""",
    )
    (folder / "acme.toml").write_text(f'authorize_hosts = ["{IDP}"]\n[gate]\nanswer_timeout_s = 1\n')
    run = desk.run("acme", options=())
    assert run.code == 0, run.stderr
    assert "GOT /callback?code=the-code&state=s-1" in run.stdout
    assert wait_until(desk.visits)
    assert "still at work" in desk.visits()[0][2]


def test_with_one_callback_the_port_is_closed_behind_it(desk: Desk, folder: Path) -> None:
    desk.program(
        "acme",
        LISTEN
        + """
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
server.handle_request()
print("port", server.server_port, flush=True)
sys.stdin.read()
""",
    )
    (folder / "acme.toml").write_text(f'authorize_hosts = ["{IDP}"]\n[gate]\nseveral_callbacks = false\n')
    with desk.start("acme", options=()) as process:
        assert process.stdout is not None
        port = next(int(line.split()[1]) for line in iter(process.stdout.readline, "") if line.startswith("port"))
        assert wait_until(lambda: not listening_here(port))
        process.communicate("", timeout=20)


def test_what_a_listener_needs_beside_can_be_said(desk: Desk, folder: Path) -> None:
    """A CLI whose URL says that it wants a code, and which gets a token in the fragment all the same."""
    desk.program(
        "acme",
        LISTEN
        + """
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
print("port", server.server_port, flush=True)
server.handle_request()
server.handle_request()
""",
    )
    text = f'authorize_hosts = ["{IDP}"]\n[gate]\nfragment = true\nignore_state = true\n'
    (folder / "acme.toml").write_text(text)
    with desk.start("acme", options=("--no-browser",)) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[1])
        assert wait_until(lambda: listening_here(port))
        status, headers, _ = request("GET", f"http://localhost:{port}/callback")
        assert (status, "allow-scripts" in headers["content-security-policy"]) == (200, True)
        assert "allow-same-origin" not in headers["content-security-policy"]
        assert request("GET", f"http://localhost:{port}/taken?access_token=t")[0] == 200
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out.splitlines() == ["GOT /callback", "GOT /taken?access_token=t"]


def test_login_whoami_and_logout_work_for_a_cli_of_the_users_own(desk: Desk, folder: Path) -> None:
    desk.program("acme", ACME)
    (folder / "acme.toml").write_text(
        f'authorize_hosts = ["{IDP}"]\nlogin = ["login"]\nwhoami = ["whoami"]\nlogout = ["logout"]\n'
        "[account]\nemail = '^You are (\\S+@\\S+)\\.$'\nnobody = 'not logged in'\n"
    )
    common = [desk.alias, "-F", str(desk.config), "--cli", "acme", "--json"]
    environment = {**os.environ, **desk.environment}
    login = finish(start("login", *common, *desk.browser, env=environment))
    assert login.code == 0, login.stderr
    assert login.named("signed_in")[0]["account"]["email"] == "ada@acme.example"
    whoami = finish(start("whoami", *common, env=environment))
    assert (whoami.code, whoami.named("signed_in")[0]["account"]["email"]) == (0, "ada@acme.example")
    assert finish(start("logout", *common, env=environment)).code == 0
    assert finish(start("whoami", *common, env=environment)).code == 1


def test_a_profile_that_says_nothing_of_its_login_is_good_for_run_only(desk: Desk, folder: Path) -> None:
    (folder / "acme.toml").write_text('about = "x"\n')
    arguments = ["login", desk.alias, "-F", str(desk.config), "--cli", "acme", "--json"]
    run = finish(start(*arguments, env={**os.environ, **desk.environment}))
    assert (run.code, run.failure) == (3, "KT106")
    assert "kirotunnel run" in run.named("failed")[0]["hint"]


@pytest.mark.parametrize("options", [(), ("--profile", "acme")])
def test_a_mistake_in_a_profile_is_an_error_before_anything_is_connected(
    desk: Desk, folder: Path, options: tuple[str, ...]
) -> None:
    (folder / "acme.toml").write_text('about = "x"\n[gate]\nfragmnet = true\n')
    run = desk.run("true", options=options)
    assert run.code == 3
    assert f"error[KT106]: {folder}/acme.toml, line 3: gate.fragmnet is not known here" in run.stderr
    assert "did you mean fragment?" in run.stderr
    assert "Connecting" not in run.stderr


def test_a_profile_that_is_not_there_is_an_error(desk: Desk, folder: Path) -> None:
    run = desk.run("true", options=("--profile", "acme"))
    assert (run.code, "error[KT107]" in run.stderr) == (3, True)
