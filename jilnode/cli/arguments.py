"""What several commands ask of their arguments. ``argparse`` says what is wrong, and ends with 2."""

import argparse
from collections.abc import Callable

__all__ = ("whole_number",)


def whole_number(first: int, last: int | None = None) -> Callable[[str], int]:
    """From ``first`` on, up to ``last`` where there is one."""

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else first - 1
        if number < first or (last is not None and number > last):
            upward = "on" if last is None else f"to {last}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {first} {upward}")
        return number

    return parse
