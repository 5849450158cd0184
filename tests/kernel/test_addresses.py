"""What a node may say of where it is reached."""

import msgspec
import pytest

from jilnode.kernel.errors import Rejected
from jilnode.kernel.state import Context, State
from jilnode.kernel.system import ADDRESSES, PublishAddress, is_web_address
from jilnode.module import Command, Module
from tests.kit.node import TestNode, running


@pytest.mark.parametrize(
    "text",
    [
        "https://node.example",
        "http://127.0.0.1:8400",
        "https://[2001:db8::1]:8443/",
        "https://xn--zrich-kva.example./nodes/ch-zug-01",
        "http://jil_node_1:65535",
    ],
)
async def test_addresses_of_hosts_are_published(text):
    async with running(TestNode()) as (node,):
        await node.run(PublishAddress(text))
        assert await node.writer.query(lambda view: view[ADDRESSES].get(node.source).url) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node.example",
        "ftp://node.example",
        "https://",
        "https://[",
        "https://:8443",
        "https://node.example:65536",
        "https://node.example:",
        "https://node..example",
        "https://no de.example",
        "https://node.example\n",
        "https://node.example\x00",
        "https://me:secret@node.example",
        "https://node.example\\other.example",
        "https://node.example/?q",
        "https://node.example/#f",
        "https://zürich.example",
        "https://node.example/" + "a" * 500,
        "https://node.example:४४३",
    ],
)
async def test_what_is_no_address_is_not(text):
    assert not is_web_address(text)
    async with running(TestNode()) as (node,):
        with pytest.raises(Rejected, match="bad_request"):
            await node.run(PublishAddress(text))


class Ask(msgspec.Struct, frozen=True):
    owner: str


def _elsewhere(state: State, context: Context, command: Ask) -> None:
    raise Rejected("misdirected", "it is there", status=421, extra={"owner": command.owner})


MODULE = Module("asking", 1, tables=(), commands=(Command(Ask, "asking.ask.answered", _elsewhere, lambda rows: None),))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://other.example:8443", {"address": "https://other.example:8443"}),
        ("https://me@other.example", {}),
        ("javascript:alert(1)", {}),
    ],
)
async def test_whoever_is_misdirected_is_shown_what_is_an_address(monkeypatch, text, shown):
    """Another source may have published anything."""
    here, other = TestNode(modules=[MODULE]), TestNode("sg-mas-01")
    async with running(here, other):
        with monkeypatch.context() as lax:
            lax.setattr("jilnode.kernel.system.is_web_address", lambda text: True)
            await other.run(PublishAddress(text))
        await here.follow(other)
        with pytest.raises(Rejected) as refused:
            await here.run(Ask("sg-mas-01"))
    assert refused.value.extra == {"owner": "sg-mas-01", **shown}
