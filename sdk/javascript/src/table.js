/** What a plugin says of a table when it is opened: its plan. */

import { didYouMean, Name } from "./config.js";
import { Mistake } from "./errors.js";
import { WORDS } from "./values.js";

/** Where a name stands in the configuration. */
function placeOf(name, at, otherwise = "") {
  return at ?? (name instanceof Name ? name.at : otherwise);
}

/** A place of a row: what stands there, and what is written of it. */
class Slot {
  constructor(index, name, reads) {
    this.index = index;
    this.name = name;
    /** The type of what is read; null of an added column. */
    this.reads = reads;
    /** The type of what is written. */
    this.type = reads;
    /** Its part of the plan, if it is written. */
    this.written = null;
  }
}

/** The table that is being opened: what it has, and what the plugin wants of it.
 *
 * Every mistake is collected, so that the user sees all of them at once. A `Name` of the configuration knows its place there; `at` (a JSON Pointer) says it
 * where it doesn't. Columns are numbers: `row[column]`. */
export class Table {
  #infos;
  #names;
  #of = new Map();
  #made = [];
  #added = 0;
  #from = new Map();
  #rename = new Map();
  #drop = new Set();
  #routes = [];
  #selects = false;
  #changesKinds = false;
  #skipped = false;
  #beforeImages = true;

  constructor(info) {
    ({ name: this.name, schema: this.schema, database: this.database, version: this.version } = info);
    this.#infos = info.columns;
    this.#names = new Map(info.columns.map((column, index) => [column.name, index]));
    this.slots = [];
    this.mistakes = [];
  }

