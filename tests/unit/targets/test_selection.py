"""Which targets are meant: names, lists and patterns."""

from __future__ import annotations

import pytest

from kirotunnel.errors import KirotunnelError, PatternUnmatchedError, TargetError, TargetListError
from kirotunnel.targets.selection import MAX_LIST, Selection, Word, is_pattern, read_list, select

ALIASES = ("prod-web1", "prod-web2", "prod-db", "dev", "Staging")


def selected(*texts: str) -> Selection:
    return select([Word(text) for text in texts], ALIASES)


@pytest.mark.parametrize(
    ("texts", "targets", "repeated"),
    [
        pytest.param(["a", "b"], ("a", "b"), (), id="names"),
        pytest.param(["b", "a", "b"], ("b", "a"), ("b",), id="twice"),
        pytest.param(["ssh://web", "web"], ("ssh://web",), ("ssh://web",), id="twice in two spellings"),
        pytest.param(["web", "me@web", "web:2222"], ("web", "me@web", "web:2222"), (), id="three that only look alike"),
        pytest.param(["prod-*"], ("prod-web1", "prod-web2", "prod-db"), (), id="star"),
        pytest.param(["prod-web?"], ("prod-web1", "prod-web2"), (), id="question mark"),
        pytest.param(["*"], ALIASES, (), id="all"),
        pytest.param(["prod-*,!*-db"], ("prod-web1", "prod-web2"), (), id="but not"),
        pytest.param(["dev*,prod-d*"], ("prod-db", "dev"), (), id="either"),
        pytest.param(["root@prod-d*"], ("root@prod-db",), (), id="as a user"),
        pytest.param(["prod-db", "prod-*"], ("prod-db", "prod-web1", "prod-web2"), ("prod-db",), id="name and pattern"),
        pytest.param(["*taging"], ("Staging",), (), id="case as written"),
        pytest.param(["unknown"], ("unknown",), (), id="a name need not be an alias"),
        pytest.param(["[::1]:22", "i-0123456789abcdef0"], ("[::1]:22", "i-0123456789abcdef0"), (), id="other forms"),
        pytest.param([], (), (), id="none"),
    ],
)
def test_what_is_selected(texts: list[str], targets: tuple[str, ...], repeated: tuple[str, ...]) -> None:
    assert selected(*texts) == Selection(targets, repeated)


@pytest.mark.parametrize(
    ("texts", "kind", "words"),
    [
        pytest.param(["ok", "a b"], TargetError, "'a b' is no target", id="no target"),
        pytest.param(["ok", ""], TargetError, "'' is no target", id="empty"),
        pytest.param(["ok", "test-*"], PatternUnmatchedError, "no host of the SSH config matches 'test-*'", id="none"),
        pytest.param(["staging*"], PatternUnmatchedError, "no host of the SSH config matches 'staging*'", id="case"),
        pytest.param(["!prod*"], PatternUnmatchedError, "matches '!prod*'", id="nothing but not"),
        pytest.param(["prod.web*"], PatternUnmatchedError, "matches 'prod.web*'", id="a dot is a dot"),
    ],
)
def test_nothing_is_selected_unless_all_can_be(texts: list[str], kind: type[KirotunnelError], words: str) -> None:
    with pytest.raises(kind) as raised:
        selected(*texts)
    assert words in raised.value.message


def test_a_pattern_that_is_nearly_right_gets_a_hint() -> None:
    with pytest.raises(PatternUnmatchedError) as raised:
        selected("staging*")
    assert raised.value.hint.startswith("did you mean Staging?")


def test_a_mistake_in_a_file_is_named_by_its_line() -> None:
    words = read_list(b"web1\n\nweb 2\n", "hosts.txt")
    with pytest.raises(TargetError, match=r"hosts\.txt, line 3: 'web 2' is no target"):
        select(words, ())
    with pytest.raises(PatternUnmatchedError, match=r"hosts\.txt, line 1: no host"):
        select(read_list(b"x-*", "hosts.txt"), ALIASES)


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"web1\nweb2\n", ["web1", "web2"]),
        (b"web1", ["web1"]),
        (b"\n# all\n  web1  # the first\n#web2\nweb#3\n", ["web1", "web#3"]),
        (b"\xef\xbb\xbfweb1\r\nweb2\r\n", ["web1", "web2"]),
        ("büro".encode(), ["büro"]),
    ],
)
def test_lists(data: bytes, texts: list[str]) -> None:
    assert [word.text for word in read_list(data, "f")] == texts


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "f lists no target"),
        (b"\n # nothing\n\n", "f lists no target"),
        (b"web1\nweb\xff\n", "f, line 2 is no text in UTF-8"),
        (b"x" * (MAX_LIST + 1), "f is too long for a list of targets"),
    ],
)
def test_lists_that_cannot_be_used(data: bytes, words: str) -> None:
    with pytest.raises(TargetListError) as raised:
        read_list(data, "f")
    assert words in raised.value.message


@pytest.mark.parametrize(("text", "yes"), [("web*", True), ("w?b", True), ("web", False), ("[::1]:22", False)])
def test_what_is_a_pattern(text: str, yes: bool) -> None:
    assert is_pattern(text) is yes
