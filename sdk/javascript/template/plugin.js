// @ts-check
/** Tidies e-mail addresses: small letters, no spaces around them; a row whose address has no `@` is refused. */

import { Reject } from "sluice-sdk";
/** @import { Config, Row, RowPlugin, Table } from "sluice-sdk" */

/** @implements {RowPlugin} */
export default class Email {
  static summary = "Tidies e-mail addresses and adds their domain";
  static configSchema = {
    type: "object",
    additionalProperties: false,
    required: ["column"],
    properties: { column: { type: "string", description: "The column with the address" } },
  };

  address = 0;
  domain = 0;

  /** Called once per table: which columns are needed, and what becomes of them.
   * @param {Table} table
   * @param {Config} config */
  open(table, config) {
    this.address = table.edit(config.name("column"), { types: ["text"] });
    this.domain = table.add("domain", "text");
  }

  /** Called for every row image.
   * @param {Row} row */
  row(row) {
    const given = row[this.address];
    if (typeof given !== "string") return; // null, or undefined (absent): the address stays as it is, and the domain is null or absent too
    const address = given.trim().toLowerCase();
    const at = address.indexOf("@");
    if (at < 0) throw new Reject(this.address, "no @ in the address");
    row[this.address] = address;
    row[this.domain] = address.slice(at + 1);
  }
}
