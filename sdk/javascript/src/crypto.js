/** Sealing, opening and hashing by keys that stay with the host. A plugin that imports this asks for it: its step needs `grant: { crypto: { keys: [NAME], ops: [..] } }`.
 * All values of a batch go in one call: write a plugin with `rows(batch)`. Values are `Uint8Array`s; `toBytes` and `toText` turn text into them and back. */

import host from "sluice:plugin/crypto@0.1.0";

import { Misuse } from "./errors.js";
import { blobs, slices } from "./values.js";

/** What sealed values belong to: under another place they do not open. This pipeline, unless another is named. */
export class Place {
  constructor(table, column, pipeline = "") {
    this.pipeline = pipeline;
    this.table = table.schema ? `${table.schema}.${table.name}` : table.name;
    this.column = String(column);
  }
}

function asked(operation, ...rest) {
  const values = rest.pop();
  for (const value of values) if (!(value instanceof Uint8Array)) throw new Misuse(`${operation}: values are Uint8Arrays (toBytes makes them of text)`);
  try {
    return host[operation](...rest, blobs(values));
  } catch (error) {
    throw new Misuse(typeof error === "string" ? error : String(error?.payload ?? error?.message ?? error));
  }
}

/** Encrypts and authenticates each value: equal values give different answers. */
export function seal(key, place, values) {
  return slices(asked("seal", key, place, values), values.length);
}

/** Takes values back that were sealed by this key, or by one that it replaced. `null` where one doesn't open. */
export function open(key, place, sealed) {
  const { values, failed } = asked("open", key, place, sealed);
  const opened = slices(values, sealed.length);
  for (const at of failed) opened[at] = null;
  return opened;
}

/** HMAC-SHA-256 of each value, 32 bytes: the same for equal values under the same key and domain, and so fit for keys and joins. */
export function hash(key, domain, values) {
  return slices(asked("hash", key, domain, values), values.length);
}

/** Text in UTF-8. */
export function toBytes(text) {
  const bytes = [];
  for (const character of text.toWellFormed()) {
    const point = character.codePointAt(0);
    if (point < 0x80) bytes.push(point);
    else if (point < 0x800) bytes.push(0xc0 | (point >> 6), 0x80 | (point & 63));
    else if (point < 0x10000) bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    else bytes.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
  }
  return Uint8Array.from(bytes);
}

/** The text that is written there in UTF-8.
 * @throws {URIError} if it is none. */
export function toText(bytes) {
  let escaped = "";
  for (const byte of bytes) escaped += `%${byte.toString(16).padStart(2, "0")}`;
  return decodeURIComponent(escaped);
}

/** Bytes as hexadecimal digits. */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
