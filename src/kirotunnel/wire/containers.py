"""Containers as a person names them, and what their engines say about them. No I/O.

Names are checked against what the engines themselves allow before they are put into a command: they pass through a
login shell that nobody knows.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from kirotunnel.errors import (
    ContainerAmbiguousError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerWithoutShellError,
    EngineNotAnsweringError,
    EngineNotFoundError,
    EngineNotPermittedError,
    TargetError,
)
from kirotunnel.wire.records import Record
from kirotunnel.wire.terminal import one_line

ENGINES: Final = ("docker", "podman", "nerdctl")
"""In the order in which they are asked; their `exec` and `container inspect` take the same arguments."""
MARK: Final = "kirotunnel:"
"""What our line of an engine's answer begins with: warnings may stand before and after it."""
INSPECT_FORMAT: Final = MARK + "{{.State.Status}}"
POD_FORMAT: Final = (
    f"jsonpath={MARK}{{.status.phase}}|"
    r"{.metadata.annotations.kubectl\.kubernetes\.io/default-container}|"
    "{.spec.containers[*].name}"
)
_SUDO: Final = ("sudo", "-n")
_MAX_NAME: Final = 253

# moby's names.RestrictedNamePattern; an ID fits as well. podman and nerdctl (containerd's identifiers) are alike.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# RFC 1123 labels and subdomains, as Kubernetes' apimachinery/pkg/util/validation has them.
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
# What no login shell reads otherwise than it stands: not `=` (zsh), `%` (fish), `~`, `#`, quotes, globs.
_SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9._/@+-]+")


@dataclass(frozen=True, slots=True)
class Container:
    """A container of docker, podman or nerdctl."""

    name: str
    engine: str | None = None
    """One of ENGINES, or its absolute path; None for the first that has the container."""
    sudo: bool = False
    """The engine is called through `sudo -n`."""

    def describe(self) -> str:
        """How messages call it."""
        return f"container {self.name}"

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines to ask, the first that has it being the one."""
        return (self.engine,) if self.engine else ENGINES

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words in front of the engine's."""
        return _SUDO if self.sudo else ()


@dataclass(frozen=True, slots=True)
class PodName:
    """One reading of what was given as a pod."""

    name: str
    namespace: str | None = None
    """None for the namespace of kubectl's context."""
    container: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The words that name it to `kubectl get pod`."""
        return (self.name, *(("-n", self.namespace) if self.namespace else ()))


@dataclass(frozen=True, slots=True)
class Pod:
    """A container of a Kubernetes pod, reached by kubectl."""

    text: str
    """As typed: [NS/]NAME[/CONTAINER]."""
    readings: tuple[PodName, ...]
    """What it may mean; the first that exists is meant."""
    engines: ClassVar = ("kubectl",)

    def describe(self) -> str:
        """How messages call it."""
        return f"pod {self.text}"


Inside = Container | Pod
"""What a login may run inside of."""


def by_hand(inside: Inside, port: int, ssh: Sequence[str] = ()) -> str:
    """What a person would type to bring that port here; `ssh`: how the host is reached, empty for this machine."""
    if isinstance(inside, Pod):
        reading = inside.readings[0]
        where = ("-n", reading.namespace) if reading.namespace else ()
        forward = ["kubectl", "port-forward", *where, f"pod/{reading.name}", f"{port}:{port}"]
        return shlex.join(["ssh", "-L", f"{port}:127.0.0.1:{port}", *ssh, *forward] if ssh else forward)
    engine = (*inside.prefix[:1], inside.engines[0])
    carry = [*engine, "exec", "-i", inside.name, "nc", "127.0.0.1", str(port)]
    command = shlex.join(["ssh", *ssh, *carry] if ssh else carry)
    return shlex.join(["socat", f"TCP4-LISTEN:{port},bind=127.0.0.1,fork", f"SYSTEM:{command}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How a running container is entered."""

    inside: Inside
    """With what was found out: the one engine that has it, the one reading of its name."""
    engine: str
    """`docker`, `podman`, `nerdctl` or `kubectl`."""
    name: str
    """The container as the engine has it: `web`, `prod/web/app`."""
    words: tuple[str, ...]
    """The command up to its `exec`."""
    which: tuple[str, ...]
    """And after the options: the container, and what separates it from the command."""

    def command(self, command: Sequence[str], *, terminal: bool = False) -> tuple[str, ...]:
        """The command on the host that runs this one inside."""
        return (*self.words, "exec", "-it" if terminal else "-i", *self.which, *command)


