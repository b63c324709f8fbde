"""The page that asks a person to allow or deny, and what it sends back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.accounts import Account
from kirotunnel.sandbox.templates import Look, fragments, hidden_inputs, page
from kirotunnel.sandbox.web import BadRequestError, Response, form_of


@dataclass(frozen=True, slots=True)
class Decision:
    """What the person chose, for which request."""

    request: str
    allowed: bool


def consent_page(
    *,
    service: str,
    heading: str,
    question: str,
    granted: Iterable[str],
    account: Account,
    action: str,
    request: str,
    look: Look,
    form_targets: Iterable[str] = (),
) -> Response:
    """The page with the buttons `allow` and `deny`; `request` names what is decided and cannot be guessed."""
    return page(
        "consent",
        title=heading,
        look=look,
        form_targets=form_targets,
        service=service,
        heading=heading,
        initial=account.name[0],
        account_name=account.name,
        account_email=account.email,
        question=question,
        items=fragments("item", ({"text": text} for text in granted)),
        action=action,
        hidden=hidden_inputs({"request": request}),
        allow="Allow",
        deny="Deny",
    )


def decision_of(request: Request) -> Decision:
    """What the form of `consent_page` sent."""
    form = form_of(request)
    if form.get("decision") not in {"allow", "deny"}:
        raise BadRequestError("The decision is allow or deny")
    return Decision(form.get("request", ""), form["decision"] == "allow")
