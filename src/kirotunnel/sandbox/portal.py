"""Kiro's sign-in portal: how do you want to sign in, do you allow it, and back to the command line."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlencode

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.accounts import SAMPLE_ACCOUNTS, SignInMethod
from kirotunnel.sandbox.behaviour import HandOver
from kirotunnel.sandbox.consent import consent_page, decision_of
from kirotunnel.sandbox.grants import Authorization, Grants, Shelf, is_code_challenge
from kirotunnel.sandbox.handover import hand_over
from kirotunnel.sandbox.templates import Fragment, fragment, message, page, refusal
from kirotunnel.sandbox.web import Response, Route, query_of, web_address

SERVICE: Final = "portal"
BUILDER_ID_START_URL: Final = "https://view.awsapps.com/start"
"""Builder ID has one start URL for everybody; kiro-cli tells Builder ID from IAM Identity Center by it."""
BUILDER_ID_REGION: Final = "us-east-1"
SAMPLE_START_URL: Final = "https://example.awsapps.com/start"
INVALID_REDIRECT_URI: Final = "Invalid redirect URI. Must be localhost or a subdomain of app.kiro.dev"
KIRO_CLIENT_ID: Final = "Kiro-CLI"

LoginOption = Literal["google", "github", "builderid", "awsidc", "external_idp"]
_METHODS: Final[dict[LoginOption, SignInMethod]] = {
    "google": "google",
    "github": "github",
    "builderid": "builder-id",
    "awsidc": "idc",
    "external_idp": "external-idp",
}
_TITLES: Final[dict[LoginOption, str]] = {
    "google": "Google",
    "github": "GitHub",
    "builderid": "AWS Builder ID",
    "awsidc": "IAM Identity Center",
    "external_idp": "your identity provider",
}
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]")
_GRANTED_SOCIAL: Final = ("know your name and e-mail address", "stay signed in until you sign out")
_GRANTED_SSO: Final = ("send you there to sign in; nothing is signed in yet",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalIdentityProvider:
    """What the portal tells the client about the organization's identity provider."""

    issuer_url: str
    client_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SignIn:
    """The parameters of one `/signin` request."""

    state: str
    code_challenge: str
    redirect_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """How the person wants to sign in."""

    sign_in: str
    option: LoginOption
    issuer_url: str = ""
    region: str = ""