# --- what was typed --------------------------------------------------------------------------------------------------


def parse_container(name: str, engine: str | None = None) -> Container:
    """Read --container and --container-engine. Raises TargetError."""
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise TargetError(
            f"{one_line(name, 80)!r} is no name of a container", "`docker ps` shows the names in its last column"
        )
    words = (engine or "").split()
    sudo = words[:1] == ["sudo"]
    program = words[1:] if sudo else words
    path = program[0] if program else ""
    known = not program or (len(program) == 1 and _engine_of(path) in ENGINES)
    if not known or (sudo and not program):
        raise TargetError(
            f"{one_line(engine or '', 80)!r} is no container engine that is known here",
            f"give {', '.join(ENGINES)}, the absolute path of one of them, or 'sudo docker'",
        )
    return Container(name, path or None, sudo)


def _engine_of(path: str) -> str:
    """The engine's name of a word that is one, or its path."""
    return path.rpartition("/")[2] if _SAFE_PATH.fullmatch(path) else path


def parse_pod(text: str) -> Pod:
    """Read --pod [NS/]NAME[/CONTAINER]. Raises TargetError.

    `A/B` is the pod B of namespace A; where there is none, the container B of pod A.
    """
    match text.split("/"):
        case [name]:
            readings = [PodName(name)]
        case [first, second]:
            readings = [PodName(second, namespace=first), PodName(first, container=second)]
        case [namespace, name, container]:
            readings = [PodName(name, namespace=namespace or None, container=container)]
        case _:
            readings = []
    allowed = tuple(reading for reading in readings if _is_allowed(reading))
    if not allowed:
        raise TargetError(
            f"{one_line(text, 80)!r} is no name of a pod", "give it as [NAMESPACE/]NAME[/CONTAINER]: prod/web-0/app"
        )
    return Pod(text, allowed)


def _is_allowed(reading: PodName) -> bool:
    return (
        len(reading.name) <= _MAX_NAME
        and _SUBDOMAIN.fullmatch(reading.name) is not None
        and all(
            part is None or (len(part) <= 63 and _LABEL.fullmatch(part))
            for part in (reading.namespace, reading.container)
        )
    )


# --- what the engines answered ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one engine said of one name."""

    engine: str
    path: str
    index: int
    """Which of the names it was asked about."""
    code: int
    words: tuple[str, ...]

    @property
    def line(self) -> str | None:
        """Our line of its answer; None where it has none."""
        return next((line.partition(MARK)[2].strip() for line in self.words if self.code == 0 and MARK in line), None)

    @property
    def complaint(self) -> str:
        """Its last words, which are what matters in all four."""
        said = [line for line in self.words if line.strip()]
        return one_line(said[-1] if said else f"exit code {self.code}", 200)


def read_entry(inside: Inside, where: str, records: Sequence[Record]) -> Entry:
    """How to enter it, from what container.sh found. Raises TargetError and its kin (KT2xx)."""
    answers = _answers(records)
    names = [name for record in records if record.key == "names" for name in record.value.split()]
    if isinstance(inside, Pod):
        return _read_pod(inside, where, answers)
    return _read_container(inside, where, answers, names)


def _answers(records: Sequence[Record]) -> list[_Answer]:
    found: list[_Answer] = []
    words: list[str] = []
    for record in records:
        if record.key == "words":
            words.append(record.value)
        elif record.key == "answer":
            engine, index, code, path = (record.value.split(" ", 3) + [""] * 4)[:4]
            if engine in {*ENGINES, *Pod.engines}:  # it goes into messages and commands; no other was asked
                number = int(code) if _NUMBER.fullmatch(code) else 1
                place = int(index) if _NUMBER.fullmatch(index) else 0
                found.append(_Answer(engine, path, place, number, tuple(words)))
            words = []
    return found


