"""Cursors: every key has its own, and nothing else is one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jilnode.kernel.errors import Rejected
from jilnode.kernel.names import valid_key
from services.wallet.pages import cursor_of, start_of

PARTS = st.text(string.ascii_letters + string.digits + "._~@:-", min_size=1, max_size=12)
KEYS = st.lists(PARTS, min_size=1, max_size=8).map("/".join)


@given(KEYS)
def test_a_page_goes_on_where_the_last_one_ended(key):
    cursor = cursor_of(key)
    assert start_of(cursor, 1) == key
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")


def test_there_is_a_first_page():
    assert start_of("", 1) is None


@pytest.mark.parametrize(
    "cursor",
    [
        "ch-zug-01~0-0000000004",
        "ch-zug-01/0-0000000004",
        " ",
        "é",
        "A",
        "AAAA",
        cursor_of("a//b"),
        cursor_of("a b"),
        cursor_of("a") + "=",
        cursor_of("a") + "\n",
        "YR",
        cursor_of("x" * 64 + "/y" * 97),
    ],
)
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(Rejected) as refusal:
        start_of(cursor, 1)
    assert (refusal.value.code, refusal.value.status, refusal.value.field) == ("bad_request", 400, "/after")


@pytest.mark.parametrize("limit", [0, 501])
def test_a_page_has_a_bound(limit):
    with pytest.raises(Rejected) as refusal:
        start_of("", limit)
    assert (refusal.value.code, refusal.value.status, refusal.value.field) == ("bad_request", 400, "/limit")


def test_the_longest_key_has_a_cursor():
    key = "/".join(["x" * 63] * 4)
    assert len(key) == 255
    assert valid_key(key)
    assert start_of(cursor_of(key), 1) == key
