"""Tidies e-mail addresses: small letters, no spaces around them; a row whose address has no `@` is refused."""

from sluice import Reject, plugin


@plugin
class Email:
    """Tidies e-mail addresses and adds their domain"""

    config_schema = {
        "type": "object", "additionalProperties": False, "required": ["column"],
        "properties": {"column": {"type": "string", "description": "The column with the address"}},
    }

    def open(self, table, config):
        """Called once per table: which columns are needed, and what becomes of them."""
        self.address = table.edit(config.text("column"), types=["text"])
        self.domain = table.add("domain", "text")

    def row(self, row):
        """Called for every row image."""
        address = row[self.address]
        if not isinstance(address, str):
            return  # None (null) or ABSENT: the address stays as it is, and the domain is null or absent too
        address = address.strip().lower()
        _, at, domain = address.partition("@")
        if not at:
            raise Reject("no @ in the address", self.address)
        row[self.address] = address
        row[self.domain] = domain
