"""`kirotunnel run`: a command as under ssh -t, and the logins of CLIs of which nothing is known."""

from __future__ import annotations

from e2e.consenting_browser import request
from e2e.harness import listening_here, wait_until
from e2e.running_command import Desk

# A one-shot listener and its authorize URL, as most CLIs have them.
LISTEN = """
import http.server, os, socket, subprocess, sys, time
from urllib.parse import quote

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("GOT", self.path, flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"signed in, says the CLI")
        self.server.got = self.path
    def log_message(self, *args):
        pass

def one_shot(address="127.0.0.1", port=0):
    class Server(http.server.HTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = Server((address, port), Handler)
    server.got = None
    server.handle_request()
    return server.got

def authorize(port, state="s-1", more=""):
    redirect = quote(f"http://localhost:{port}/callback", safe="")
    return f"https://idp.example/authorize?response_type=code&client_id=x&redirect_uri={redirect}&state={state}{more}"
"""


def test_the_commands_output_and_exit_code_are_passed_on(desk: Desk) -> None:
    run = desk.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (run.code, run.stdout) == (7, "out\n")
    assert "err\n" in run.stderr


def test_several_words_are_the_command_to_the_letter(desk: Desk) -> None:
    run = desk.run("printf", "[%s]", "a b", "$HOME", "*", "it's", "")
    assert run.stdout == "[a b][$HOME][*][it's][]"


def test_one_word_is_a_line_for_the_shell_there(desk: Desk) -> None:
    assert desk.run("echo $HOME && exit 3").stdout == "/home/bash\n"
    assert desk.run("echo $HOME && exit 3").code == 3


def test_its_input_is_passed_on_to_its_end(desk: Desk) -> None:
    assert desk.run("wc", "-c", stdin="x" * 300_000).stdout.strip() == "300000"


def test_a_command_that_is_not_there_ends_with_127(desk: Desk) -> None:
    run = desk.run("no-such-cli", "login")
    assert run.code == 127
    assert "no-such-cli: command not found" in run.stderr


def test_a_cli_that_opens_its_page_gets_its_callback(desk: Desk) -> None:
    desk.program(
        "opens",
        LISTEN
        + """
import threading
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.got = None
subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
server.handle_request()
sys.exit(0 if "state=s-1" in server.got else 9)
""",
    )
    run = desk.run("opens")
    assert run.code == 0, run.stderr
    assert run.stdout == "GOT /callback?code=the-code&state=s-1\n"
    assert wait_until(desk.visits)  # the browser writes them down in its own time
    assert [visit[1:] for visit in desk.visits()] == [[200, "signed in, says the CLI"]]


def test_a_cli_that_only_prints_its_page_gets_its_callback(desk: Desk) -> None:
    desk.program(
        "prints",
        LISTEN
        + """
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.got = None
print("Open this page:", authorize(server.server_port))
server.handle_request()
""",
    )
    run = desk.run("prints")
    assert run.code == 0, run.stderr
    assert "GOT /callback?code=the-code&state=s-1\n" in run.stdout


def test_what_listens_on_ipv6_only_is_dialled_there(desk: Desk) -> None:
    desk.program(
        "six",
        LISTEN
        + """
class Six(http.server.HTTPServer):
    address_family = socket.AF_INET6
server = Six(("::1", 0), Handler)
subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
server.handle_request()
""",
    )
    run = desk.run("six")
    assert run.code == 0, run.stderr
    assert "GOT /callback" in run.stdout


def test_a_response_may_be_posted(desk: Desk) -> None:
    desk.program(
        "posted",
        LISTEN
        + """
class Poster(Handler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print("POSTED", self.headers["Content-Type"], body, flush=True)
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("0.0.0.0", 0), Poster)
subprocess.run(["xdg-open", authorize(server.server_port, more="&response_mode=form_post")], check=True)
server.handle_request()
""",
    )
    run = desk.run("posted")
    assert run.code == 0, run.stderr
    assert run.stdout == "POSTED application/x-www-form-urlencoded code=the-code&state=s-1\n"


def test_a_sign_in_may_begin_with_a_page_of_the_clis_own(desk: Desk) -> None:
    desk.program(
        "starts",
        LISTEN
        + """
class Starter(Handler):
    def do_GET(self):
        print("GOT", self.path, flush=True)
        if self.path.startswith("/auth"):
            self.send_response(307)
            redirect = quote(f"http://127.0.0.1:{port}/", safe="")
            self.send_header("Location", f"https://idp.example/authorize?redirect_uri={redirect}&state=s-1&response_type=code")
            self.end_headers()
        else:
            super().do_GET()
server = http.server.HTTPServer(("127.0.0.1", 0), Starter)
port = server.server_port
subprocess.run(["xdg-open", f"http://127.0.0.1:{port}/auth?state=s-1"], check=True)
server.handle_request()
server.handle_request()
""",
    )
    run = desk.run("starts")
    assert run.code == 0, run.stderr
    assert run.stdout.splitlines()[::2] == ["GOT /auth?state=s-1", "GOT /?code=the-code&state=s-1"]


def test_a_cli_may_sign_in_twice(desk: Desk) -> None:
    desk.program(
        "twice",
        LISTEN
        + """
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
for state in ("s-1", "s-2"):
    subprocess.run(["xdg-open", authorize(server.server_port, state)], check=True)
    server.handle_request()
""",
    )
    run = desk.run("twice")
    assert run.code == 0, run.stderr
    assert [line[-3:] for line in run.stdout.splitlines()] == ["s-1", "s-2"]
    assert wait_until(lambda: len(desk.visits()) == 2), desk.visits()


def test_a_cli_that_only_listens_gets_what_comes(desk: Desk) -> None:
    desk.program(
        "listens",
        LISTEN
        + """
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
subprocess.run(["xdg-open", "https://idp.example/cli-login"], check=True)
print("port", server.server_port, flush=True)
server.handle_request()
""",
    )
    process = desk.start("listens")
    assert process.stdout is not None
    port = int(process.stdout.readline().split()[1])
    assert wait_until(lambda: listening_here(port))
    status, _, body = request("GET", f"http://localhost:{port}/anything?token=t")
    assert (status, body) == (200, "signed in, says the CLI")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "GOT /anything?token=t\n"), err
