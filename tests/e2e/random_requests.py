"""Requests at random that are not the callback, for hypothesis: nearly right ones, wrong ones, and mere bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True)
class Right:
    """What the one allowed request is made of."""

    port: int
    path: str
    state: str

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def query(self) -> str:
        return f"code=guessed&state={self.state}"


def strays(right: Right) -> st.SearchStrategy[bytes]:
    """Requests that differ from the right one in one part at least."""
    return st.one_of(
        _wrong_parts(right).flatmap(lambda wrong: _request(right, wrong)),
        st.binary(max_size=200).filter(lambda data: not data.startswith(b"GET /")),
    )


def _wrong_parts(right: Right) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(["method", "path", "query", "host", "form"]), min_size=1, max_size=5)


@st.composite
def _request(draw: Callable[[st.SearchStrategy[str]], str], right: Right, wrong: frozenset[str]) -> bytes:
    method = draw(_METHODS) if "method" in wrong else "GET"
    path = draw(_paths(right)) if "path" in wrong else right.path
    query = draw(_queries(right)) if "query" in wrong else right.query
    hosts = draw(_hosts(right)) if "host" in wrong else f"Host: {right.host}\r\n"
    target = f"{path}?{query}"
    form = draw(_FORMS) if "form" in wrong else "{method} {target} HTTP/1.1\r\n{hosts}{more}\r\n"
    text = form.format(method=method, target=target, hosts=hosts, more=draw(_MORE), host=right.host)
    return text.encode("utf-8", "replace")


_WORD = st.text("abcxyz0189%&=+;#?/.\\:@[]{}|~é", max_size=12)
_METHODS = st.sampled_from(["HEAD", "POST", "PUT", "OPTIONS", "DELETE", "TRACE", "CONNECT", "get", "GETT", "PRI"])
_MORE = st.sampled_from(
    [
        "",
        "Connection: keep-alive\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Accept: */*\r\nSec-Purpose: prefetch\r\n",
        "Content-Length: 4\r\n",
        "X-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\n",
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
    ]
)
_FORMS = st.sampled_from(
    [
        "{method} http://{host}{target} HTTP/1.1\r\n{hosts}{more}\r\n",
        "{method} /{target} HTTP/1.1\r\n{hosts}{more}\r\n",
        "{method} {target}#fragment HTTP/1.1\r\n{hosts}{more}\r\n",
        "{method} {target} HTTP/1.1\r\n{hosts}{hosts}{more}\r\n",
        "{method} {target} HTTP/1.1\r\n{hosts}{more}",
        "{method} {target} HTTP/1.1\r\n{more}\r\n",
        "{method} {target} HTTP/1.0\r\n{more}\r\n",
        "{method} {target} HTTP/2.0\r\n{hosts}{more}\r\n",
        "{method} {target}\r\n\r\n",
        "{method}  {target} HTTP/1.1\r\n{hosts}{more}\r\n",
        " {method} {target} HTTP/1.1\r\n{hosts}{more}\r\n",
        "{method} {target} HTTP/1.1\r\n {hosts}{more}\r\n",
        "{method} {target} HTTP/1.1\r\n{hosts}Content-Length: 1\r\nContent-Length: 2\r\n{more}\r\nab",
        "{method} {target} HTTP/1.1\r\n{hosts}Transfer-Encoding: chunked\r\n{more}\r\nzz\r\n",
    ]
)


def _paths(right: Right) -> st.SearchStrategy[str]:
    near = [
        "/", "/favicon.ico", "/index.html", "/robots.txt", f"{right.path}/", f"{right.path}x", right.path.upper(),
        f"/.{right.path}", f"/x/..{right.path}", right.path.replace("c", "%63"), right.path[:-1], f"{right.path};a",
        f"\\{right.path}", "*",
    ]  # fmt: skip
    return st.sampled_from(near) | _WORD.map(lambda word: f"/{word}").filter(lambda path: not _is(path, right))


def _is(path: str, right: Right) -> bool:
    return path.partition("?")[0] == right.path


def _queries(right: Right) -> st.SearchStrategy[str]:
    state = right.state
    near = [
        "", "code=1", "state=", f"state={state[:-1]}", f"state={state}x", f"state={state.swapcase()}", f"State={state}",
        f"code=1&state={state[::-1]}", f"state={state}&state={state}", f"state={state}&state=x", f"state&state={state}",
        f"code=1;state={state}", f"state%3D{state}", f"state[]={state}", f"state={state}%00", f"state={state}+",
        f"code=1&code=2&state={state}", "error=access_denied", "login_option=google", f"code={state}",
        f"a=1&{'a=2&' * 70}state={state}",
    ]  # fmt: skip
    # swapcase leaves a state of digits as it is, and a palindrome reads the same from behind.
    wrong = [query for query in near if query not in {f"state={state}", f"code=1&state={state}"}]
    return st.sampled_from(wrong) | _WORD | _WORD.map(lambda word: f"code=1&state={word}")


def _hosts(right: Right) -> st.SearchStrategy[str]:
    near = [
        "localhost", "127.0.0.1", f"localhost:{right.port + 1}", f"localhost.:{right.port}", f"127.1:{right.port}",
        f"evil.example:{right.port}", f"localhost.evil.example:{right.port}", f"0.0.0.0:{right.port}",
        f"localhost:{right.port}@evil.example", f"user@localhost:{right.port}", f"localhost:0{right.port}", "",
        f"[::]:{right.port}", f"[::ffff:127.0.0.1]:{right.port}", f"2130706433:{right.port}", "[::1]", "::1",
    ]  # fmt: skip
    return st.sampled_from(near).map(lambda host: f"Host: {host}\r\n")
