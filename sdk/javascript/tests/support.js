/** Tables, batches and opened plugins, without a host. */

import { openTable } from "../src/component.js";
import { decode, encode } from "../src/values.js";

const CODES = { snapshot: 0, insert: 1, before: 2, after: 3, delete: 4 };

/** A table `t`, whose first column is the key. */
export function table(types) {
  const columns = Object.entries(types).map(([name, type], at) => ({ name, type, native: "", nullable: at > 0, key: at === 0 }));
  return { database: "test", kind: "memory", schema: "", name: "t", version: 1, columns };
}

/** What is wrong with a configuration, in order. */
export function mistakes(Plugin, info, config) {
  return openTable(Plugin, info, JSON.stringify(config))[1].map(({ at, message }) => `${at}: ${message}`);
}

/** What the host makes of data that goes out: lists are arrays, those of bytes Uint8Arrays. */
export function crossed({ state, data: { tag, val } }) {
  const list = (values) => (values instanceof Uint8Array ? values : Array.from(values));
  if (tag === "strings" || tag === "blobs") return { state, data: { tag, val: { offsets: list(val.offsets), data: val.data } } };
  return { state, data: { tag, val: list(val) } };
}

/** A plugin on a table. */
export class Opened {
  constructor(Plugin, info, config = {}) {
    const [opened, found] = openTable(Plugin, info, JSON.stringify(config));
    if (found.length) throw new Error(found.map((one) => one.message).join("; "));
    Object.assign(this, { opened, info, plan: opened.plan });
  }

  /** Transforms rows, which are arrays of a value per column of the table. */
  transform(rows, kinds) {
    const columns = this.plan.read.map((index) => {
      const { name, type } = this.info.columns[index];
      return { index, ...crossed(encode({ name, type }, rows.map((row) => row[index]))) };
    });
    return this.opened.transform({ rows: rows.length, kinds: Uint8Array.from(rows, (_, at) => CODES[kinds?.[at] ?? "insert"]), columns });
  }

  /** The values of a written column. */
  written(output, name) {
    const { index, column: { type } } = this.plan.write.find((one) => one.column.name === name);
    const column = output.columns.find((one) => one.index === index);
    if (column === undefined) return null;
    const { tag, val } = column.data;
    const rows = column.state.length || (tag === "uuids" ? val.length / 16 : val.offsets?.length ? val.offsets.length - 1
      : tag === "strings" ? val.data.split("\0").length : val.length);
    return decode(crossed(column), type, output.select?.length ?? rows);
  }
}