def _program(answer: _Answer) -> str:
    # A path that a shell would read otherwise is left to its PATH.
    return answer.path if _SAFE_PATH.fullmatch(answer.path) else answer.engine


def _read_container(inside: Container, where: str, answers: list[_Answer], names: list[str]) -> Entry:
    what = f"{inside.describe()} on {where}"
    for answer in answers:
        if answer.line == "running":
            return Entry(
                inside=replace(inside, engine=_program(answer)),
                engine=answer.engine,
                name=inside.name,
                words=(*inside.prefix, _program(answer)),
                which=(inside.name,),
            )
    for answer in answers:
        if (state := answer.line) is not None:
            raise ContainerNotRunningError(
                f"{what} is not running: it is {one_line(state, 40)}", _start_hint(answer, inside)
            )
    if not answers:
        engines = ", ".join(inside.engines)
        raise EngineNotFoundError(f"{where} has none of {engines}" if "," in engines else f"{where} has no {engines}")
    raise _worst([_refusal(answer, where, what) for answer in answers], near=_near(inside.name, names))


def _start_hint(answer: _Answer, inside: Container) -> str:
    verb = "unpause" if answer.line == "paused" else "start"
    return f"`{' '.join((*inside.prefix[:1], answer.engine))} {verb} {inside.name}` there, and run the command again"


def _read_pod(inside: Pod, where: str, answers: list[_Answer]) -> Entry:
    if not answers:
        raise EngineNotFoundError(
            f"{where} has no kubectl",
            "install kubectl where it can reach the cluster; TARGET localhost uses this machine's own",
        )
    for answer in answers:
        if answer.line is not None and answer.index < len(inside.readings):
            reading = inside.readings[answer.index]
            phase, default, names = (part.strip() for part in [*answer.line.split("|", 2), "", ""][:3])
            present = [name for name in names.split() if _LABEL.fullmatch(name)]
            if reading.container is not None and reading.container not in present and len(inside.readings) > 1:
                continue
            return _enter_pod(inside, where, answer, reading, (phase, default, present))
    what = f"{inside.describe()} on {where}"
    raise _worst([_refusal(answer, where, what) for answer in answers])


def _enter_pod(inside: Pod, where: str, answer: _Answer, reading: PodName, said: tuple[str, str, list[str]]) -> Entry:
    phase, default, present = said
    what = f"pod {'/'.join(filter(None, (reading.namespace, reading.name)))} on {where}"
    full = "/".join((reading.namespace or "", reading.name))
    if phase != "Running":
        raise ContainerNotRunningError(
            f"{what} is not running: it is {one_line(phase, 40) or 'in an unknown phase'}",
            f"`kubectl describe pod {' '.join(reading.options)}` says why",
        )
    container = reading.container or (default if default in present else None)
    if container is None and len(present) == 1:
        container = present[0]
    if container is None:
        raise ContainerAmbiguousError(
            f"{what} has several containers: {one_line(', '.join(present), 200)}",
            f"name one: --pod {full}/{present[0] if present else 'CONTAINER'}",
        )
    if container not in present:
        raise ContainerNotFoundError(
            f"{what} has no container {container}, but {one_line(', '.join(present), 200)}",
            f"name one of these: --pod {full}/{present[0] if present else 'CONTAINER'}",
        )
    return Entry(
        inside=replace(inside, readings=(replace(reading, container=container),)),
        engine="kubectl",
        name=f"{full}/{container}".lstrip("/"),
        words=(_program(answer),),
        which=(*reading.options, "-c", container, "--"),
    )


# --- what went wrong -------------------------------------------------------------------------------------------------