class Portal:
    """The pages under `/signin`."""

    def __init__(self, grants: Grants, *, hand_over: HandOver, public_url: str, idp: ExternalIdentityProvider) -> None:
        self._grants = grants
        self._hand_over: HandOver = hand_over
        self._public_url = public_url
        self._idp = idp
        self._sign_ins: Shelf[_SignIn] = Shelf()
        self._choices: Shelf[_Choice] = Shelf()

    def routes(self) -> Iterable[Route]:
        """What is answered."""
        yield Route(SERVICE, _signin_operation, "GET", "/signin", self.sign_in)
        yield Route(SERVICE, "organization", "GET", "/signin/organization", self.organization)
        yield Route(SERVICE, "consent", "GET", "/signin/consent", self.consent)
        yield Route(SERVICE, "decision", "POST", "/signin/decision", self.decide)
        yield Route(SERVICE, "start page", "GET", "/", self.start_page)

    def failure(self, error: str) -> Response:
        """What this service answers when it fails: `error` is the HTTP status."""
        heading = "The portal has a problem"
        return message(heading=heading, text="Try again later.", tone="bad", outcome="refused", status=int(error))

    def start_page(self, request: Request) -> Response:
        """What a person sees who comes without a request."""
        del request
        return message(
            heading="Nothing to sign in",
            text="A command line opens the page that belongs here, with a request of its own.",
            tone="good",
            outcome="idle",
        )

    def sign_in(self, request: Request) -> Response:
        """The first page of a sign-in, or the last one."""
        query = query_of(request)
        if "auth_status" in query:
            return _final_page(query)
        if not _is_localhost(query.get("redirect_uri", "")):
            return refusal(INVALID_REDIRECT_URI)
        if query.get("code_challenge_method") != "S256" or not is_code_challenge(query.get("code_challenge", "")):
            return refusal("Invalid request. A code challenge by S256 is required.")
        if not query.get("state"):
            return refusal("Invalid request. The state is missing.")
        sign_in = secrets.token_urlsafe(16)
        kept = _SignIn(state=query["state"], code_challenge=query["code_challenge"], redirect_uri=query["redirect_uri"])
        self._sign_ins.put(sign_in, kept)
        return page(
            "signin",
            title="Sign in to Kiro",
            google=_consent_url(sign_in, "google"),
            github=_consent_url(sign_in, "github"),
            builder_id=_consent_url(sign_in, "builderid"),
            organization=f"/signin/organization?{urlencode({'request': sign_in})}",
        )

    def organization(self, request: Request) -> Response:
        """Which of the two ways an organization signs its people in."""
        sign_in = query_of(request).get("request", "")
        return self._organization_page(sign_in) if self._sign_ins.get(sign_in) else _gone()

    def consent(self, request: Request) -> Response:
        """Ask whether the command line may have what it asks for."""
        query = query_of(request)
        sign_in = self._sign_ins.get(query.get("request", ""))
        option = _login_option(query.get("login_option", ""))
        if sign_in is None or option is None:
            return _gone()
        if option == "awsidc" and (problem := _idc_problem(query)):
            return self._organization_page(
                query["request"], query.get("start_url", ""), query.get("region", ""), problem, status=400
            )
        choice = secrets.token_urlsafe(16)
        self._choices.put(choice, self._choice(query["request"], option, query))
        social = option in {"google", "github"}
        return consent_page(
            service="Kiro",
            heading="Allow Kiro CLI to sign in?" if social else f"Continue with {_TITLES[option]}?",
            question="Kiro CLI will be able to:" if social else "Kiro CLI will:",
            granted=_GRANTED_SOCIAL if social else _GRANTED_SSO,
            account=SAMPLE_ACCOUNTS[_METHODS[option]],
            action="/signin/decision",
            request=choice,
            look="portal",
            form_targets=(sign_in.redirect_uri, self._public_url),
        )

    def decide(self, request: Request) -> Response:
        """Send the browser back to the command line with the answer."""
        decision = decision_of(request)
        choice = self._choices.pop(decision.request)
        # One answer for each sign-in: the page of another method may still be open in a second tab.
        sign_in = self._sign_ins.pop(choice.sign_in) if choice else None
        if choice is None or sign_in is None:
            return _gone()
        path, answer = self._answer(sign_in, choice, allowed=decision.allowed)
        return hand_over(self._hand_over, f"{sign_in.redirect_uri}{path}", answer, look="portal")

    def _answer(self, sign_in: _SignIn, choice: _Choice, *, allowed: bool) -> tuple[str, dict[str, str]]:
        """The callback's path and its parameters, in the order in which the real portal sends them."""
        option = choice.option
        path = "/oauth/callback" if option in {"google", "github"} else "/signin/callback"
        if not allowed:
            denial = {"error": "access_denied", "error_description": "The user denied the request"}
            return path, {**denial, "login_option": option, "state": sign_in.state}
        if option in {"google", "github"}:
            answer = {"login_option": option, "code": self._code(sign_in, path, option)}
        elif option == "external_idp":
            answer = {
                "login_option": option,
                "issuer_url": self._idp.issuer_url,
                "client_id": self._idp.client_id,
                "scopes": " ".join(self._idp.scopes),
            }
        else:
            answer = {"login_option": option, "issuer_url": choice.issuer_url, "idc_region": choice.region}
        return path, {**answer, "state": sign_in.state}

    def _code(self, sign_in: _SignIn, path: str, option: LoginOption) -> str:
        return self._grants.issue_code(
            Authorization(method=_METHODS[option], client_id=KIRO_CLIENT_ID),
            # The client repeats it with the path and the login option, and nothing else of the query.
            redirect_uri=f"{sign_in.redirect_uri}{path}?login_option={option}",
            code_challenge=sign_in.code_challenge,
            generate=lambda: str(uuid.uuid4()),
        )

    def _choice(self, sign_in: str, option: LoginOption, query: Mapping[str, str]) -> _Choice:
        if option == "awsidc":
            return _Choice(
                sign_in=sign_in, option=option, issuer_url=query["start_url"].strip(), region=query["region"].strip()
            )
        if option == "builderid":
            return _Choice(sign_in=sign_in, option=option, issuer_url=BUILDER_ID_START_URL, region=BUILDER_ID_REGION)
        return _Choice(sign_in=sign_in, option=option)

    def _organization_page(
        self,
        sign_in: str,
        start_url: str = SAMPLE_START_URL,
        region: str = BUILDER_ID_REGION,
        problem: str = "",
        *,
        status: int = 200,
    ) -> Response:
        known = self._sign_ins.get(sign_in)
        return page(
            "organization",
            title="Your organization",
            status=status,
            consent="/signin/consent",
            request=sign_in,
            start_url=start_url,
            region=region,
            problem=fragment("problem", text=problem) if problem else Fragment(""),
            external_idp=_consent_url(sign_in, "external_idp"),
            back=_back_url(known) if known else "/",
        )


def _signin_operation(request: Request) -> str:
    status = query_of(request).get("auth_status")
    return "signin" if status is None else f"signed in: {'yes' if status == 'success' else 'no'}"


def _consent_url(sign_in: str, option: LoginOption) -> str:
    return f"/signin/consent?{urlencode({'request': sign_in, 'login_option': option})}"


def _back_url(sign_in: _SignIn) -> str:
    query = {
        "state": sign_in.state,
        "code_challenge": sign_in.code_challenge,
        "code_challenge_method": "S256",
        "redirect_uri": sign_in.redirect_uri,
    }
    return f"/signin?{urlencode(query)}"


def _login_option(text: str) -> LoginOption | None:
    return next((option for option in _METHODS if option == text), None)


def _is_localhost(redirect_uri: str) -> bool:
    """Whether it is `http://localhost:PORT` and nothing more: the portal adds the path itself."""
    found = re.fullmatch(r"http://localhost:([1-9][0-9]{3,4})", redirect_uri)
    return found is not None and 1024 <= int(found[1]) <= 65535


def _idc_problem(query: Mapping[str, str]) -> str:
    if web_address(query.get("start_url", "").strip()) is None:
        return "The start URL is a web address, such as https://example.awsapps.com/start"
    if not _REGION.fullmatch(query.get("region", "").strip()):
        return "The region is a name such as us-east-1"
    return ""


def _gone() -> Response:
    return refusal("This sign-in was answered already, or it is too old. Start it again from the command line.")


def _final_page(query: Mapping[str, str]) -> Response:
    if query["auth_status"] == "success":
        return message(
            heading="You are signed in",
            text="You can close this page and go back to the terminal.",
            tone="good",
            outcome="signed-in",
        )
    said = query.get("error_message", "").strip()[:300]
    text = said or "The command line could not sign you in. It says why."
    return message(heading="Nobody was signed in", text=text, tone="bad", outcome="denied")
