/** A transform that looks at a clock, which nobody grants: `wasi` keeps all of WASI instead of stubs. What the host is tested to refuse. */

const clock = Date.now;

export default class Clocked {
  static summary = "Never loaded";

  open(table) {
    table.mistake(`opened at ${clock()}`);
  }

  /** Never called. */
  row() {}
}
