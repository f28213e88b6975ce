/** Values between the contract's columns and JavaScript: decoding what came in, encoding what goes out, a column at a time. */

import { Decimal } from "./decimal.js";
import { Misuse } from "./errors.js";
import { Instant, PlainDate, PlainDateTime, PlainTime } from "./time.js";

function kindOf(value) {
  if (value === null || value === undefined) return String(value);
  return typeof value === "object" ? (value.constructor?.name ?? "an object") : typeof value;
}

export function wrong(slot, value) {
  return new Misuse(`column \`${slot.name}\` is ${slot.type} and can't be set to ${kindOf(value)}`);
}

function noRoom(slot) {
  return new Misuse(`column \`${slot.name}\` is ${slot.type}: a number that was set has no room in it`);
}

// Text: whatever travels as text.

const IS_ASCII = /^[\0-\x7f]*$/;

/** The bytes of text in UTF-8. Half a surrogate pair counts as what it is written as: three. */
export function bytesIn(text) {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00) {
      bytes += 2;
      at += 1;
    } else bytes += 2;
  }
  return bytes;
}

function split(strings, rows) {
  const { offsets, data } = strings;
  if (offsets.length === 0) return rows ? data.split("\0") : [];
  const values = [];
  if (IS_ASCII.test(data)) {
    for (let at = 0; at < rows; at++) values.push(data.slice(offsets[at], offsets[at + 1]));
    return values;
  }
  // Offsets count bytes of UTF-8, JavaScript's text counts units of UTF-16.
  let [bytes, unit] = [0, 0];
  for (let at = 0; at < rows; at++) {
    const start = unit;
    for (const end = offsets[at + 1]; bytes < end;) {
      const point = data.codePointAt(unit);
      bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
      unit += point < 0x10000 ? 1 : 2;
    }
    values.push(data.slice(start, unit));
  }
  return values;
}

function join(slot, values) {
  if (values.length === 0) return { tag: "strings", val: { offsets: NO_OFFSETS, data: "" } };
  for (let at = 0; at < values.length; at++) if (typeof values[at] !== "string") throw wrong(slot, values[at]);
  const joined = values.join("\0");
  if (!joined.isWellFormed()) throw new Misuse(`column \`${slot.name}\`: text that was set holds half a surrogate pair`);
  // The fastest way of counting them that there is in QuickJS.
  if (joined.split("\0").length === values.length) return { tag: "strings", val: { offsets: NO_OFFSETS, data: joined } };
  const offsets = new Uint32Array(values.length + 1);
  for (let at = 0; at < values.length; at++) offsets[at + 1] = offsets[at] + bytesIn(values[at]);
  return { tag: "strings", val: { offsets, data: values.join("") } };
}

const NO_OFFSETS = new Uint32Array(0);

function fromDecimals(slot, values) {
  const texts = values.map((value) => {
    if (value instanceof Decimal) return value.toString();
    if (typeof value === "bigint" || Number.isSafeInteger(value)) return BigInt(value).toString();
    if (typeof value === "number") throw new Misuse(`column \`${slot.name}\` is decimal: a number with a fraction is not exact; set Decimal.from("0.1")`);
    throw wrong(slot, value);
  });
  return join(slot, texts);
}

// Bytes and uuids.

function slices({ offsets, data }, rows) {
  const values = [];
  for (let at = 0; at < rows; at++) values.push(data.subarray(offsets[at], offsets[at + 1]));
  return values;
}

/** Byte strings as the contract has them. */
export function blobs(values) {
  const offsets = new Uint32Array(values.length + 1);
  for (let at = 0; at < values.length; at++) offsets[at + 1] = offsets[at] + values[at].length;
  const data = new Uint8Array(offsets[values.length]);
  for (let at = 0; at < values.length; at++) data.set(values[at], offsets[at]);
  return { offsets, data };
}

export { slices };

function fromBytes(slot, values) {
  for (const value of values) if (!(value instanceof Uint8Array)) throw wrong(slot, value);
  return { tag: "blobs", val: blobs(values) };
}

function fromObjectIds(slot, values) {
  for (const value of values) {
    if (!(value instanceof Uint8Array)) throw wrong(slot, value);
    if (value.length !== 12) throw new Misuse(`column \`${slot.name}\` is object-id: that takes 12 bytes`);
  }
  return { tag: "blobs", val: blobs(values) };
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function uuids(data, rows) {
  const values = [];
  for (let from = 0; from < rows * 16; from += 16) {
    let text = "";
    for (let at = 0; at < 16; at++) text += (at === 4 || at === 6 || at === 8 || at === 10 ? "-" : "") + HEX[data[from + at]];
    values.push(text);
  }
  return values;
}

function fromUuids(slot, values) {
  const data = new Uint8Array(values.length * 16);
  let to = 0;
  for (const value of values) {
    if (typeof value !== "string") throw wrong(slot, value);
    if (!UUID.test(value)) throw new Misuse(`column \`${slot.name}\` is uuid: text that was set is none`);
    const digits = value.replaceAll("-", "");
    for (let at = 0; at < 32; at += 2) data[to++] = Number.parseInt(digits.slice(at, at + 2), 16);
  }
  return { tag: "uuids", val: data };
}

// Numbers.

/** An encoder of 64-bit integers into an array that wraps silently: what reads back as another number had no room. */
function integers(tag, Of) {
  return (slot, values) => {
    const data = new Of(values.length);
    for (let at = 0; at < values.length; at++) {
      let value = values[at];
      if (typeof value !== "bigint") {
        if (typeof value !== "number") throw wrong(slot, value);
        if (!Number.isSafeInteger(value)) throw new Misuse(`column \`${slot.name}\` is ${slot.type}: a number that was set is no safe integer; set a bigint`);
        value = BigInt(value);
      }
      data[at] = value;
      if (data[at] !== value) throw noRoom(slot);
    }
    return { tag, val: data };
  };
}

function fromFloats(slot, values) {
  const isSmall = slot.type === "float32";
  const data = new Float64Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    if (typeof value !== "number") throw wrong(slot, value);
    if (isSmall && Number.isFinite(value) && !Number.isFinite(Math.fround(value))) throw noRoom(slot);
    data[at] = value;
  }
  return { tag: "floats", val: data };
}

