"""A transform that looks at a clock, which nobody grants."""

import time

from sluice import plugin


@plugin
class Clocked:
    """Never loaded"""

    def open(self, table, config):
        table.mistake(f"opened at {time.time()}")

    def row(self, row):
        """Never called."""
