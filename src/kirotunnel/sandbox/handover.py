"""How the browser gets from the last page back to the client: by a link, by a redirect or by a form."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from kirotunnel.sandbox.behaviour import HandOver
from kirotunnel.sandbox.templates import Look, hidden_inputs, page
from kirotunnel.sandbox.web import Response, redirect


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """The URL with these parameters added. Spaces become %20: not every loopback listener reads `+` as a space."""
    separator = "&" if urlsplit(url).query else "?"
    return f"{url}{separator}{urlencode(parameters, quote_via=quote)}"


def hand_over(how: HandOver, redirect_uri: str, parameters: Mapping[str, str], *, look: Look) -> Response:
    """Take the browser to the redirect URI with these parameters in the query."""
    if how == "redirect":
        return redirect(with_query(redirect_uri, parameters))
    if how == "form":
        return _form("get", redirect_uri, parameters, look)
    # A person's click on a link, since this is what makes browsers open silent connections to where it leads.
    return page(
        "hand-over-link",
        title="One more click",
        look=look,
        host=urlsplit(redirect_uri).netloc,
        url=with_query(redirect_uri, parameters),
    )


def form_post(redirect_uri: str, parameters: Mapping[str, str], *, look: Look) -> Response:
    """Take the browser to the redirect URI with these parameters in a form body (response_mode=form_post)."""
    return _form("post", redirect_uri, parameters, look)


def _form(method: str, redirect_uri: str, parameters: Mapping[str, str], look: Look) -> Response:
    action, _, query = redirect_uri.partition("?")
    # A form that is sent by GET replaces the query of its action, so what stands there becomes fields.
    kept = dict(parse_qsl(query, keep_blank_values=True)) if method == "get" else {}
    return page(
        "hand-over-form",
        title="One more click",
        look=look,
        form_targets=(redirect_uri,),
        host=urlsplit(redirect_uri).netloc,
        method=method,
        action=action if method == "get" else redirect_uri,
        hidden=hidden_inputs({**kept, **parameters}),
    )