function fromBools(slot, values) {
  const data = new Uint8Array(values.length);
  for (let at = 0; at < values.length; at++) {
    if (typeof values[at] !== "boolean") throw wrong(slot, values[at]);
    data[at] = values[at] ? 1 : 0;
  }
  return { tag: "bools", val: data };
}

// Dates, times and moments.

function objects(Of) {
  return (data) => Array.from(data, (number) => new Of(number));
}

function fromDates(slot, values) {
  return { tag: "days", val: Int32Array.from(values, (value) => {
    if (!(value instanceof PlainDate)) throw wrong(slot, value);
    return value.days;
  }) };
}

function fromTimes(slot, values) {
  return { tag: "ints", val: BigInt64Array.from(values, (value) => {
    if (!(value instanceof PlainTime)) throw wrong(slot, value);
    return value.microseconds;
  }) };
}

function fromMoments(Of) {
  return (slot, values) => ({ tag: "micros", val: BigInt64Array.from(values, (value) => {
    if (value instanceof Of) return value.epochMicroseconds;
    if (Of === Instant && value instanceof Date && !Number.isNaN(value.getTime())) return Instant.from(value).epochMicroseconds;
    throw wrong(slot, value);
  }) });
}

const same = (data) => data;
// What is encoded, decoded, and stands for null and absent. A list of the host comes as an array; one of bytes as a Uint8Array.
const TEXT = { decode: split, encode: join, nothing: "" };
const MIDNIGHT = new PlainTime(0);
const TYPES = {
  "boolean": { decode: (data) => Array.from(data, Boolean), encode: fromBools, nothing: false },
  "int64": { decode: same, encode: integers("ints", BigInt64Array), nothing: 0n },
  "uint64": { decode: same, encode: integers("uints", BigUint64Array), nothing: 0n },
  "float32": { decode: same, encode: fromFloats, nothing: 0 },
  "float64": { decode: same, encode: fromFloats, nothing: 0 },
  "decimal": { decode: (data, rows) => split(data, rows).map((text) => new Decimal(text)), encode: fromDecimals, nothing: new Decimal("0") },
  "text": TEXT,
  "bytes": { decode: slices, encode: fromBytes, nothing: new Uint8Array(0) },
  "date": { decode: objects(PlainDate), encode: fromDates, nothing: new PlainDate(0) },
  "time": { decode: objects(PlainTime), encode: fromTimes, nothing: MIDNIGHT },
  "timestamp": { decode: objects(PlainDateTime), encode: fromMoments(PlainDateTime), nothing: new PlainDateTime(0) },
  "timestamptz": { decode: objects(Instant), encode: fromMoments(Instant), nothing: new Instant(0) },
  "interval": TEXT,
  "uuid": { decode: uuids, encode: fromUuids, nothing: "00000000-0000-0000-0000-000000000000" },
  "json": TEXT,
  "array": TEXT,
  "document": TEXT,
  "object-id": { decode: slices, encode: fromObjectIds, nothing: new Uint8Array(12) },
  "enumeration": TEXT,
  "extended": TEXT,
};

/** The words for types, in the contract's order. */
export const WORDS = Object.keys(TYPES);

/** A column that came in, as an array of JavaScript's values: null is null, undefined is absent. */
export function decode(column, word, rows) {
  const values = TYPES[word].decode(column.data.val, rows);
  const state = column.state;
  for (let at = 0; at < state.length; at++) if (state[at]) values[at] = state[at] === 1 ? null : undefined;
  return values;
}

const NO_STATE = new Uint8Array(0);

/** A written column's state and data. */
export function encode(slot, values) {
  const { encode: kind, nothing } = TYPES[slot.type];
  if (!values.includes(null) && !values.includes(undefined)) return { state: NO_STATE, data: kind(slot, values) };
  const state = new Uint8Array(values.length);
  const known = values.slice();
  for (let at = 0; at < values.length; at++) {
    if (values[at] === null) state[at] = 1;
    else if (values[at] === undefined) state[at] = 2;
    else continue;
    known[at] = nothing;
  }
  return { state, data: kind(slot, known) };
}
