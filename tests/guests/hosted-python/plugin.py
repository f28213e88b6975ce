"""What a Python plugin asks of its host: hashes a column, and takes another one back that it has just sealed. It logs how many."""

from sluice import crypto, log, plugin


@plugin
class Hosted:
    """Hashes one column, and seals and opens another"""

    def open(self, table, config):
        self.key = config.text("key")
        self.hashed, self.sealed = table.edit("hashed"), table.edit("sealed")
        self.place = crypto.Place(table, "sealed")

    def rows(self, batch):
        batch[self.hashed] = [value.hex() for value in crypto.hash(self.key, "domain", texts(batch[self.hashed]))]
        sealed = crypto.seal(self.key, self.place, texts(batch[self.sealed]))
        # One that was changed since does not open.
        sealed = [value[:-1] if text == "broken" else value for value, text in zip(sealed, batch[self.sealed])]
        opened = crypto.open(self.key, self.place, sealed)
        batch[self.sealed] = [value if value is None else value.decode() for value in opened]
        log.info(f"{len(batch)} rows")


def texts(values):
    return [(value or "").encode() for value in values]
