"""Keys of one event."""

from jilnode.kernel.names import nth_key, valid_key


def test_keys_are_in_the_order_in_which_they_were_made():
    first = "ch-zug-01/0-000000000a"
    made = [first, *[nth_key(first, number) for number in range(1, 5_000)], "ch-zug-01/0-000000000b"]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(valid_key(key) for key in made)
    assert [made[1], made[15], made[16], made[256]] == [f"{first}-{end}" for end in ("1", "f", "g10", "h100")]
