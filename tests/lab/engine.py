"""A stand-in for a container engine, where the real one cannot run: the daemon behind `engine_client.py`.

Its containers are processes in network, mount and process namespaces of their own. What it is asked for otherwise than
its clients' documentation has it, it refuses and remembers: `complaints` must be empty in the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.containers import Contained
from lab.namespace import Namespace, kill_all
from lab.remote import RemoteMachine
from lab.setup_script import REPOSITORY, STANDIN_PYTHON

CLIENT: Final = Path(__file__).with_name("engine_client.py")
SOCKET: Final = "/run/engine.sock"
_PLAIN: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
# What is the container's own, and not this machine's.
_OWN: Final = ("/tmp", "/var/tmp", "/dev/shm", "/root", "/home", "/opt", "/run", "/var/log", "/usr/local/bin")


@dataclass
class Pod:
    """A pod of the stand-in cluster."""

    containers: tuple[str, ...]
    phase: str = "Running"
    default: str = ""


@dataclass
class Engine:
    """The daemon; `engine_on` starts it."""

    remote: RemoteMachine
    containers: dict[str, str] = field(default_factory=dict)
    """Name → state."""
    pods: dict[tuple[str, str], Pod] = field(default_factory=dict)
    """(namespace, name) → pod; the context's namespace is `default`."""
    complaints: list[str] = field(default_factory=list)
    contained: Contained | None = None
    namespace: Namespace | None = None
    no_shell: bool = False
    """As in an image with nothing but a program."""

    def client(self, *programs: str) -> None:
        """Install these programs on the remote."""
        for program in programs:
            self.remote.write(f"/usr/local/bin/{program}", f"#!{STANDIN_PYTHON}\n{CLIENT.read_text()}", mode=0o755)

    def stop(self, name: str) -> None:
        """Stop the container: everything in it is killed."""
        assert self.namespace is not None
        kill_all([self.namespace.init_pid])
        self.containers[name] = "exited"

    # --- what clients ask ----------------------------------------------------------------------------------------

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_one, args=(client,), daemon=True).start()

    def _serve_one(self, client: socket.socket) -> None:
        data, descriptors, _, _ = socket.recv_fds(client, 65536, 3)
        with client, contextlib.suppress(OSError):
            request = json.loads(data)
            code = self._answer(request, descriptors, client)
            client.sendall(json.dumps({"exit": code}).encode() + b"\n")

    def _answer(self, request: dict[str, Any], descriptors: list[int], client: socket.socket) -> int:
        stdin, stdout, stderr = descriptors
        given, namespace = request["arguments"], "default"
        if request["program"] == "kubectl" and given[3:4] == ["-n"]:  # after the pod's name, as its help has it
            namespace, given = given[4], [*given[:3], *given[5:]]
        try:
            match request["program"], given:
                case (("docker" | "nerdctl"), ["container", "inspect", "--format", template, name]):
                    return self._inspect(template, name, stdout, stderr)
                case (("docker" | "nerdctl"), ["ps", "--format", "{{.Names}}"]):
                    running = [name for name, state in self.containers.items() if state == "running"]
                    os.write(stdout, "".join(f"{name}\n" for name in running).encode())
                    return 0
                case (("docker" | "nerdctl"), ["exec", "-i" | "-it", name, *command]) if command and name[0] != "-":
                    if self.containers.get(name) != "running":
                        os.write(stderr, f"Error response from daemon: container {name} is not running\n".encode())
                        return 1
                    return self._exec(command, descriptors, client, request["size"])
                case "kubectl", ["get", "pod", name, timeout, "-o", template] if re.fullmatch(
                    "--request-timeout=[0-9]+s", timeout
                ):
                    return self._get_pod(template, name, namespace, stdout, stderr)
                case "kubectl", ["exec", "-i" | "-it", name, "-c", container, "--", *command]:
                    pod = self.pods.get((namespace, name))
                    if pod is None or container not in pod.containers:
                        os.write(stderr, f'Error from server (NotFound): pods "{name}" not found\n'.encode())
                        return 1
                    code = self._exec(command, descriptors, client, request["size"])
                    if code:
                        with contextlib.suppress(OSError):
                            os.write(stderr, f"command terminated with exit code {code}\n".encode())
                    return code
                case program, arguments:
                    self.complaints.append(f"{program} {arguments}")
                    os.write(stderr, b"unknown arguments\n")
                    return 64
        finally:
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)

    def _inspect(self, template: str, name: str, stdout: int, stderr: int) -> int:
        if name not in self.containers:
            os.write(stderr, f"Error response from daemon: No such container: {name}\n".encode())
            return 1
        os.write(stdout, template.replace("{{.State.Status}}", self.containers[name]).encode() + b"\n")
        return 0

    def _get_pod(self, template: str, name: str, namespace: str, stdout: int, stderr: int) -> int:
        pod = self.pods.get((namespace, name))
        if pod is None:
            os.write(stderr, f'Error from server (NotFound): pods "{name}" not found\n'.encode())
            return 1
        values = {
            ".status.phase": pod.phase,
            r".metadata.annotations.kubectl\.kubernetes\.io/default-container": pod.default,
            ".spec.containers[*].name": " ".join(pod.containers),
        }
        head, _, text = template.partition("=")
        assert head == "jsonpath"
        os.write(stdout, re.sub(r"\{([^}]*)\}", lambda found: values[found[1]], text).encode())
        return 0

    # --- processes inside ----------------------------------------------------------------------------------------

    def _exec(
        self, command: Sequence[str], descriptors: list[int], client: socket.socket, size: list[int] | None
    ) -> int:
        assert self.namespace is not None
        stdin, stdout, stderr = descriptors
        if self.no_shell:
            words = f'exec: "{command[0]}": stat {command[0]}: no such file or directory: unknown'
            os.write(stderr, f"OCI runtime exec failed: exec failed: {words}\n".encode())
            return 127
        argv = self.namespace.entered(command)
        if size is None:
            return subprocess.run(
                argv, stdin=stdin, stdout=stdout, stderr=stderr, env=_PLAIN, start_new_session=True, check=False
            ).returncode
        near, far = pty.openpty()
        _resize(near, size)
        inside = subprocess.Popen(
            # As runc does: a session of its own, with the terminal.
            ["setsid", "--ctty", "--wait", *argv], stdin=far, stdout=far, stderr=far, env={**_PLAIN, "TERM": "xterm"}
        )  # fmt: skip
        os.close(far)
        _pump(near, stdin, stdout, client)
        os.close(near)
        return inside.wait()


