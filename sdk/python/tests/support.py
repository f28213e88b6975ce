"""Tables, batches and opened plugins, without a host."""

import json

from wit_world.exports.transformer import Batch
from wit_world.imports.types import ColumnInfo, TableInfo

from sluice._component import open_table
from sluice._table import Table
from sluice._values import KINDS, decode, encode
from wit_world.imports.types import Column

CODES = {"snapshot": 0, "insert": 1, "before": 2, "after": 3, "delete": 4}


def table(**types):
    """A table `t`, whose first column is the key."""
    columns = [ColumnInfo(name, KINDS[word], "", at > 0, at == 0) for at, (name, word) in enumerate(types.items())]
    return TableInfo("test", "memory", "", "t", 1, columns)


def mistakes(cls, info, config):
    """What is wrong with a configuration, in order."""
    _, found = open_table(cls, info, json.dumps(config))
    return [f"{mistake.at}: {mistake.message}" for mistake in found]


class Opened:
    """A plugin on a table."""

    def __init__(self, cls, info, config=None):
        self.opened, found = open_table(cls, info, json.dumps(config or {}))
        assert not found, found
        self.info, self.plan = info, self.opened.plan

    def transform(self, rows, kinds=None):
        """Transforms rows, which are tuples of a value per column of the table."""
        columns = []
        for index in self.plan.read:
            words = Table(self.info)
            slot = words._slots[words._slot(index)]
            columns.append(Column(index, *encode(slot, [row[index] for row in rows])))
        kinds = bytes(CODES[kind] for kind in kinds) if kinds else bytes([1]) * len(rows)
        return self.opened.transform(Batch(len(rows), kinds, columns))

    def written(self, output, name):
        """The values of a written column."""
        written = next(written for written in self.plan.write if written.column.name == name)
        column = next((column for column in output.columns if column.index == written.index), None)
        if column is None:
            return None
        rows = len(column.state) or _rows(column.data.value)
        return decode(column, next(word for word, kind in KINDS.items() if kind == written.column.type), rows)


def _rows(value):
    if hasattr(value, "offsets"):
        return len(value.offsets) - 1 if value.offsets else value.data.count("\0") + 1
    return len(value)