_NOT_PERMITTED: Final = re.compile(
    r"permission denied|forbidden|password is required|not in the sudoers|may not run sudo|must be root|is not allowed"
    r"|operation not permitted|unauthorized|must be logged in",
    re.IGNORECASE,
)
_SUDO_REFUSES: Final = re.compile(r"password is required|not in the sudoers|may not run sudo", re.IGNORECASE)
_NOT_FOUND: Final = re.compile(
    r"no such container|no such object|no container with|container \S+ not found|\(NotFound\)|no such pod",
    re.IGNORECASE,
)
_NO_SHELL: Final = re.compile(r"/bin/sh.*(no such file|not found|permission denied|exec format error)", re.IGNORECASE)
_NOT_RUNNING: Final = re.compile(
    r"not running|is paused|has stopped|completed pod|container state improper|is stopped|is created", re.IGNORECASE
)
# Of several engines' refusals the one that most likely is the person's: the others are installed by the way.
_LIKELIEST: Final = (EngineNotPermittedError, ContainerNotFoundError, EngineNotAnsweringError)


def _refusal(answer: _Answer, where: str, what: str) -> TargetError:
    said = answer.complaint
    if _NOT_PERMITTED.search(said):
        return EngineNotPermittedError(
            f"{answer.engine} on {where} does not let us: {said}", _permission_hint(answer.engine, said)
        )
    if _NOT_FOUND.search(said):
        listing = "kubectl get pods --all-namespaces" if answer.engine == "kubectl" else f"{answer.engine} ps"
        return ContainerNotFoundError(f"{answer.engine} has no {what}", f"`{listing}` there shows what runs")
    return EngineNotAnsweringError(f"{answer.engine} on {where} does not answer: {said}", _answer_hint(answer.engine))


def _permission_hint(engine: str, said: str) -> str:
    if engine == "kubectl":
        return "`kubectl auth can-i create pods/exec` there must say yes: ask who runs the cluster"
    if _SUDO_REFUSES.search(said):
        return f"`sudo -n {engine} ps` there must work: have a rule with NOPASSWD put into its sudoers"
    group = "`sudo usermod -aG docker $USER` there, and log in anew" if engine == "docker" else "log in as its owner"
    return f"{group}; or give --container-engine 'sudo {engine}' where sudo asks for no password"


def _answer_hint(engine: str) -> str:
    if engine == "kubectl":
        return "`kubectl get pods` there must work: check its kubeconfig and context"
    return f"`{engine} ps` there must work: is its service started?"


def _worst(refusals: Sequence[TargetError], near: Sequence[str] = ()) -> TargetError:
    chosen = next(error for kind in _LIKELIEST for error in refusals if isinstance(error, kind))
    others = [error.message for error in refusals if error is not chosen and type(error) is not type(chosen)]
    hint = f"did you mean {' or '.join(near)}? {chosen.hint}" if near and _is_missing(chosen) else chosen.hint
    return type(chosen)("; ".join([chosen.message, *others]), hint)


def _is_missing(error: TargetError) -> bool:
    return isinstance(error, ContainerNotFoundError)


def _near(name: str, names: Sequence[str]) -> list[str]:
    import difflib  # only where something is missing

    known = [one for one in names if _NAME.fullmatch(one)]
    return difflib.get_close_matches(name, known, n=3, cutoff=0.6)


def not_entered(entry: Entry, where: str, code: int | None, said: str) -> TargetError:
    """Why a shell inside did not speak, from the words of the engine's `exec`."""
    what = f"{entry.inside.describe()} on {where}"
    words = one_line(said, 200) or ("it said nothing" if code is None else f"exit code {code}")
    if _NO_SHELL.search(said):
        return ContainerWithoutShellError(f"{what} has no /bin/sh: {words}")
    if _NOT_PERMITTED.search(said):
        return EngineNotPermittedError(
            f"{entry.engine} does not let us into {what}: {words}", _permission_hint(entry.engine, said)
        )
    if _NOT_RUNNING.search(said):
        return ContainerNotRunningError(f"{what} is not running: {words}")
    if _NOT_FOUND.search(said):
        return ContainerNotFoundError(f"{entry.engine} has no {what} any more: {words}")
    if code in {126, 127}:
        return ContainerWithoutShellError(f"{what} has no /bin/sh: {words}")
    return EngineNotAnsweringError(
        f"{entry.engine} does not run a shell in {what}: {words}", _answer_hint(entry.engine)
    )
