"""Keys of one event, and what of names is remembered."""

from jilnode.kernel import names
from jilnode.kernel.names import KEY_BYTES_MAX, nth_key, valid_key


def test_keys_are_in_the_order_in_which_they_were_made():
    first = "ch-zug-01/0-000000000a"
    made = [first, *[nth_key(first, number) for number in range(1, 5_000)], "ch-zug-01/0-000000000b"]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(valid_key(key) for key in made)
    assert [made[1], made[15], made[16], made[256]] == [f"{first}-{end}" for end in ("1", "f", "g10", "h100")]


def test_no_long_text_is_remembered():
    """Callers choose what is asked about."""
    remembered = names._remembered.cache_info().currsize
    assert not valid_key("x" * (KEY_BYTES_MAX + 1))
    assert names._remembered.cache_info().currsize == remembered
    assert valid_key("x" * 64 + "/" + "remembered")
    assert names._remembered.cache_info().currsize == remembered + 1
