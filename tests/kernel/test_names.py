"""Keys of one event, and what of names is remembered."""

import msgspec
import pytest

from jilnode.kernel import names
from jilnode.kernel.names import KEY_BYTES_MAX, nth_key, valid_event, valid_key
from jilnode.kernel.registry import Registry
from jilnode.module import Command, Module


class Ask(msgspec.Struct, frozen=True):
    text: str


def test_keys_are_in_the_order_in_which_they_were_made():
    first = "ch-zug-01/0-000000000a"
    made = [first, *[nth_key(first, number) for number in range(1, 5_000)], "ch-zug-01/0-000000000b"]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(valid_key(key) for key in made)
    assert [made[1], made[15], made[16], made[256]] == [f"{first}-{end}" for end in ("1", "f", "g10", "h100")]


@pytest.mark.parametrize(
    "event", ["quiz.Question.asked", "quiz.question asked", "quiz.", "quiz.a\n", "quiz." + "a" * 124]
)
def test_an_event_has_a_name_that_every_node_takes(event):
    assert not valid_event(event)
    command = Command(Ask, event, lambda *arguments: None, lambda rows: None)
    with pytest.raises(ValueError, match="event"):
        Registry([Module("quiz", 1, commands=(command,))])


@pytest.mark.parametrize("name", ["", "Quiz", "quiz.show", "quiz show", "7quiz"])
def test_a_module_has_a_name_that_every_node_takes(name):
    with pytest.raises(ValueError, match="name of a module"):
        Registry([Module(name, 1)])


def test_no_long_text_is_remembered():
    """Callers choose what is asked about."""
    remembered = names._remembered.cache_info().currsize
    assert not valid_key("x" * (KEY_BYTES_MAX + 1))
    assert names._remembered.cache_info().currsize == remembered
    assert valid_key("x" * 64 + "/" + "remembered")
    assert names._remembered.cache_info().currsize == remembered + 1
