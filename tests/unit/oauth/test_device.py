"""How often a one-time code is asked for (RFC 8628 §3.5), by a clock of the tests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.oauth.device import DeviceAuthorization, DevicePolling, Expired, PollAnswer, Refused, Wait
from kirotunnel.redaction import Secret


def authorization(*, interval: float = 5, expires: float = 600) -> DeviceAuthorization:
    return DeviceAuthorization(
        device_code=Secret("d3v1ce"),
        user_code="ABCD-EFGH",
        verification_uri="https://example.com/device",
        verification_uri_complete=None,
        expires_in_s=expires,
        interval_s=interval,
    )


def test_the_interval_is_kept_while_nobody_answers() -> None:
    polling = DevicePolling(authorization(), 0)
    assert polling.begin(0) == Wait(5)
    assert [polling.step("pending", now) for now in (5, 10, 15)] == [Wait(5)] * 3


def test_slow_down_adds_five_seconds_for_good() -> None:
    polling = DevicePolling(authorization(), 0)
    assert polling.step("slow_down", 5) == Wait(10)
    assert polling.step("pending", 15) == Wait(10)
    assert polling.step("slow_down", 25) == Wait(15)


def test_trouble_makes_the_pauses_longer_and_an_answer_ends_it() -> None:
    polling = DevicePolling(authorization(), 0)
    assert [polling.step("trouble", now) for now in (5, 15, 35)] == [Wait(10), Wait(20), Wait(30)]
    assert polling.step("pending", 65) == Wait(5)


def test_an_interval_of_nothing_is_a_second() -> None:
    assert DevicePolling(authorization(interval=0.001), 0).begin(0) == Wait(1)


def test_the_last_question_comes_at_the_very_end_and_is_the_last() -> None:
    polling = DevicePolling(authorization(expires=12), 0)
    assert polling.begin(0) == Wait(5)
    assert polling.step("pending", 5) == Wait(5)
    assert polling.step("pending", 10) == Wait(2)
    assert polling.step("pending", 12) == Expired()


@pytest.mark.parametrize(("answer", "step"), [("denied", Refused()), ("expired", Expired())])
def test_what_the_service_says_ends_it(answer: PollAnswer, step: object) -> None:
    assert DevicePolling(authorization(), 0).step(answer, 5) == step


@given(
    st.lists(st.sampled_from(["pending", "slow_down", "trouble"]), max_size=60),
    st.floats(0.1, 60),
    st.floats(1, 900),
)
def test_it_always_ends_and_never_asks_too_often(answers: list[PollAnswer], interval: float, expires: float) -> None:
    polling = DevicePolling(authorization(interval=interval, expires=expires), 0)
    now = polling.begin(0).seconds
    for answer in answers * 20:
        step = polling.step(answer, now)
        if not isinstance(step, Wait):
            assert now >= expires - 1e-6
            return
        assert step.seconds >= min(interval, 1) or now + step.seconds >= expires - 1e-6
        now += step.seconds


def test_the_page_with_the_code_in_it_is_preferred() -> None:
    assert authorization().page == "https://example.com/device"
