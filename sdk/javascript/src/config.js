/** The configuration: it knows where everything stands, so that a mistake has its place. */

import { Mistake } from "./errors.js";

/** Text of the configuration that knows its place: what tables take as the name of a column. */
export class Name {
  /** @param {string} text @param {string} at */
  constructor(text, at) {
    this.text = text;
    this.at = at;
  }

  toString() { return this.text; }
  toJSON() { return this.text; }
}

/** A mapping of the configuration. A key that nobody asks for is a mistake of whoever wrote it: they are told, with the nearest one that there is. So ask
 * for all of them in `open`, also for those that matter only sometimes. Without a default, a key must be there. */
export class Config {
  #values;
  #seen = new Set();
  #below = new Map();

  constructor(values = {}, at = "") {
    this.#values = new Map(Object.entries(values));
    this.at = at;
  }

  /** Where a key stands, as a JSON Pointer. */
  place(key) {
    return this.at + pointer(key);
  }

  has(key) {
    this.#seen.add(key);
    return this.#values.has(key);
  }

  /** All keys, for a mapping whose keys the user chooses. */
  keys() {
    const keys = [...this.#values.keys()];
    keys.forEach((key) => this.#seen.add(key));
    return keys;
  }

  /** Whatever stands there, as JSON has it. */
  value(key, ...or) {
    if (this.has(key)) return this.#values.get(key);
    if (or.length === 0) throw new Mistake(`\`${key}\` is missing`, this.at);
    return or[0];
  }

  #typed(key, or, is, words) {
    const value = this.value(key, ...or);
    if (this.#values.has(key) && !is(value)) throw new Mistake(`write ${words} here, not ${kindOf(value)}`, this.place(key));
    return value;
  }

  text(key, ...or) {
    return this.#typed(key, or, (value) => typeof value === "string", "text");
  }

  flag(key, ...or) {
    return this.#typed(key, or, (value) => typeof value === "boolean", "true or false");
  }

  integer(key, ...or) {
    return this.#typed(key, or, Number.isSafeInteger, "an integer");
  }

  /** A number, with a fraction or without. */
  number(key, ...or) {
    return this.#typed(key, or, (value) => typeof value === "number", "a number");
  }

  /** Text that knows its place: the name of a column. */
  name(key, ...or) {
    const text = this.text(key, ...or);
    return this.#values.has(key) ? new Name(text, this.place(key)) : text;
  }

  /** A list of text. */
  texts(key, ...or) {
    const items = this.#typed(key, or, Array.isArray, "a list of text");
    if (this.#values.has(key)) {
      items.forEach((item, place) => {
        if (typeof item !== "string") throw new Mistake(`write text here, not ${kindOf(item)}`, `${this.place(key)}/${place}`);
      });
    }
    return items;
  }

  /** A list of names of columns. */
  names(key, ...or) {
    const texts = this.texts(key, ...or);
    return this.#values.has(key) ? texts.map((text, place) => new Name(text, `${this.place(key)}/${place}`)) : texts;
  }

  /** One of a few words. */
  word(key, words, ...or) {
    const word = this.text(key, ...or);
    if (this.#values.has(key) && !words.includes(word)) throw new Mistake(unknown(word, words), this.place(key));
    return word;
  }

  /** A mapping: a `Config` too. */
  mapping(key, ...or) {
    const value = this.#typed(key, or, isMapping, "a mapping");
    if (!this.#values.has(key)) return value;
    if (!this.#below.has(key)) this.#below.set(key, new Config(value, this.place(key)));
    return this.#below.get(key);
  }

  /** A mapping from names to names: `[[Name, Name], ...]`. */
  pairs(key, ...or) {
    const mapping = this.mapping(key, ...or);
    if (!(mapping instanceof Config)) return mapping;
    return mapping.keys().map((name) => [new Name(name, mapping.place(name)), mapping.name(name)]);
  }

  /** A list of mappings. */
  mappings(key, ...or) {
    const items = this.#typed(key, or, Array.isArray, "a list of mappings");
    if (!this.#values.has(key)) return items;
    return items.map((item, place) => {
      const at = `${this.place(key)}/${place}`;
      if (!isMapping(item)) throw new Mistake(`write a mapping here, not ${kindOf(item)}`, at);
      if (!this.#below.has(at)) this.#below.set(at, new Config(item, at));
      return this.#below.get(at);
    });
  }

  /** The mistakes that are left: keys that nobody asked for. */
  unseen() {
    const known = [...this.#seen].sort();
    const mistakes = [...this.#values.keys()].filter((key) => !this.#seen.has(key))
      .map((key) => new Mistake(`unknown key ${unknown(key, known)}`, this.place(key)));
    return mistakes.concat(...[...this.#below.values()].map((below) => below.unseen()));
  }
}

export function isMapping(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A JSON Pointer to a key below keys: `pointer("columns", "a/b")` is `/columns/a~1b`. */
export function pointer(...keys) {
  return keys.map((key) => `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

export function kindOf(value) {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  return { string: "text", number: "a number", boolean: "true or false" }[typeof value] ?? "a mapping";
}

function unknown(word, words) {
  const hint = didYouMean(word, words);
  return `\`${word}\`; ${hint ? `${hint} ` : ""}allowed: ${words.join(", ")}`;
}

/** `did you mean X?` for the nearest of the candidates, or nothing when none is near. */
export function didYouMean(text, candidates) {
  let [best, least] = [null, Infinity];
  for (const candidate of candidates) {
    const far = distance(text, candidate);
    if (far < least && far <= 1 + Math.floor(candidate.length / 4)) [best, least] = [candidate, far];
  }
  return best === null ? "" : `did you mean \`${best}\`?`;
}

/** Letters that were left out, added, mistaken, or swapped with their neighbour. */
function distance(a, b) {
  let [before, row] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const above = before;
    before = row;
    row = [i];
    for (let j = 1; j <= b.length; j++) {
      let cost = Math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, above[j - 2] + 1);
      row.push(cost);
    }
  }
  return row[b.length];
}
