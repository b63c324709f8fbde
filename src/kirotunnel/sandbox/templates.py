"""The pages that a browser is shown, made from the files in `pages/`: every value is escaped, no script runs."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Final, Literal
from urllib.parse import urlsplit

from kirotunnel.sandbox.web import Response

Look = Literal["portal", "aws", "idp"]
Tone = Literal["good", "bad"]

_PACKAGE: Final = "kirotunnel.sandbox"


@dataclass(frozen=True, slots=True)
class Fragment:
    """HTML that is put in as it is, because it was made here."""

    markup: str


Value = str | Fragment


def fragment(name: str, /, **values: Value) -> Fragment:
    """A piece of a page from its file."""
    return Fragment(_template(name).substitute({key: _escaped(value) for key, value in values.items()}))


def fragments(name: str, items: Iterable[Mapping[str, Value]]) -> Fragment:
    """The same piece once for each item."""
    return Fragment("".join(fragment(name, **item).markup for item in items))


def page(
    name: str,
    /,
    *,
    title: str,
    look: Look = "portal",
    status: int = 200,
    form_targets: Iterable[str] = (),
    **values: Value,
) -> Response:
    """A whole page. `form_targets` are the URLs other than ours that a form may lead to, also by a redirect."""
    style = _file("style.css")
    document = fragment("layout", title=title, look=look, style=Fragment(style), content=fragment(name, **values))
    headers = (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", _content_security_policy(style, form_targets)),
        ("Cache-Control", "no-store"),
        # The address of a page may hold a user code, that of the next one the callback.
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
    )
    return Response(status, headers, document.markup.encode())


def message(*, heading: str, text: str, tone: Tone, outcome: str, look: Look = "portal", status: int = 200) -> Response:
    """A page that ends something, for better or worse. `outcome` is for programs that read the page."""
    icon = fragment(f"icon-{tone}")
    return page(
        "message",
        title=heading,
        look=look,
        status=status,
        heading=heading,
        text=text,
        tone=tone,
        outcome=outcome,
        icon=icon,
    )


def refusal(text: str, *, look: Look = "portal", heading: str = "This sign-in cannot go on") -> Response:
    """The page for a request that is wrong in itself: the browser stays here (RFC 6749 §4.1.2.1)."""
    return message(heading=heading, text=text, tone="bad", outcome="refused", look=look, status=400)


def hidden_inputs(values: Mapping[str, str]) -> Fragment:
    """Form fields that the person does not see."""
    return fragments("hidden", ({"name": name, "value": value} for name, value in values.items()))


def _content_security_policy(style: str, form_targets: Iterable[str]) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    actions = " ".join(["'self'", *dict.fromkeys(source for url in form_targets for source in _sources(url))])
    policy = ("default-src 'none'", f"style-src 'sha256-{digest}'", f"form-action {actions}", "base-uri 'none'")
    return "; ".join((*policy, "frame-ancestors 'none'"))


def _sources(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    if parts.hostname in {"localhost", "127.0.0.1"}:
        # Chromium holds the answer to a form against form-action too, and kiro-cli's listeners answer by a redirect
        # to 127.0.0.1 where they were called localhost.
        return tuple(f"{parts.scheme}://{host}:{parts.port}" for host in ("localhost", "127.0.0.1"))
    # The grammar of CSP sources has no IPv6 literals (CSP3 §2.3.1): such a redirect needs the link, not the form.
    return () if "[" in parts.netloc else (f"{parts.scheme}://{parts.netloc}",)


def _escaped(value: Value) -> str:
    return value.markup if isinstance(value, Fragment) else html.escape(value)


@cache
def _template(name: str) -> Template:
    return Template(_file(f"{name}.html"))


@cache
def _file(name: str) -> str:
    return files(_PACKAGE).joinpath("pages", name).read_text(encoding="utf-8")