  /** The names of its columns, in order. */
  get columns() { return this.#infos.map((column) => column.name); }
  /** The names of its key's columns. */
  get key() { return this.#infos.filter((column) => column.key).map((column) => column.name); }

  /** The type of a column, or null if there is none of that name. */
  typeOf(name) {
    const index = this.#names.get(String(name));
    return index === undefined ? null : this.#infos[index].type;
  }

  /** The name and the types of a column that was read, edited or added. */
  column(column) {
    const { name, reads, type } = this.slots[column];
    return { name, reads, type };
  }

  /** Something is wrong with the configuration at that place. Say what is allowed. */
  mistake(message, at = "") {
    this.mistakes.push(new Mistake(message, at));
  }

  #find(name, at) {
    const place = placeOf(name, at);
    const text = name instanceof Name ? name.text : name;
    if (typeof text !== "string") {
      this.mistake("write the name of a column here", place);
      return [undefined, place];
    }
    const index = this.#names.get(text);
    if (index === undefined) {
      const names = [...this.#names.keys()];
      const hint = didYouMean(text, names) || `it has: ${names.join(", ")}`;
      this.mistake(`table \`${this.name}\` has no column \`${text}\`; ${hint}`, place);
    }
    return [index, place];
  }

  /** Reads a column; of one of these types, if any is named. */
  read(name, { types = [], at } = {}) {
    const [index, place] = this.#find(name, at);
    // Never used: `open` fails.
    if (index === undefined) return 0;
    if (!this.#of.has(index)) {
      const info = this.#infos[index];
      this.#of.set(index, this.slots.push(new Slot(index, info.name, info.type)) - 1);
    }
    const column = this.#of.get(index);
    const reads = this.slots[column].reads;
    if (types.length && !types.includes(reads)) this.mistake(`column \`${name}\` is ${reads}, but must be ${types.join(" or ")}`, place);
    return column;
  }

  /** Reads a column (of one of these types, if any is named) and writes it in place. A row that doesn't set it keeps its value. `to`: as another type; then every row
   * that has a value must set it, null and absent stay. */
  edit(name, { types = [], to, at } = {}) {
    const known = this.mistakes.length;
    const column = this.read(name, { types, at });
    if (this.mistakes.length > known) return column;
    const place = placeOf(name, at);
    const slot = this.slots[column];
    if (slot.written !== null) {
      this.mistake(`column \`${name}\` is written twice`, place);
      return column;
    }
    const info = this.#infos[slot.index];
    slot.type = to === undefined ? slot.reads : this.#knownType(to, place);
    slot.written = this.#writes(slot, { native: slot.type === slot.reads ? info.native : "", nullable: info.nullable, key: info.key });
    return column;
  }

  /** Adds a column. A row that doesn't set it has null there, or nothing if a column that it is computed from is absent. */
  add(name, type = "text", { at } = {}) {
    const place = placeOf(name, at);
    const slot = new Slot(this.#infos.length + this.#added, String(name), null);
    this.#added += 1;
    slot.type = this.#knownType(type, place);
    slot.written = this.#writes(slot, { native: "", nullable: true, key: false });
    this.#made.push([slot.name, place]);
    return this.slots.push(slot) - 1;
  }

  #writes(slot, rest) {
    return { index: slot.index, column: { name: slot.name, type: slot.type, ...rest }, from: [], deterministic: true };
  }

  #knownType(type, at) {
    if (WORDS.includes(type)) return type;
    this.mistake(`there is no type \`${type}\`; ${didYouMean(String(type), WORDS) || `there are: ${WORDS.join(", ")}`}`, at);
    return "text";
  }

  /** Says what a written column is computed from, where that isn't everything that the plugin reads. Keys, lineage and verification rest on it: leave nothing out. */
  computedFrom(written, ...columns) {
    this.#from.set(written, columns.map((column) => this.slots[column].index));
  }

  /** Says that a written column never holds null. */
  neverNull(written) {
    this.slots[written].written.column.nullable = false;
  }

  /** Gives a written column the source's own type name (`numeric(18,4)`), for a target of the same kind. */
  native(written, native) {
    this.slots[written].written.column.native = String(native);
  }

  /** Says that the same input may give another output: no key, route or verification may rest on this column. */
  notDeterministic(written) {
    this.slots[written].written.deterministic = false;
  }

  /** Renames a column. Moves no data. */
  rename(name, to, { at } = {}) {
    const [index, place] = this.#find(name, at);
    if (index === undefined) return;
    const made = String(to ?? "");
    if (this.#rename.has(index)) this.mistake(`column \`${name}\` is renamed twice`, place);
    else if (made === "") this.mistake("a column needs a name", place);
    else {
      this.#rename.set(index, made);
      this.#made.push([made, placeOf(to, undefined, place)]);
    }
  }

  /** Drops a column. Moves no data. */
  drop(name, { at } = {}) {
    const [index] = this.#find(name, at);
    if (index !== undefined) this.#drop.add(index);
  }

  /** Adds a target that rows may be sent to: `row.route = table.route("vip")`. 0 is the default one. */
  route(name) {
    const text = String(name);
    if (!this.#routes.includes(text)) this.#routes.push(text);
    return this.#routes.indexOf(text) + 1;
  }

  /** Announces that rows may be dropped or copied. */
  selects() { this.#selects = true; }
  /** Announces that rows may change their kind. */
  changesKinds() { this.#changesKinds = true; }
  /** Does without the images of updated rows as they were. Refused by the host where both sides are needed. */
  noBeforeImages() { this.#beforeImages = false; }
  /** Isn't interested in this table: it passes by untouched. */
  skip() { this.#skipped = true; }

  /** Two columns of one name, at least one of which the plugin made. */
  #collisions() {
    const taken = new Map();
    this.#infos.forEach((column, index) => {
      if (!this.#drop.has(index) && !this.#rename.has(index)) taken.set(column.name, "the table has already");
    });
    for (const [name, at] of this.#made) {
      if (taken.has(name)) this.mistake(`there would be two columns \`${name}\`: ${taken.get(name)} one of that name`, at);
      else taken.set(name, `${at} makes`);
    }
  }

  /** The plan, or null where the plugin isn't interested. Mistakes are left to be looked at. */
  finish() {
    this.#collisions();
    const read = this.slots.filter((slot) => slot.reads !== null).map((slot) => slot.index);
    // New columns are numbered in the order in which they were added; those in place come first.
    const write = this.slots.flatMap((slot, column) => {
      if (slot.written === null) return [];
      slot.written.from = this.#from.get(column) ?? read;
      return [slot.written];
    }).sort((a, b) => a.index - b.index);
    if (this.#skipped) return null;
    return {
      read, write, rename: [...this.#rename], drop: [...this.#drop], beforeImages: this.#beforeImages, selects: this.#selects,
      changesKinds: this.#changesKinds, joinedText: true, routes: this.#routes,
    };
  }
}
