"""Numbers out of text. Python's own `int` and `float` take more than anybody means: `1_0`, ` 1 `, full-width digits."""

import re
from decimal import Decimal

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII).fullmatch
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII).fullmatch
# Beyond it, Python refuses too, with an exception.
_DIGITS = 4_000


def parse_integer(text):
    """The integer that is written there: a sign and the digits 0 to 9, nothing else. `None` if it is none."""
    return int(text) if _INTEGER(text) and len(text) <= _DIGITS else None


def parse_decimal(text):
    """The `Decimal` that is written there: digits, a point, an exponent, nothing else. `None` if it is none."""
    return Decimal(text) if _DECIMAL(text) else None
