"""What a node may say of where it is reached."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.kernel.system import ADDRESSES, PublishAddress, is_web_address
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
