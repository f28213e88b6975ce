"""Write sluice plugins in Python: a class with `open` and `row`, named columns and Python's own values.

    import sluice

    @sluice.plugin
    class Lowercase:
        \"\"\"Writes a text column in small letters.\"\"\"

        def open(self, table, config):
            self.column = table.edit(config.text("column"))

        def row(self, row):
            if isinstance(row[self.column], str):
                row[self.column] = row[self.column].lower()

The README beside this package goes from nothing to a loaded plugin.
"""

from sluice._config import Config, Mistake, did_you_mean, pointer
from sluice._numbers import parse_decimal, parse_integer
from sluice._plugin import plugin
from sluice._rows import DROP, Batch, Reject, Row
from sluice._table import Column, Table
from sluice._values import ABSENT, Beyond

__all__ = [
    "ABSENT", "DROP", "Batch", "Beyond", "Column", "Config", "Mistake", "Reject", "Row", "Table", "did_you_mean", "parse_decimal",
    "parse_integer", "plugin", "pointer",
]
