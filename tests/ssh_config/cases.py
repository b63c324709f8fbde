"""The corpus: one file for each thing that people have in an SSH config, with a command line and what must come of it.

    ssh [OPTIONS] TARGET        the command line
    env NAME=VALUE              variables (any number)
    --- config                  the file for -F; other names are files beside it
    --- touch NAME              a file that exists (its name is the rest of the line, or several without spaces)
    --- expect                  fields of the Endpoint, known without asking ssh
    --- warns                   words that the warnings have
    --- error                   words that the message of the error has

`@DIR@` is the case's directory, <CR> and <TAB> are what they say.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kirotunnel.ssh.config import SSHOptions

CORPUS = Path(__file__).with_name("corpus")


@dataclass
class Case:
    name: str
    arguments: list[str]
    env: dict[str, str] = field(default_factory=dict)
    expect: dict[str, str] = field(default_factory=dict)
    warns: list[str] = field(default_factory=list)
    error: list[str] | None = None

    @property
    def target(self) -> str:
        return self.arguments[-1]

    def options(self) -> SSHOptions:
        """The command line as kirotunnel has it."""
        return SSHOptions.from_command_line(list(zip(self.arguments[:-1:2], self.arguments[1:-1:2], strict=True)))


def names() -> list[str]:
    return sorted(path.stem for path in CORPUS.glob("*.txt"))


def lay_out(name: str, directory: Path) -> Case:
    """Write the case's files into the directory, and give the rest of it."""
    text = (CORPUS / f"{name}.txt").read_text(encoding="utf-8")
    for sign, meant in (("@DIR@", str(directory)), ("<CR>", "\r"), ("<TAB>", "\t")):
        text = text.replace(sign, meant)
    head, *sections = text.split("\n--- ")
    command, *variables = head.splitlines()
    program, *arguments = shlex.split(command)
    assert program == "ssh"
    case = Case(name, ["-F", str(directory / "config"), *arguments])
    case.env = dict(line.removeprefix("env ").split("=", 1) for line in variables)
    for section in sections:
        title, _, body = section.partition("\n")
        lines = body.splitlines()
        if title.startswith("touch "):
            given = title.removeprefix("touch ")
            for file in [given] if "with space" in given else given.split():
                _write(directory / file, "")
        elif title == "expect":
            case.expect = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
        elif title == "warns":
            case.warns = lines
        elif title == "error":
            case.error = lines
        else:
            _write(directory / title, body if body.endswith("\n") or not body else body + "\n")
    return case


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


def plain(value: object) -> str:
    """A field of an Endpoint as the corpus writes it."""
    if isinstance(value, (tuple, frozenset)):
        texts = [plain(item) for item in value]
        if isinstance(value, frozenset):
            texts.sort(reverse=True)
        return ("|" if any(" " in text for text in texts) and len(texts) > 1 else " ").join(texts)
    if isinstance(value, Mapping):
        return " ".join(f"{key}={plain(item)}" for key, item in value.items())
    describe = getattr(value, "describe", None)
    return str(describe() if describe else value)
