"""The robot does what a person at a browser does, says what it did, and goes nowhere else."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.robot import sign_in
from kirotunnel.sandbox.services import SignInServices
from kirotunnel.sandbox.web import Response, Route, WebServer, redirect
from sandbox.sign_in_client import CallbackListener, Pkce, portal_url


@asynccontextmanager
async def site(**pages: Response | Callable[[Request], Response]) -> AsyncIterator[str]:
    """A web site with these pages; gives its origin."""
    async with WebServer() as web:
        for name, page in pages.items():
            handler = page if callable(page) else lambda _, answer=page: answer
            web.add_routes(Route("site", name, method, f"/{name}", handler) for method in ("GET", "POST"))
        yield f"http://127.0.0.1:{web.port}"


def html(body: str) -> Response:
    return Response(200, (("Content-Type", "text/html; charset=utf-8"),), body.encode())


async def test_the_report_reads_like_what_a_person_did() -> None:
    async with SignInServices() as services:
        final = f"{services.public_url}/signin?auth_status=success"
        async with CallbackListener.open(final) as listener:
            redirect_uri = f"http://localhost:{listener.port}"
            report = await sign_in(portal_url(services.public_url, redirect_uri, Pkce()), method="idc")
    assert report.ok
    assert report.decided
    assert report.callback_status == 302
    assert report.outcome == "signed-in"
    base = final.partition("/signin")[0]
    assert report.steps == (
        f"page {base}/signin: Sign in to Kiro",
        "pressed «Your organization»",
        f"page {base}/signin/organization: Your organization",
        "pressed «Continue»",
        f"page {base}/signin/consent: Continue with IAM Identity Center?",
        "pressed «Allow»",
        f"page {base}/signin/decision: One more click",
        f"pressed «Continue to localhost:{listener.port}»",
        f"callback {redirect_uri}/signin/callback: answered 302",
        f"page {base}/signin: You are signed in",
    )


async def test_no_step_holds_a_code_or_a_state() -> None:
    async with (
        SignInServices() as services,
        CallbackListener.open(f"{services.public_url}/signin?auth_status=success") as listener,
    ):
        url = portal_url(services.public_url, f"http://localhost:{listener.port}", Pkce(), state="s3cr3tst8")
        report = await sign_in(url, method="google")
    told = " ".join(report.steps)
    assert listener.answer["code"] not in told
    assert "s3cr3tst8" not in told
    assert "?" not in told.replace("sign in?", "")


async def test_a_callback_that_nobody_answers_is_a_problem() -> None:
    async with CallbackListener.open("/") as listener:
        gone = listener.port
    async with SignInServices() as services:
        report = await sign_in(portal_url(services.public_url, f"http://localhost:{gone}", Pkce()), method="github")
    assert not report.ok
    assert report.decided
    assert report.callback_status is None
    assert report.problem == f"http://localhost:{gone}/oauth/callback did not answer"


async def test_a_last_page_that_is_gone_is_no_problem() -> None:
    async with CallbackListener.open("/") as closed:
        gone = closed.port
    async with SignInServices() as services, CallbackListener.open(f"http://127.0.0.1:{gone}/index.html") as listener:
        redirect_uri = f"http://localhost:{listener.port}"
        report = await sign_in(portal_url(services.public_url, redirect_uri, Pkce()), method="github")
    assert report.ok
    assert report.problem is None
    assert report.steps[-1].startswith(f"http://127.0.0.1:{gone}/index.html: no answer")


async def test_a_redirect_to_a_real_site_is_not_followed() -> None:
    elsewhere = "https://app.kiro.dev/signin?auth_status=success"
    async with SignInServices() as services, CallbackListener.open(elsewhere) as listener:
        redirect_uri = f"http://localhost:{listener.port}"
        report = await sign_in(portal_url(services.public_url, redirect_uri, Pkce()), method="github")
    assert report.ok
    assert report.steps[-1] == "not followed: https://app.kiro.dev/signin"


@pytest.mark.parametrize("outside", ["https://example.com/", "http://example.com/", "file:///etc/passwd", "https:"])
async def test_pages_that_lead_outside_are_a_problem(outside: str) -> None:
    async with site(start=redirect(outside), link=html(f'<a id="continue" href="{outside}">Go</a>')) as origin:
        for start in ("start", "link"):
            report = await sign_in(f"{origin}/{start}", method="google")
            assert not report.ok
            assert report.problem is not None
            assert "leads outside" in report.problem


async def test_an_address_that_is_none_is_a_problem() -> None:
    async with site(start=redirect("http://[")) as origin:
        report = await sign_in(f"{origin}/start", method="google")
    assert report.problem == "a page leads to an address that is none"


async def test_pages_that_go_round_end() -> None:
    async with site(start=redirect("/again"), again=redirect("/start")) as origin:
        report = await sign_in(f"{origin}/start", method="google")
    assert report.problem == "the pages lead round and round"


async def test_a_page_with_nothing_to_press_is_a_problem() -> None:
    async with SignInServices() as services:
        report = await sign_in(services.public_url, method="google")
    assert not report.ok
    assert report.outcome == "idle"
    assert report.problem == "there is nothing to press on «Nothing to sign in»"


async def test_a_server_that_does_not_answer_is_waited_for_only_so_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        report = await sign_in(f"http://127.0.0.1:{port}/", method="google", patience_s=0.05)
    assert report.problem == "the sign-in took too long"


async def test_forms_are_sent_as_a_browser_sends_them() -> None:
    sent: list[Request] = []

    def note(request: Request) -> Response:
        sent.append(request)
        return html('<p id="x" data-outcome="signed-in">')

    form = '<form method="{}" action="/note?old=1"><input name="a" value="&amp;1"><input type="hidden" name="b">'
    button = '<button id="allow" name="decision" value="allow"><b>A</b>llow</button></form>'
    async with site(
        get=html(form.format("get") + button), post=html(form.format("POST") + button), note=note
    ) as origin:
        for start in ("get", "post"):
            report = await sign_in(f"{origin}/{start}", method="google")
            assert report.ok
    assert (sent[0].method, sent[0].target) == ("GET", "/note?a=%261&b=&decision=allow")
    assert (sent[1].method, sent[1].target) == ("POST", "/note?old=1")
    assert sent[1].body == b"a=%261&b=&decision=allow"


async def test_it_can_ask_for_an_icon_on_a_connection_of_its_own_as_browsers_do() -> None:
    async with SignInServices() as services, CallbackListener.open(services.public_url) as listener:
        url = portal_url(services.public_url, f"http://localhost:{listener.port}", Pkce())
        report = await sign_in(url, method="google", asks_for_icon=True)
    assert report.ok
    assert [request.target.partition("?")[0] for request in listener.requests] == ["/favicon.ico", "/oauth/callback"]
    assert listener.connections == 2
    assert f"icon http://localhost:{listener.port}/favicon.ico: answered 302" in report.steps
