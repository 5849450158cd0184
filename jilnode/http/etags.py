"""ETags: ``"owner:epoch:sequence"`` of the entry that last changed a row."""

import re

from jilnode.kernel.errors import Rejected
from jilnode.kernel.image import Image

__all__ = ("ETAG_PATTERN", "etag_of", "expected", "unchanged")

ETAG_PATTERN = '^"([a-z0-9.-]{3,63}):([0-9]{1,18}):([0-9]{1,18})"$'

_ETAG = re.compile(ETAG_PATTERN.encode())


def etag_of(image: Image) -> bytes:
    return b'"%b:%d:%d"' % (image.owner.encode(), image.epoch, image.sequence)


def expected(if_match: bytes) -> tuple[str, int, int]:
    """What ``If-Match`` says. Raises ``Rejected`` (400) for anything but one strong ETag of ours."""
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Rejected("bad_request", "If-Match takes one ETag of this node.", status=400, field="/If-Match")
    return match.group(1).decode(), int(match.group(2)), int(match.group(3))


def unchanged(if_none_match: bytes | None, etag: bytes) -> bool:
    """``If-None-Match``: weak comparison, as the standard says for GET."""
    if if_none_match is None:
        return False
    given = [part.strip().removeprefix(b"W/") for part in if_none_match.split(b",")]
    return etag in given or given == [b"*"]
