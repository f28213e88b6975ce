/** What `make bench` measures of JavaScript row by row: writes one column in small letters and reads a number out of another. */

import { parseInteger, Reject } from "sluice-sdk";

export default class Bench {
  static summary = "Measured by make bench";

  open(table, config) {
    this.text = table.edit(config.name("lowercase"));
    this.digits = table.read(config.name("integer"));
    this.number = table.add(config.text("to"), "int64");
    config.flag("idle", false);
  }

  row(row) {
    const text = row[this.text];
    if (typeof text === "string") row[this.text] = text.toLowerCase();
    const digits = row[this.digits];
    if (typeof digits !== "string") return;
    const number = parseInteger(digits);
    if (number === null) throw new Reject(this.digits, "not a number");
    row[this.number] = number;
  }
}
