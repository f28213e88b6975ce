"""Sealing, opening and hashing by keys that stay with the host. The plugin says `imports = ["crypto"]` under `[tool.sluice]` in its
pyproject.toml, and the step needs `grant: { crypto: { keys: [NAME], ops: [..] } }`. All values of a batch go in one call: write a plugin with
`rows(batch)`. Values are bytes."""

from itertools import accumulate

from componentize_py_types import Err

from wit_world.imports import types as _types

from sluice._values import Misuse as _Misuse

try:
    from wit_world.imports import crypto as _host
except ImportError:
    raise ImportError('this plugin has no keys: write imports = ["crypto"] under [tool.sluice] in pyproject.toml') from None


class Place:
    """What sealed values belong to: under another place they do not open. This pipeline, unless another is named."""

    def __init__(self, table, column, pipeline=""):
        name = f"{table.schema}.{table.name}" if table.schema else table.name
        self._place = _host.Place(pipeline, name, column)


def _blobs(values):
    return _types.Blobs(list(accumulate(map(len, values), initial=0)), b"".join(values))


def _values(blobs):
    return [blobs.data[start:end] for start, end in zip(blobs.offsets, blobs.offsets[1:])]


def _asked(function, *arguments):
    try:
        return function(*arguments)
    except Err as error:
        raise _Misuse(error.value) from None


def seal(key, place, values):
    """Encrypts and authenticates each value: equal values give different answers."""
    return _values(_asked(_host.seal, key, place._place, _blobs(values)))


def open(key, place, sealed):
    """Takes values back that were sealed by this key, or by one that it replaced. `None` where one doesn't open."""
    opened = _asked(_host.open, key, place._place, _blobs(sealed))
    values = _values(opened.values)
    for at in opened.failed:
        values[at] = None
    return values


def hash(key, domain, values):
    """HMAC-SHA-256 of each value, 32 bytes: the same for equal values under the same key and domain, and so fit for keys and joins."""
    return _values(_asked(_host.hash, key, domain, _blobs(values)))
