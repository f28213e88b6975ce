/** What `make bench` measures of JavaScript by whole columns: writes one column in small letters and reads a number out of another. No value is null. */

export default class Bench {
  static summary = "Measured by make bench";

  open(table, config) {
    this.text = table.edit(config.name("lowercase"));
    this.digits = table.read(config.name("integer"));
    this.number = table.add(config.text("to"), "int64");
    config.flag("idle", false);
  }

  rows(batch) {
    batch.set(this.text, batch.get(this.text).join("\0").toLowerCase().split("\0"));
    batch.set(this.number, batch.get(this.digits).map(BigInt));
  }
}
