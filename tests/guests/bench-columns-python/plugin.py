"""What `make bench` measures of Python by whole columns: writes one column in small letters and reads a number out of another. No value is null."""

from sluice import plugin


@plugin
class Bench:
    """Measured by make bench"""

    def open(self, table, config):
        self.text = table.edit(config.text("lowercase"))
        self.digits = table.read(config.text("integer"))
        self.number = table.add(config.text("to"), "int64")
        config.flag("idle", False)

    def rows(self, batch):
        batch[self.text] = "\0".join(batch[self.text]).lower().split("\0")
        batch[self.number] = list(map(int, batch[self.digits]))
