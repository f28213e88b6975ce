/** A plugin as a function of one row, or of the columns of many. */

import { Misuse, Reject } from "./errors.js";
import { bytesIn, decode, encode } from "./values.js";

/** The host takes no longer message with an event, in bytes. */
const MESSAGE_BYTES = 1 << 10;

const KINDS = ["snapshot", "insert", "before", "after", "delete"];

/** What `row` answers for a row that goes no further. Needs `table.selects()`. */
export const DROP = Object.freeze([]);

/** Text as the host takes it: whole characters, and not too many. */
export function printable(text) {
  let known = String(text).slice(0, MESSAGE_BYTES).toWellFormed();
  while (bytesIn(known) > MESSAGE_BYTES) known = known.slice(0, -1).toWellFormed();
  // A pair that was cut in two left a sign of it.
  return known;
}

function rejection(row, reject, slots) {
  const { column, message } = reject;
  if (column !== null && column !== undefined && !slots[column]) {
    throw new Misuse(`new Reject(column, message) takes what open() got from the table, not ${JSON.stringify(column)?.slice(0, 100)}`);
  }
  return { row, column: column === null || column === undefined ? null : slots[column].index, message: printable(message) };
}

/** Numbers as the host takes them. */
function numbers(what, values, most, Of) {
  const list = Array.from(values);
  if (!list.every((value) => Number.isInteger(value) && value >= 0 && value <= most)) throw new Misuse(`${what} are integers from 0 to ${most}`);
  return Of.from(list);
}

function kindOf(word) {
  const kind = KINDS.indexOf(word);
  if (kind < 0) throw new Misuse(`there is no kind ${JSON.stringify(word)}; there are: ${KINDS.join(", ")}`);
  return kind;
}

/** One row image. `row[column]` is a value, `null`, or `undefined`: absent, the log did not carry it. Setting it writes a column that `open` asked for by
 * `edit` or `add`. A row is good for the call that it came with: the next one is made of the same object. */
export class Row extends Array {
  /** @internal The kinds of the batch, and which image this is. */
  kinds = null;
  /** @internal */
  at = 0;
  /** @internal What was set of it besides values; null as long as nothing was. */
  set = null;

  /** What the image is: `snapshot`, `insert`, `before` and `after` (of an update), `delete`. */
  get kind() { return KINDS[this.code]; }
  set kind(word) { this.#changed().code = kindOf(word); }

  /** The target: 0, or what `table.route(name)` gave. */
  get route() { return this.set?.route ?? 0; }
  set route(route) { this.#changed().route = route; }

  /** @internal */
  get code() { return this.set?.code ?? this.kinds[this.at]; }

  /** Leaves the target's value of a written column as it is, whatever came in: makes it absent. */
  leave(column) {
    this[column] = undefined;
    this.#changed().left.add(column);
  }

  /** Another row with the same values: `return [row, other]`. */
  copy() {
    const copy = new Row(this.length);
    for (let column = 0; column < this.length; column++) copy[column] = this[column];
    Object.assign(copy, { kinds: this.kinds, at: this.at, set: this.set && { ...this.set, left: new Set(this.set.left) } });
    return copy;
  }

  #changed() {
    return (this.set ??= { code: undefined, route: 0, left: new Set() });
  }
}

/** An opened table. */
export class Opened {
  constructor(plugin, table, plan) {
    this.plugin = plugin;
    this.plan = plan;
    this.slots = table.slots;
    this.reads = this.slots.filter((slot) => slot.reads !== null);
    this.written = [];
    this.slots.forEach((slot, column) => {
      if (slot.written === null) return;
      // Where the columns that an added one is computed from stand in a row.
      const from = slot.reads === null ? slot.written.from.map((index) => this.slots.findIndex((one) => one.index === index)) : [column];
      this.written.push({ column, slot, from });
    });
    this.byRows = typeof plugin.row === "function";
  }

  transform(batch) {
    return this.byRows ? this.byRow(batch) : this.byColumn(batch);
  }

  /** What came in, by the places of a row; an added column has nothing in it. */
  inputs(batch) {
    let at = 0;
    return this.slots.map((slot) => (slot.reads === null ? Array(batch.rows).fill(undefined) : decode(batch.columns[at++], slot.reads, batch.rows)));
  }

  byRow(batch) {
    const { plugin, plan, slots } = this;
    const rows = batch.rows;
    const inputs = this.inputs(batch);
    const width = slots.length;
    const ended = new Ended(this, inputs, batch.kinds);
    const row = new Row(width);
    row.kinds = batch.kinds;
    for (let at = 0; at < rows; at++) {
      for (let column = 0; column < width; column++) row[column] = inputs[column][at];
      row.at = at;
      row.set = null;
      let answer;
      try {
        answer = plugin.row(row);
        if (answer !== undefined && answer !== null && answer !== row) {
          ended.several(at, answer);
          continue;
        }
      } catch (error) {
        if (!(error instanceof Reject)) throw error;
        ended.refused(at, error);
        continue;
      }
      ended.keep(at, row);
    }
    const { columns, select, codes, routes, rejects } = ended;
    return {
      columns: this.written.map(({ slot }, place) => ({ index: slot.index, ...encode(slot, columns[place]) })),
      select: plan.selects ? Uint32Array.from(select) : null,
      kinds: plan.changesKinds ? Uint8Array.from(codes) : new Uint8Array(0),
      routes: plan.routes.length ? numbers("routes", routes, plan.routes.length, Uint16Array) : new Uint16Array(0),
      rejects,
    };
  }

  byColumn(batch) {
    const columns = new Batch(this, batch);
    this.plugin.rows(columns);
    return columns.answer();
  }

