/** Uses the types as an author would: the TypeScript compiler looks at it. */

import { type Column, type Config, DROP, Decimal, Instant, parseInteger, Reject, type Row, type RowPlugin, type Table } from "sluice-sdk";

export default class Typed implements RowPlugin {
  static summary = "In TypeScript";
  private amount!: Column;
  private at!: Column;
  private total!: Column;

  open(table: Table, config: Config): void {
    table.selects();
    this.amount = table.edit(config.name("amount"), { types: ["text"], to: "int64" });
    this.at = table.edit(config.name("at", "at"));
    this.total = table.add("total", "decimal");
  }

  row(row: Row) {
    const amount = row[this.amount];
    if (typeof amount !== "string") return DROP;
    const number: bigint | null = parseInteger(amount);
    if (number === null) throw new Reject(this.amount, "not a number");
    row[this.amount] = number;
    row[this.total] = Decimal.from(number).times("1.19").round(2);
    const at = row[this.at];
    if (at instanceof Instant) row[this.at] = new Instant(at.epochMicroseconds + 1n);
    return undefined;
  }
}
