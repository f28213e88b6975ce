"""What `make bench` measures of Python row by row: writes one column in small letters and reads a number out of another."""

from sluice import Reject, parse_integer, plugin


@plugin
class Bench:
    """Measured by make bench"""

    def open(self, table, config):
        self.text = table.edit(config.text("lowercase"))
        self.digits = table.read(config.text("integer"))
        self.number = table.add(config.text("to"), "int64")
        config.flag("idle", False)

    def row(self, row):
        text = row[self.text]
        if isinstance(text, str):
            row[self.text] = text.lower()
        digits = row[self.digits]
        if isinstance(digits, str):
            number = parse_integer(digits)
            if number is None:
                raise Reject("not a number", self.digits)
            row[self.number] = number
