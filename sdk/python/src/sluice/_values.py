"""Values between the contract's columns and Python: decoding what came in, encoding what goes out, a column at a time.

A column of 1,000 values is worked on by what C code does in one call wherever that can be had: a step of Python for each value costs
ten times as much."""

import struct
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import accumulate
from uuid import UUID

from wit_world.imports import types as wit


class _Absent:
    """What the log did not carry."""

    __slots__ = ()

    def __repr__(self):
        return "ABSENT"

    def __bool__(self):
        return False

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


ABSENT = _Absent()
"""The log did not carry the value. NOT None (which is null): the target keeps what it has."""


class _Unset:
    __slots__ = ()

    def __repr__(self):
        return "not set"

    def __bool__(self):
        return False


UNSET = _Unset()
"""A column that was added and not set yet."""


class Beyond(int):
    """A date, time or moment that Python's `datetime` has no room for: the number of the contract (days, or microseconds, since 1970 or
    midnight). `Beyond.LAST` and `Beyond.FIRST` are infinity and -infinity where a type has them."""

    __slots__ = ()

    def __repr__(self):
        return f"Beyond({int(self)})"


class Misuse(Exception):
    """The plugin did what it may not: the batch fails with words."""


def _wrong(slot, value):
    if value is UNSET:
        return Misuse(f"column `{slot.name}` got another type but no value")
    return Misuse(f"column `{slot.name}` is {slot.type} and can't be set to {type(value).__name__}")


def _checked(slot, values, *allowed):
    """Complains unless every value is exactly of such a type."""
    found = set(map(type, values))
    if not found.issubset(allowed):
        raise _wrong(slot, next(value for value in values if type(value) not in allowed))


def _ranged(slot, values, least, most):
    _checked(slot, values, int, Beyond)
    if values and (min(values) < least or max(values) > most):
        raise Misuse(f"column `{slot.name}` is {slot.type}: a number that was set has no room in it")
    return values


# Text: whatever travels as text.

def _split(strings, rows):
    data, ends = strings.data, strings.offsets
    if not ends:
        return data.split("\0") if rows else []
    if data.isascii():
        return [data[start:end] for start, end in zip(ends, ends[1:])]
    data = data.encode()
    return [data[start:end].decode() for start, end in zip(ends, ends[1:])]


def _join(slot, values):
    try:
        data = "\0".join(values)
    except TypeError:
        raise _wrong(slot, next(value for value in values if not isinstance(value, str))) from None
    try:
        if data.count("\0") == len(values) - 1:
            if not data.isascii():
                data.encode()
            return wit.ColumnData_Strings(wit.Strings([], data))
        ends = list(accumulate((len(value.encode()) for value in values), initial=0))
        return wit.ColumnData_Strings(wit.Strings(ends, "".join(values)))
    except UnicodeEncodeError:
        raise Misuse(f"column `{slot.name}`: text that was set holds half a surrogate pair") from None


# Decimals keep the digits that they came with, unless they are set anew.

class _Digits(Decimal):
    """A decimal that knows how it was written."""

    __slots__ = ("text",)

    def __new__(cls, text):
        digits = Decimal.__new__(cls, text)
        digits.text = text
        return digits


def _from_decimals(slot, values):
    texts = []
    for value in values:
        kind = type(value)
        if kind is _Digits:
            texts.append(value.text)
        elif kind is int:
            texts.append(str(value))
        elif kind is not Decimal:
            raise _wrong(slot, value)
        elif value.is_finite():
            texts.append(format(value, "f"))
        elif value.is_nan():
            texts.append("NaN")
        else:
            texts.append("Infinity" if value > 0 else "-Infinity")
    return _join(slot, texts)


# Bytes and uuids.

def _slices(blobs, rows):
    data, ends = blobs.data, blobs.offsets
    return [data[start:end] for start, end in zip(ends, ends[1:])]


def _from_bytes(slot, values):
    _checked(slot, values, bytes, bytearray, memoryview)
    return wit.ColumnData_Blobs(wit.Blobs(list(accumulate(map(len, values), initial=0)), b"".join(values)))


def _from_object_ids(slot, values):
    _checked(slot, values, bytes)
    if any(len(value) != 12 for value in values):
        raise Misuse(f"column `{slot.name}` is object-id: that takes 12 bytes")
    return _from_bytes(slot, values)


def _uuids(data, rows):
    return [UUID(bytes=data[at:at + 16]) for at in range(0, rows * 16, 16)]


def _from_uuids(slot, values):
    _checked(slot, values, UUID)
    return wit.ColumnData_Uuids(b"".join([value.bytes for value in values]))


# Dates, times and moments.

_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAYS = (date.min.toordinal() - date(1970, 1, 1).toordinal(), date.max.toordinal() - date(1970, 1, 1).toordinal())
_DAY_ZERO = date(1970, 1, 1).toordinal()
_DAY = 86_400_000_000


def _micros_of(delta):
    return delta.days * _DAY + delta.seconds * 1_000_000 + delta.microseconds


_MOMENTS = (_micros_of(datetime.min - _EPOCH), _micros_of(datetime.max - _EPOCH))


def _dates(data, rows):
    least, most = _DAYS
    of = date.fromordinal
    return [of(days + _DAY_ZERO) if least <= days <= most else Beyond(days) for days in data]