def _resize(terminal: int, size: Sequence[int]) -> None:
    columns, rows = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _pump(terminal: int, stdin: int, stdout: int, client: socket.socket) -> None:
    """Between the terminal and the client, until nobody has the terminal. A client that is gone is no end of it."""
    sources = {terminal, stdin, client.fileno()}
    while True:
        for source in select.select(sources, [], [])[0]:
            try:
                data = os.read(source, 65536)
            except OSError:
                data = b""
            if source == terminal:
                if not data:
                    return
                with contextlib.suppress(OSError):
                    os.write(stdout, data)
            elif not data:
                sources.discard(source)
            elif source == stdin:
                os.write(terminal, data)
            else:
                for line in data.splitlines():
                    _resize(terminal, json.loads(line)["size"])


@contextlib.contextmanager
def engine_on(remote: RemoteMachine) -> Iterator[Engine]:
    """An engine with one running container `web`, which is also the pod `prod/web-0`, reached from the remote."""
    setup = "\n".join(
        [
            *(
                f"mount -t tmpfs -o mode={'1777' if 'tmp' in path or 'shm' in path else '755'} lab {path}"
                for path in _OWN
            ),
            "mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 lab /dev/pts",
            f"[ ! -d {REPOSITORY} ] || mount -t tmpfs lab {REPOSITORY}",
        ]
    )
    namespace = Namespace(setup)
    path = remote.path(SOCKET)
    try:
        routed = namespace.run(["ip", "route", "add", "default", "via", namespace.host_address])
        assert routed.returncode == 0, routed.stderr
        engine = Engine(remote, {"web": "running", "db": "exited"}, namespace=namespace)
        engine.pods = {("prod", "web-0"): Pod(("app",)), ("default", "two"): Pod(("app", "side"))}
        engine.contained = Contained("web", namespace.init_pid)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen()
            server = threading.Thread(target=engine.serve, args=(listener,), daemon=True)
            server.start()
            yield engine
            listener.shutdown(socket.SHUT_RDWR)
            server.join(5)
        assert engine.complaints == []
    finally:
        path.unlink(missing_ok=True)
        namespace.close()
