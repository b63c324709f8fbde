"""Every error has a code, a title, an explanation, a hint, and the exit code of its family."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from typing import Final

import pytest

import kirotunnel
from kirotunnel.errors import KirotunnelError, all_errors

for _module in pkgutil.walk_packages(kirotunnel.__path__, "kirotunnel."):
    if not _module.name.endswith("__main__"):
        import_module(_module.name)  # some errors live next to what raises them

ERRORS: Final = list(all_errors().values())

# Promised, by the first digit of the code.
EXIT_CODES: Final = {"1": 3, "2": 4, "3": 5, "4": 6, "5": 7, "6": 8, "7": 9, "9": 70}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_an_error_says_all_that_a_person_needs(error: type[KirotunnelError]) -> None:
    assert re.fullmatch(r"KT[1-9][0-9][0-9]", error.code)
    assert error.exit_code == EXIT_CODES[error.code[2]]
    assert (error.__doc__ or "").strip()
    assert error.title
    assert error.title[0].isupper()
    assert not error.title.endswith(".")
    assert len(error.title) <= 60
    assert error.explanation.endswith(".")
    assert len(error.explanation) > 40
    assert error.default_hint
    assert not error.default_hint.endswith((".", "!"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_an_error_is_its_words_and_its_hint(error: type[KirotunnelError]) -> None:
    usual, special = error("it broke"), error("it broke", "mend it")
    assert (str(usual), usual.message, usual.hint) == ("it broke", "it broke", error.default_hint)
    assert (str(special), special.message, special.hint) == ("it broke", "it broke", "mend it")


def test_no_two_families_share_a_code() -> None:
    def own(cls: type[KirotunnelError]) -> list[tuple[str, str]]:
        here = [(cls.code, cls.__name__)] if "code" in vars(cls) and cls is not KirotunnelError else []
        return here + [pair for sub in cls.__subclasses__() for pair in own(sub)]

    pairs = own(KirotunnelError)
    codes = [code for code, _ in pairs]
    assert sorted(set(codes)) == sorted(codes), pairs


def test_the_table_is_in_order_and_holds_every_error() -> None:
    assert list(all_errors()) == sorted(all_errors())
    assert all(code == error.code for code, error in all_errors().items())


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("KT305", "Tunnel disconnected mid-authentication"),
        ("KT402", "Failed to bind callback port"),
        ("KT501", "Address already in use"),
        ("KT701", "Authentication timed out"),
    ],
)
def test_the_four_of_the_kiro_documentation_have_its_words(code: str, title: str) -> None:
    assert all_errors()[code].title == title


def test_what_was_never_given_a_code_counts_as_a_bug() -> None:
    assert (KirotunnelError.code, KirotunnelError.exit_code) == ("KT900", 70)
