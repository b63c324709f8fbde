"""What a remote may have opened here: the trust table about URLs, line by line."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import pytest

from kirotunnel.errors import (
    PortNotPermittedError,
    RedirectNotLoopbackError,
    SettingsError,
    UrlHostPrivateError,
    UrlRefusedError,
)
from kirotunnel.profiles.profile import load_profile
from kirotunnel.redaction import Secret
from kirotunnel.wire.redirect import (
    MAX_URL,
    RedirectUri,
    TrustedHost,
    UrlPolicy,
    check_url,
    has_loopback_redirect,
    is_private_host,
    matches_host,
    parse_authorization_url,
    parse_redirect_uri,
)

POLICY: Final = UrlPolicy(known_hosts=load_profile("kiro-cli").authorize_hosts)
SAID_BY_THE_DOCUMENTATION: Final = (
    "https://app.kiro.dev/signin?state=uXk2Qp3xV9&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeGXs5XzZxPG0yTn8dJM"
    "&code_challenge_method=S256&redirect_uri=http%3A%2F%2Flocalhost%3A49153&redirect_from=kirocli"
)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("file:///etc/passwd", "'file'"),
        ("javascript:alert(1)", "'javascript'"),
        ("JaVaScRiPt:alert(1)", "'JaVaScRiPt'"),
        ("data:text/html,<script>", "'data'"),
        ("vbscript:x", "'vbscript'"),
        ("ms-settings:", "'ms-settings'"),
        ("vscode://file/etc/passwd", "'vscode'"),
        ("ssh://app.kiro.dev", "'ssh'"),
        ("view-source:https://app.kiro.dev", "'view-source'"),
        ("httpss://app.kiro.dev", "'httpss'"),
        ("mailto:ada@example.com", "'mailto'"),
        ("x" * 40 + "://a.example", "'" + "x" * 32 + "'"),
    ],
)
def test_any_other_scheme_is_refused_and_named(url: str, scheme: str) -> None:
    with pytest.raises(UrlRefusedError) as refusal:
        check_url(url, POLICY)
    assert refusal.value.message == f"the remote asked to open a URL of the scheme {scheme}"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="nothing"),
        pytest.param("app.kiro.dev/signin", id="no scheme"),
        pytest.param("//app.kiro.dev/signin", id="no scheme, but a host"),
        pytest.param("-https://app.kiro.dev", id="leading hyphen"),
        pytest.param("--app=https://app.kiro.dev", id="an option"),
        pytest.param(" https://app.kiro.dev", id="leading space"),
        pytest.param("\thttps://app.kiro.dev", id="leading tab"),
        pytest.param("https://app.kiro.dev/a b", id="space"),
        pytest.param("https://app.kiro.dev/\n", id="line break at the end"),
        pytest.param("https://app.kiro.dev/\r\nX: y", id="line break"),
        pytest.param("ht\ntps://app.kiro.dev/", id="line break in the scheme"),
        pytest.param("https://app.kiro.dev/\x00", id="NUL"),
        pytest.param("https://app.kiro.dev/\x1b[2J", id="escape"),
        pytest.param("https://app.kiro.dev/\x7f", id="DEL"),
        pytest.param("https://app.kiro.dev/\x9b2J", id="C1"),
        pytest.param("https://app.kiro.dev/\u202egpj", id="bidirectional override"),
        pytest.param('https://app.kiro.dev/"', id="double quote"),
        pytest.param("https://app.kiro.dev/`id`", id="backtick"),
        pytest.param("https://app.kiro.dev/<x>", id="angle brackets"),
        pytest.param("https://app.kiro.dev/^", id="caret"),
        pytest.param("https:\\\\app.kiro.dev\\", id="backslashes for slashes"),
        pytest.param("https://evil.example\\@app.kiro.dev/", id="backslash before the user information"),
        pytest.param("https://app.kiro.dev\\.evil.example/", id="backslash in the host"),
        pytest.param("https://äpp.kiro.dev/", id="a name that is not ASCII"),
        pytest.param("https://app\u3002kiro\u3002dev/", id="ideographic full stops"),
        pytest.param("https://app.kiro.dev\u2100/", id="a character that becomes a slash"),
        pytest.param("https:app.kiro.dev", id="no slashes"),
        pytest.param("https:/app.kiro.dev", id="one slash"),
        pytest.param("https:///app.kiro.dev", id="three slashes"),
        pytest.param("https://", id="no host"),
        pytest.param("https://?x=app.kiro.dev", id="no host, a query"),
        pytest.param("https://ada@app.kiro.dev/", id="user"),
        pytest.param("https://app.kiro.dev:pw@evil.example/", id="user and password"),
        pytest.param("https://@app.kiro.dev/", id="empty user"),
        pytest.param("https://app.kiro.dev:0/", id="port 0"),
        pytest.param("https://app.kiro.dev:00000/", id="port 00000"),
        pytest.param("https://app.kiro.dev:abc/", id="port abc"),
        pytest.param("https://app.kiro.dev:-1/", id="port -1"),
        pytest.param("https://app.kiro.dev:+443/", id="port +443"),
        pytest.param("https://app.kiro.dev:65536/", id="port 65536"),
        pytest.param("https://app.kiro.dev:4433333/", id="a port of many digits"),
        pytest.param("https://app.kiro.dev:/", id="empty port"),
        pytest.param("https://app..kiro.dev/", id="empty label"),
        pytest.param("https://.app.kiro.dev/", id="empty first label"),
        pytest.param("https://app.kiro.dev../", id="two final dots"),
        pytest.param("https://app.kiro.dev%2f.evil.example/", id="percent-encoded slash in the host"),
        pytest.param("https://app%2Ekiro%2Edev/", id="percent-encoded dots in the host"),
        pytest.param("https://[v1.okta.com]/", id="an address of the future"),
        pytest.param("https://[2600::1", id="open bracket"),
        pytest.param("https://login.okta.com[2600::1]/", id="a name and an address"),
        pytest.param("https://[fe80::1%25eth0]/", id="an address with a zone"),
        pytest.param("https://[not-an-address]/", id="no address in the brackets"),
        pytest.param("https://login{x}.okta.com/", id="braces in the host"),
        pytest.param("https://app.kiro.dev/?" + "a" * MAX_URL, id="oversized"),
    ],
)
def test_what_is_no_plain_https_address_is_never_opened(url: str) -> None:
    with pytest.raises(UrlRefusedError) as refusal:
        check_url(url, POLICY.trusting("app.kiro.dev"))
    assert refusal.value.code == "KT607"
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "x.localhost", "127.0.0.1", "127.8.8.8", "0.0.0.0", "127.0.0.1.",
        "2130706433", "0x7f000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "0X7F.0.0.1", "1.2.3.4.5", "app.0x",
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "255.255.255.255",
        "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]",
        "[::ffff:100.64.0.1]", "[fe80::1]", "[fd00::1]", "[fc00::1]", "[fec0::1]", "[64:ff9b::7f00:1]",
        "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]", "[2001:db8::1]",
        "intranet", "router", "router.", "printer.local", "vault.internal", "nas.lan", "nas.home.arpa", "sso.corp",
        "sso.intranet", "sso.private", "metadata.google.internal", "SSO.Corp",
    ],
)  # fmt: skip
def test_this_machine_and_private_networks_are_refused(host: str) -> None:
    for url in (f"https://{host}/", f"http://{host}:8080/x"):
        with pytest.raises(UrlHostPrivateError) as refusal:
            check_url(url, POLICY)
        assert refusal.value.code == "KT608"


@pytest.mark.parametrize("host", ["8.8.8.8", "2600::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "app.kiro.dev", "a.b"])
def test_public_hosts_are_not_taken_for_private_ones(host: str) -> None:
    assert is_private_host(host) is False


@pytest.mark.parametrize("url", ["http://app.kiro.dev/", "HTTP://app.kiro.dev/", "http://app.kiro.dev:443/"])
def test_http_is_refused_even_on_a_known_host(url: str) -> None:
    with pytest.raises(UrlRefusedError) as refusal:
        check_url(url, POLICY)
    assert refusal.value.message == "the remote asked to open an http page on app.kiro.dev; only https is opened"


@pytest.mark.parametrize(
    ("url", "host", "port", "standing", "authority"),
    [
        ("https://app.kiro.dev/signin", "app.kiro.dev", 443, "known", "app.kiro.dev"),
        ("https://app.kiro.dev:443/signin", "app.kiro.dev", 443, "known", "app.kiro.dev"),
        ("HTTPS://APP.KIRO.DEV/signin", "app.kiro.dev", 443, "known", "app.kiro.dev"),
        ("https://app.kiro.dev./signin", "app.kiro.dev", 443, "known", "app.kiro.dev"),
        ("https://app.kiro.dev?x", "app.kiro.dev", 443, "known", "app.kiro.dev"),
        ("https://app.kiro.dev:8443/", "app.kiro.dev", 8443, "unknown", "app.kiro.dev:8443"),
        ("https://oidc.us-east-1.amazonaws.com/authorize", "oidc.us-east-1.amazonaws.com", 443, "known", None),
        ("https://dev-1.okta.com/", "dev-1.okta.com", 443, "known", None),
        ("https://login.microsoftonline.com/t/oauth2", "login.microsoftonline.com", 443, "known", None),
        ("https://evil.example/?https://app.kiro.dev", "evil.example", 443, "unknown", None),
        ("https://evil.example/app.kiro.dev", "evil.example", 443, "unknown", None),
        ("https://evil.example?@app.kiro.dev", "evil.example", 443, "unknown", None),
        ("https://evil.example#@app.kiro.dev", "evil.example", 443, "unknown", None),
        ("https://app.kiro.dev.evil.example/", "app.kiro.dev.evil.example", 443, "unknown", None),
        ("https://xapp.kiro.dev/", "xapp.kiro.dev", 443, "unknown", None),
        ("https://xn--pp-kiro-9ta.dev/", "xn--pp-kiro-9ta.dev", 443, "unknown", None),
        ("https://8.8.8.8/", "8.8.8.8", 443, "unknown", "8.8.8.8"),
        ("https://[2600::1]/", "2600::1", 443, "unknown", "[2600::1]"),
        ("https://[2600:0::0001]:8443/", "2600::1", 8443, "unknown", "[2600::1]:8443"),
    ],
)
def test_what_may_be_opened_has_a_standing(
    url: str, host: str, port: int, standing: str, authority: str | None
) -> None:
    checked = check_url(url, POLICY)
    assert (checked.host, checked.port, checked.standing) == (host, port, standing)
    assert checked.authority == (authority or host)
    assert checked.url == Secret(url)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("oidc.us-east-1.amazonaws.com", True),
        ("oidc.eu-central-1.amazonaws.com", True),
        ("oidc.evil.com.amazonaws.com.evil.example", False),
        ("oidc.evil.s3.amazonaws.com", False),
        ("oidc.evil.s3.us-east-1.amazonaws.com", False),
        ("oidc..amazonaws.com", False),
        ("oidc.amazonaws.com", False),
        ("evil-oidc.us-east-1.amazonaws.com", False),
        ("us-east-1.signin.aws", True),
        ("portal.us-east-1.signin.aws", True),
        ("signin.aws", False),
        (".signin.aws", False),
        ("a..signin.aws", False),
        ("d-1234567890.awsapps.com", True),
        ("evilawsapps.com", False),
        ("okta.com", False),
        ("appxkiro.dev", False),
    ],
)
def test_known_host_patterns(host: str, known: bool) -> None:
    assert matches_host(host, POLICY.known_hosts) is known


@pytest.mark.parametrize(
    ("trusted", "url", "standing"),
    [
        ("idp.corp", "https://idp.corp/authorize", "trusted"),
        ("idp.corp", "http://idp.corp/authorize", "trusted"),
        ("idp.corp", "http://idp.corp:8080/authorize", "trusted"),
        ("IdP.Corp.", "https://idp.corp/authorize", "trusted"),
        ("idp.corp:8443", "https://idp.corp:8443/", "trusted"),
        ("localhost:9000", "http://localhost:9000/signin", "trusted"),
        ("127.0.0.1", "http://127.0.0.1:4242/signin", "trusted"),
        ("[::1]:9000", "http://[::1]:9000/signin", "trusted"),
        ("[0:0:0::1]", "http://[::1]:9000/signin", "trusted"),
        ("evil.example", "https://idp.example/", "unknown"),
        ("example:443", "https://idp.example/", "unknown"),
    ],
)
def test_a_trusted_host_needs_no_other_reason(trusted: str, url: str, standing: str) -> None:
    policy = UrlPolicy(trusted=(TrustedHost.parse(trusted),))
    assert check_url(url, policy).standing == standing


@pytest.mark.parametrize(
    ("trusted", "url"),
    [
        ("idp.corp:8443", "https://idp.corp/"),
        ("idp.corp:443", "http://idp.corp/"),
        ("localhost:9000", "http://localhost:9001/"),
        ("localhost", "http://127.0.0.1/"),
        ("corp", "https://idp.corp/"),
    ],
)
def test_a_trusted_host_covers_only_itself_and_its_port(trusted: str, url: str) -> None:
    with pytest.raises(UrlHostPrivateError):
        check_url(url, UrlPolicy(trusted=(TrustedHost.parse(trusted),)))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "https://idp.corp", "idp.corp/path", "idp.corp?x", "idp.corp#x", "ada@idp.corp", "idp.corp:", "a b",
        "idp.corp:0", "idp.corp:99999", "idp.corp:abc", "::1", "[::1", "[::1]x", "*", "*.corp", "idp,other", "ïdp.corp",
        "idp\\corp", "[x]",
    ],
)  # fmt: skip
def test_a_trusted_host_must_be_a_host(text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        TrustedHost.parse(text)
    assert refusal.value.message == f"{text!r} is no host for --trust-url-host"


def authorize(redirect: str = "http://localhost:3128", state: str = "uXk2Qp3xV9", more: str = "") -> str:
    return f"https://app.kiro.dev/signin?state={state}&redirect_uri={quote(redirect, safe='')}{more}"


def test_the_documented_url_is_understood() -> None:
    url = parse_authorization_url(SAID_BY_THE_DOCUMENTATION, POLICY)
    assert url.redirect == RedirectUri("localhost", 49153, "")
    assert url.state == Secret("uXk2Qp3xV9")
    assert url.checked.standing == "known"
    assert url.form_post is False


def test_form_post_is_noticed() -> None:
    assert parse_authorization_url(authorize(more="&response_mode=form_post"), POLICY).form_post is True
    assert parse_authorization_url(authorize(more="&response_mode=query"), POLICY).form_post is False


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://app.kiro.dev/signin", "has no redirect_uri"),
        ("https://app.kiro.dev/signin?redirect_uri=&state=a", "has no redirect_uri"),
        (authorize(more="&redirect_uri=http%3A%2F%2Flocalhost%3A4649"), "has several redirect_uri"),
        (authorize(more="&redirect%5furi=http%3A%2F%2Flocalhost%3A4649"), "has several redirect_uri"),
        ("https://app.kiro.dev/signin?redirect_uri=http%3A%2F%2Flocalhost%3A3128", "has no state"),
        (authorize(state=""), "has no state"),
        (authorize(more="&state=other"), "has several state"),
        (authorize(more="&state="), "has several state"),
        (authorize("https://localhost:3128"), "redirect_uri leads to localhost, not to a loopback address over http"),
        (authorize("http://evil.example:3128"), "leads to evil.example"),
        (authorize("http://localhost.evil.example:3128"), "leads to localhost.evil.example"),
        (authorize("http://127.0.0.2:3128"), "leads to 127.0.0.2"),
        (authorize("http://192.168.1.2:3128"), "leads to 192.168.1.2"),
        (authorize("http://0.0.0.0:3128"), "leads to 0.0.0.0"),
        (authorize("http://2130706433:3128"), "leads to 2130706433"),
        (authorize("http://localhost@evil.example:3128"), "leads to evil.example"),
        (authorize("http://ada@localhost:3128"), "leads to localhost"),
        (authorize("http://[::2]:3128"), "leads to ::2"),
        (authorize("kiro://callback"), "leads to callback"),
        (authorize("urn:ietf:wg:oauth:2.0:oob"), "leads to no host"),
        (authorize("localhost:3128"), "leads to no host"),
        (authorize("http://localhost:abc"), "cannot be read"),
        (authorize("http://localhost:99999"), "cannot be read"),
        (authorize("http://[localhost:3128"), "cannot be read"),
        (authorize("http://local\nhost:3128"), "cannot be read"),
        (authorize("http://localhost:3128/\x1b[2J"), "cannot be read"),
    ],
)
def test_a_callback_that_is_not_surely_ours_is_refused(url: str, message: str) -> None:
    with pytest.raises(RedirectNotLoopbackError) as refusal:
        parse_authorization_url(url, POLICY)
    assert message in refusal.value.message
    assert refusal.value.code == "KT405"


@pytest.mark.parametrize(
    ("redirect", "port"),
    [
        ("http://localhost", 80),
        ("http://localhost:80/", 80),
        ("http://127.0.0.1:22", 22),
        ("http://[::1]:1023", 1023),
        ("http://localhost:0", 0),
    ],
)
def test_a_privileged_port_is_not_permitted(redirect: str, port: int) -> None:
    with pytest.raises(PortNotPermittedError) as refusal:
        parse_redirect_uri(redirect)
    assert refusal.value.message == f"the authorize URL's redirect_uri asks for local port {port}"


@pytest.mark.parametrize(
    ("redirect", "understood"),
    [
        ("http://localhost:3128", RedirectUri("localhost", 3128, "")),
        ("http://localhost:1024/", RedirectUri("localhost", 1024, "/")),
        ("http://LOCALHOST:65535/cb", RedirectUri("localhost", 65535, "/cb")),
        ("http://127.0.0.1:41733/oauth/callback", RedirectUri("127.0.0.1", 41733, "/oauth/callback")),
        ("http://[::1]:4649/oauth/callback?x=1", RedirectUri("::1", 4649, "/oauth/callback")),
    ],
)
def test_loopback_redirects_are_read(redirect: str, understood: RedirectUri) -> None:
    assert parse_redirect_uri(redirect) == understood


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        (SAID_BY_THE_DOCUMENTATION, True),
        ("https://app.kiro.dev/account/device?user_code=ABCD-EFGH", False),
        ("https://app.kiro.dev/?redirect_uri=", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_authorization_requests_are_told_from_other_pages(url: str, answer: bool) -> None:
    assert has_loopback_redirect(url) is answer


def test_no_secret_of_the_url_is_shown() -> None:
    url = parse_authorization_url(SAID_BY_THE_DOCUMENTATION, POLICY)
    assert "uXk2Qp3xV9" not in repr(url)
