/** Write sluice plugins in JavaScript: a class with `open` and `row`, named columns and JavaScript's own values.
 *
 *     export default class Lowercase {
 *       open(table, config) {
 *         this.column = table.edit(config.name("column"));
 *       }
 *       row(row) {
 *         if (typeof row[this.column] === "string") row[this.column] = row[this.column].toLowerCase();
 *       }
 *     }
 *
 * The README beside this package goes from nothing to a loaded plugin. */

export { Config, didYouMean, Name, pointer } from "./config.js";
export { Decimal } from "./decimal.js";
export { Mistake, Reject } from "./errors.js";
export { parseDecimal, parseInteger } from "./numbers.js";
export { Batch, DROP, Row } from "./rows.js";
export { Table } from "./table.js";
export { Instant, PlainDate, PlainDateTime, PlainTime } from "./time.js";