  /** What goes out where `undefined` stands in a written column: whether it is absent. */
  settled(place, inputs, at, row) {
    const { column, slot, from } = this.written[place];
    const isLeft = row.set?.left.has(column);
    if (slot.reads === null) return isLeft || from.some((source) => inputs[source][at] === undefined) ? undefined : null;
    if (isLeft || inputs[column][at] === undefined) return undefined;
    throw new Misuse(`column \`${slot.name}\` was set to undefined: set null, or leave the target's value as it is by row.leave(column)`);
  }
}

/** The images that go out. */
class Ended {
  constructor(opened, inputs, kinds) {
    this.opened = opened;
    this.inputs = inputs;
    this.kinds = kinds;
    this.columns = opened.written.map(() => []);
    this.places = opened.written.map((one) => one.column);
    this.kept = 0;
    this.select = [];
    this.codes = [];
    this.routes = [];
    this.rejects = [];
    this.selects = opened.plan.selects;
    this.sorts = opened.plan.changesKinds || opened.plan.routes.length > 0;
  }

  keep(at, row) {
    const { columns, places, kept } = this;
    for (let place = 0; place < columns.length; place++) {
      let value = row[places[place]];
      if (value === undefined) value = this.opened.settled(place, this.inputs, at, row);
      columns[place][kept] = value;
    }
    this.kept = kept + 1;
    if (this.selects) this.select.push(at);
    if (this.sorts) {
      this.codes.push(row.code);
      this.routes.push(row.route);
    }
  }

  several(at, answer) {
    if (typeof answer?.[Symbol.iterator] !== "function" || typeof answer === "string") {
      throw new Misuse(`row() answered with ${typeof answer}: return nothing, DROP, or rows`);
    }
    if (!this.selects) throw new Misuse("a row was dropped or copied, but open() didn't call table.selects()");
    const kept = this.kept;
    try {
      // A row may be changed before the next one is asked for.
      for (const row of answer) {
        if (!(row instanceof Row)) throw new Misuse("row() answered with something else among its rows");
        this.keep(at, row);
      }
    } catch (error) {
      if (error instanceof Reject) this.cut(kept);
      throw error;
    }
  }

  /** Takes back what a row gave before it was refused. */
  cut(kept) {
    this.kept = kept;
    for (const column of this.columns) column.length = kept;
    this.select.length = kept;
    if (this.sorts) this.codes.length = this.routes.length = kept;
  }

  /** A refused row: its values are ignored. */
  refused(at, reject) {
    this.rejects.push(rejection(at, reject, this.opened.slots));
    this.kept += 1;
    for (const column of this.columns) column.push(null);
    if (this.selects) this.select.push(at);
    if (this.sorts) {
      this.codes.push(this.kinds[at]);
      this.routes.push(0);
    }
  }
}

/** Row images, column by column. `batch.get(column)` is an array of values, null and undefined (absent); `batch.set(column, values)` writes a column that `open`
 * asked for by `edit` or `add`, with one value per image (after `select`: per image that was selected). One that isn't set stays as it is; an added
 * one is null. */
export class Batch {
  #opened;
  #batch;
  #decoded = new Map();
  #written = new Map();
  #rejects = [];
  #select = null;
  #kinds = new Uint8Array(0);
  #routes = new Uint16Array(0);

  constructor(opened, batch) {
    this.#opened = opened;
    this.#batch = batch;
  }

  /** How many images there are. */
  get length() { return this.#batch.rows; }
  /** What each image is: see `Row.kind`. */
  get kinds() { return Array.from(this.#batch.kinds, (code) => KINDS[code]); }

  get(column) {
    if (!this.#decoded.has(column)) {
      const slot = this.#opened.slots[column];
      const at = this.#opened.reads.indexOf(slot);
      if (at < 0) throw new Misuse(`column \`${slot?.name ?? column}\` was not read: there is nothing to get`);
      this.#decoded.set(column, decode(this.#batch.columns[at], slot.reads, this.length));
    }
    return this.#decoded.get(column);
  }

  set(column, values) {
    const slot = this.#opened.slots[column];
    if (!slot?.written) throw new Misuse(`column \`${slot?.name ?? column}\` was set, but open() only read it: ask for it by edit() or add()`);
    this.#written.set(slot, values);
  }

  /** Keeps these images (numbers, never descending; repeated for copies). Needs `table.selects()`. */
  select(images) {
    this.#select = numbers("selected images", images, this.length - 1, Uint32Array);
  }

  /** The route of each image that is kept: 0, or what `table.route(name)` gave. */
  sendTo(routes) {
    this.#routes = numbers("routes", routes, this.#opened.plan.routes.length, Uint16Array);
  }

  /** The kind of each image that is kept. Needs `table.changesKinds()`. */
  turnInto(kinds) {
    this.#kinds = Uint8Array.from(kinds, kindOf);
  }

  /** Refuses the event of an image. */
  reject(image, column, message) {
    this.#rejects.push(rejection(image, { column, message }, this.#opened.slots));
  }

  /** @internal */
  answer() {
    const rows = this.#select?.length ?? this.length;
    const columns = [...this.#written].map(([slot, given]) => {
      const values = Array.isArray(given) ? given : Array.from(given);
      if (values.length !== rows) throw new Misuse(`column \`${slot.name}\` was set to ${values.length} values, where there are ${rows} rows`);
      return { index: slot.index, ...encode(slot, values) };
    });
    return { columns, select: this.#select, kinds: this.#kinds, routes: this.#routes, rejects: this.#rejects };
  }
}
