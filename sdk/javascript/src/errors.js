/** What goes wrong, by whose fault it is. */

/** The plugin did what it may not: the batch fails with these words. */
export class Misuse extends Error {}
Misuse.prototype.name = "Misuse";

/** Something is wrong with the configuration, at a place (a JSON Pointer; empty: the whole of it). */
export class Mistake extends Error {
  constructor(message, at = "") {
    super(message);
    this.at = typeof at === "object" && at !== null ? String(at.at) : String(at);
  }
}
Mistake.prototype.name = "Mistake";

/** The event is refused: it becomes a dead letter with the values that it came with. `message` is kept with it, never logged. `column` is the one that is to
 * blame, `null` if none is. */
export class Reject extends Error {
  constructor(column, message) {
    super(message);
    this.column = column;
  }
}
Reject.prototype.name = "Reject";
