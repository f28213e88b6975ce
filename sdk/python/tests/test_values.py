"""Every value crosses in both directions."""

import random
import unittest
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

from sluice import ABSENT, Beyond, parse_decimal, parse_integer
from sluice._table import Slot
from sluice._values import TYPES, Misuse, decode, encode
from wit_world.imports.types import Blobs, Column, Strings

MOMENT = datetime(2026, 11, 23, 17, 1, 2, 345678)
TEXTS = ["", "a", "é€😀", "a\0b", "\0"]
VALUES = {
    "boolean": [True, False],
    "int64": [0, 1, -1, 2**63 - 1, -(2**63)],
    "uint64": [0, 2**64 - 1],
    "float32": [0.0, -0.0, 1.5, float("inf")],
    "float64": [0.1, -1e308, float("-inf")],
    "decimal": [Decimal("1.50"), Decimal("-0.0000001"), Decimal("1E+20"), Decimal("NaN"), Decimal("-Infinity"), 7],
    "bytes": [b"", b"\0\xff"],
    "date": [date.min, date.max, date(1970, 1, 1), date(1969, 12, 31), Beyond.LAST["date"], Beyond(5_000_000)],
    "time": [time(), time(23, 59, 59, 999_999), Beyond(86_400_000_000)],
    "timestamp": [MOMENT, datetime.min, datetime.max, Beyond.FIRST["timestamp"], Beyond(2**62)],
    "timestamptz": [MOMENT.replace(tzinfo=timezone.utc), MOMENT.replace(tzinfo=timezone(timedelta(hours=5))), Beyond.LAST["timestamptz"]],
    "uuid": [UUID(int=0), UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")],
    "object-id": [bytes(12), b"abcdefghijkl"],
}


class Values(unittest.TestCase):
    def crossing(self, word, values):
        slot = Slot(0, "c", word)
        state, data = encode(slot, tuple(values))
        self.assertIn(type(data.value), (list, bytes, Strings, Blobs), word)
        return decode(Column(0, state, data), word, len(values))

    def test_every_type_comes_back(self):
        numbers = random.Random(1)
        for word in TYPES:
            pool = VALUES.get(word, TEXTS)
            for nothings in ([], [None], [None, ABSENT]):
                for count in (0, 1, 2, 30):
                    values = numbers.choices(pool + nothings, k=count)
                    back = self.crossing(word, values)
                    self.assertEqual(repr([v if v is None or v is ABSENT else self.plain(v) for v in values]),
                                     repr([v if v is None or v is ABSENT else self.plain(v) for v in back]), word)

    def plain(self, value):
        if isinstance(value, datetime) and value.tzinfo:
            return value.astimezone(timezone.utc)
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    def test_a_decimal_that_is_not_touched_keeps_its_digits(self):
        slot = Slot(0, "c", "decimal")
        for text in ("007.10", "1E+3", "-0", "-NaN"):
            column = Column(0, *encode(Slot(0, "c", "text"), [text, text]))
            _, data = encode(slot, decode(column, "decimal", 2))
            self.assertEqual(data.value.data, f"{text}\0{text}")

    def test_a_wrong_value_is_said(self):
        for word, value, said in [
            ("int64", True, "column `c` is int64 and can't be set to bool"),
            ("int64", 2**63, "column `c` is int64: a number that was set has no room in it"),
            ("uint64", -1, "column `c` is uint64: a number that was set has no room in it"),
            ("int64", "1", "column `c` is int64 and can't be set to str"),
            ("text", 1, "column `c` is text and can't be set to int"),
            ("text", "\ud800", "column `c`: text that was set holds half a surrogate pair"),
            ("decimal", 0.1, "column `c` is decimal and can't be set to float"),
            ("float32", 1e300, "column `c` is float32: a number that was set has no room in it"),
            ("float64", 10**400, "column `c` is float64: a number that was set has no room in it"),
            ("date", MOMENT, "column `c` is date and can't be set to datetime"),
            ("timestamp", MOMENT.replace(tzinfo=timezone.utc), "column `c` is timestamp: a datetime that was set has a zone"),
            ("timestamptz", MOMENT, "column `c` is timestamptz: a datetime that was set has no zone"),
            ("object-id", b"short", "column `c` is object-id: that takes 12 bytes"),
        ]:
            with self.subTest(word=word, value=value), self.assertRaises(Misuse) as raised:
                encode(Slot(0, "c", word), [value])
            self.assertEqual(str(raised.exception), said)

    def test_numbers_are_read_as_everybody_means_them(self):
        for text, number in {"12": 12, "-0": 0, "+3": 3, "1_0": None, " 1": None, "１": None, "": None, "0x10": None, "1\n": None}.items():
            self.assertEqual(parse_integer(text), number, text)
        self.assertIsNone(parse_integer("9" * 10_000))
        for text in ("1.5", "-.5", "5.", "1e3"):
            self.assertEqual(parse_decimal(text), Decimal(text))
        for text in ("", ".", "NaN", "1_0", " 1", "１", "1e99999"):
            self.assertIsNone(parse_decimal(text), text)


if __name__ == "__main__":
    unittest.main()