def _from_dates(slot, values):
    _checked(slot, values, date, Beyond)
    days = [value if type(value) is Beyond else value.toordinal() - _DAY_ZERO for value in values]
    return wit.ColumnData_Days(_ranged(slot, days, -2**31, 2**31 - 1))


def _times(data, rows):
    def of(micros):
        if not 0 <= micros < _DAY:
            return Beyond(micros)
        seconds, micros = divmod(micros, 1_000_000)
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60, micros)
    return [of(micros) for micros in data]


def _from_times(slot, values):
    _checked(slot, values, time, Beyond)

    def of(value):
        if type(value) is Beyond:
            return value
        if value.tzinfo is not None:
            raise Misuse(f"column `{slot.name}` is time: a time that was set has a zone")
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return wit.ColumnData_Ints([of(value) for value in values])


def _moments(epoch):
    def decode(data, rows):
        least, most = _MOMENTS
        return [epoch + timedelta(microseconds=micros) if least <= micros <= most else Beyond(micros) for micros in data]
    return decode


def _from_moments(epoch, complaint):
    def encode(slot, values):
        _checked(slot, values, datetime, Beyond)
        try:
            micros = [value if type(value) is Beyond else _micros_of(value - epoch) for value in values]
        except TypeError:
            raise Misuse(f"column `{slot.name}` is {slot.type}: a datetime that was set has {complaint} zone") from None
        return wit.ColumnData_Micros(_ranged(slot, micros, -2**63, 2**63 - 1))
    return encode


Beyond.LAST = {"date": Beyond(2**31 - 1), "timestamp": Beyond(2**63 - 1), "timestamptz": Beyond(2**63 - 1)}
Beyond.FIRST = {"date": Beyond(-2**31), "timestamp": Beyond(-2**63), "timestamptz": Beyond(-2**63)}


# Plain numbers.

def _from_bools(slot, values):
    _checked(slot, values, bool)
    return wit.ColumnData_Bools(bytes(values))


def _from_floats(slot, values):
    _checked(slot, values, float, int)
    try:
        values = list(map(float, values))
        if slot.type == "float32":
            struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        raise Misuse(f"column `{slot.name}` is {slot.type}: a number that was set has no room in it") from None
    return wit.ColumnData_Floats(values)


def _same(data, rows):
    return data


class _Type:
    """How a type crosses. `nothing` is what stands for null and absent."""

    __slots__ = ("decode", "encode", "nothing")

    def __init__(self, decode, encode, nothing):
        self.decode, self.encode, self.nothing = decode, encode, nothing


# The bindings take lists, and end the instance over a tuple.

def _int64(slot, values):
    return wit.ColumnData_Ints(list(_ranged(slot, values, -2**63, 2**63 - 1)))


def _uint64(slot, values):
    return wit.ColumnData_Uints(list(_ranged(slot, values, 0, 2**64 - 1)))


_TEXT = _Type(_split, _join, "")
TYPES = {
    "boolean": _Type(lambda data, rows: list(map(bool, data)), _from_bools, False),
    "int64": _Type(_same, _int64, 0),
    "uint64": _Type(_same, _uint64, 0),
    "float32": _Type(_same, _from_floats, 0.0),
    "float64": _Type(_same, _from_floats, 0.0),
    "decimal": _Type(lambda data, rows: list(map(_Digits, _split(data, rows))), _from_decimals, Decimal(0)),
    "text": _TEXT,
    "bytes": _Type(_slices, _from_bytes, b""),
    "date": _Type(_dates, _from_dates, date(1970, 1, 1)),
    "time": _Type(_times, _from_times, time()),
    "timestamp": _Type(_moments(_EPOCH), _from_moments(_EPOCH, "a"), _EPOCH),
    "timestamptz": _Type(_moments(_EPOCH_UTC), _from_moments(_EPOCH_UTC, "no"), _EPOCH_UTC),
    "interval": _TEXT,
    "uuid": _Type(_uuids, _from_uuids, UUID(int=0)),
    "json": _TEXT,
    "array": _TEXT,
    "document": _TEXT,
    "object-id": _Type(_slices, _from_object_ids, bytes(12)),
    "enumeration": _TEXT,
    "extended": _TEXT,
}
WORDS = {kind: kind.name.lower().replace("_", "-") for kind in wit.ColumnType}
KINDS = {word: kind for kind, word in WORDS.items()}


def decode(column, word, rows):
    """A column that came in, as a list of Python's values."""
    data, state = column.data.value, column.state
    if not state:
        return TYPES[word].decode(data, rows)
    if word == "decimal":
        # A null is the empty text, which is no decimal.
        values = [text if at else _Digits(text) for text, at in zip(_split(data, rows), state)]
    else:
        values = TYPES[word].decode(data, rows)
    instead = (None, None, ABSENT)
    return [instead[at] if at else value for value, at in zip(values, state)]


_NOTHINGS = frozenset((id(None), id(ABSENT)))


def encode(slot, values):
    """A written column's state and data."""
    kind = TYPES[slot.type]
    if _NOTHINGS.isdisjoint(map(id, values)):
        return b"", kind.encode(slot, values)
    state = bytes([1 if value is None else 2 if value is ABSENT else 0 for value in values])
    nothing = kind.nothing
    return state, kind.encode(slot, [nothing if at else value for value, at in zip(values, state)])
