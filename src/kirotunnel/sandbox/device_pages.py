"""The pages of a device sign-in (RFC 8628 §3.3): confirm the code, then allow or deny."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.consent import consent_page, decision_of
from kirotunnel.sandbox.grants import DeviceAuthorization, DeviceCodes, Shelf
from kirotunnel.sandbox.templates import Fragment, Look, fragment, hidden_inputs, message, page, refusal
from kirotunnel.sandbox.web import Response, Route, query_of


class DevicePages:
    """The three pages under one path, for the device codes of one authorization server."""

    def __init__(self, devices: DeviceCodes, *, service: str, title: str, path: str, look: Look) -> None:
        self._devices = devices
        self._service = service
        self._title = title
        self._path = path
        self._look: Look = look
        self._asked: Shelf[DeviceAuthorization] = Shelf()

    def routes(self) -> Iterable[Route]:
        """What is answered."""
        yield Route(self._service, "device page", "GET", self._path, self.show)
        yield Route(self._service, "device code confirmed", "GET", f"{self._path}/confirm", self.confirm)
        yield Route(self._service, "device decision", "POST", f"{self._path}/decision", self.decide)

    def show(self, request: Request) -> Response:
        """The code that the client displays, to be compared or typed."""
        return self._code_page(query_of(request).get("user_code", ""))

    def confirm(self, request: Request) -> Response:
        """Who asks for what, once the code is right."""
        user_code = query_of(request).get("user_code", "")
        device = self._devices.waiting(user_code)
        if device is None:
            return self._code_page(user_code, problem="This code is unknown, was used, or has expired", status=400)
        asked = secrets.token_urlsafe(16)
        self._asked.put(asked, device)
        return consent_page(
            service=self._title,
            heading=f"Allow {device.client_name} to sign in?",
            question=f"{device.client_name} asked for this with the code {device.user_code}. It will be able to:",
            granted=("know your name and e-mail address", "stay signed in until you sign out"),
            account=device.account,
            action=f"{self._path}/decision",
            request=asked,
            look=self._look,
        )

    def decide(self, request: Request) -> Response:
        """Keep the decision; the client learns it with its next poll."""
        decision = decision_of(request)
        asked = self._asked.pop(decision.request)
        device = asked and self._devices.waiting(asked.user_code)
        if device is None:
            return refusal("This code was answered already, or it has expired.", look=self._look)
        self._devices.decide(device, allowed=decision.allowed)
        if decision.allowed:
            return message(
                heading="You are signed in",
                text="The terminal goes on by itself. You can close this page.",
                tone="good",
                outcome="signed-in",
                look=self._look,
            )
        return message(
            heading="Nobody was signed in",
            text="You denied the request. You can close this page.",
            tone="bad",
            outcome="denied",
            look=self._look,
        )

    def _code_page(self, user_code: str, *, problem: str = "", status: int = 200) -> Response:
        return page(
            "device",
            title="Confirm the code",
            look=self._look,
            status=status,
            service=self._title,
            action=f"{self._path}/confirm",
            hidden=hidden_inputs({}),
            user_code=user_code[:16],
            problem=fragment("problem", text=problem) if problem else Fragment(""),
        )
