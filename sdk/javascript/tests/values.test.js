/** Every value crosses in both directions. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Decimal, Instant, parseDecimal, parseInteger, PlainDate, PlainDateTime, PlainTime } from "../src/index.js";
import { decode, encode, WORDS } from "../src/values.js";
import { crossed } from "./support.js";

const LAST = 2n ** 63n - 1n;
const MOMENTS = [0n, 1_795_453_262_345_678n, -1n, LAST, -LAST - 1n, 2n ** 62n];
const TEXTS = ["", "a", "é€😀", "a\0b", "\0"];
const VALUES = {
  "boolean": [true, false],
  "int64": [0n, 1n, -1n, LAST, -LAST - 1n, 2n ** 53n + 1n],
  "uint64": [0n, 2n ** 64n - 1n],
  "float32": [0, -0, 1.5, Infinity],
  "float64": [0.1, -1e308, -Infinity, NaN],
  "decimal": ["1.50", "-0.0000001", "1E+20", "NaN", "-Infinity", "007.10", "-0"].map((digits) => new Decimal(digits)),
  "bytes": [new Uint8Array(0), Uint8Array.of(0, 255)],
  "date": [0, -1, 2_147_483_647, -2_147_483_648, 5_000_000].map((days) => new PlainDate(days)),
  "time": [0, 86_399_999_999, 86_400_000_000].map((micros) => new PlainTime(micros)),
  "timestamp": MOMENTS.map((micros) => new PlainDateTime(micros)),
  "timestamptz": MOMENTS.map((micros) => new Instant(micros)),
  "uuid": ["00000000-0000-0000-0000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
  "object-id": [new Uint8Array(12), Uint8Array.from("abcdefghijkl", (letter) => letter.charCodeAt(0))],
};

/** Values as something that can be compared: those with private fields can't be looked into. */
function plain(value) {
  return value !== null && typeof value === "object" && !(value instanceof Uint8Array) ? [value.constructor.name, String(value), value.days, value.epochMicroseconds, value.microseconds] : value;
}

/** The same numbers each time. */
function* numbers(seed) {
  for (let state = seed; ; state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) yield state >> 8;
}

function crossing(type, values) {
  return decode(crossed(encode({ name: "c", type }, values)), type, values.length);
}

test("every type comes back", () => {
  const next = numbers(1);
  for (const type of WORDS) {
    for (const nothings of [[], [null], [null, undefined]]) {
      const pool = [...(VALUES[type] ?? TEXTS), ...nothings];
      for (const count of [0, 1, 2, 30]) {
        const values = Array.from({ length: count }, () => pool[next.next().value % pool.length]);
        assert.deepEqual(crossing(type, values).map(plain), values.map(plain), type);
      }
    }
  }
});

test("text with offsets is cut between characters", () => {
  const column = { state: new Uint8Array(0), data: { tag: "strings", val: { offsets: [0, 2, 5, 9, 9, 10], data: "é€😀a" } } };
  assert.deepEqual(decode(column, "text", 5), ["é", "€", "😀", "", "a"]);
});

test("a wrong value is said", () => {
  for (const [type, value, said] of [
    ["int64", true, "column `c` is int64 and can't be set to boolean"],
    ["int64", 2n ** 63n, "column `c` is int64: a number that was set has no room in it"],
    ["int64", 2 ** 53, "column `c` is int64: a number that was set is no safe integer; set a bigint"],
    ["int64", 1.5, "column `c` is int64: a number that was set is no safe integer; set a bigint"],
    ["int64", "1", "column `c` is int64 and can't be set to string"],
    ["uint64", -1, "column `c` is uint64: a number that was set has no room in it"],
    ["text", 1, "column `c` is text and can't be set to number"],
    ["text", "\ud800", "column `c`: text that was set holds half a surrogate pair"],
    ["decimal", 0.1, "column `c` is decimal: a number with a fraction is not exact; set Decimal.from(\"0.1\")"],
    ["decimal", "0.1", "column `c` is decimal and can't be set to string"],
    ["float32", 1e300, "column `c` is float32: a number that was set has no room in it"],
    ["float64", 1n, "column `c` is float64 and can't be set to bigint"],
    ["date", new Date(0), "column `c` is date and can't be set to Date"],
    ["timestamp", new Date(0), "column `c` is timestamp and can't be set to Date"],
    ["timestamptz", new PlainDateTime(0), "column `c` is timestamptz and can't be set to PlainDateTime"],
    ["timestamptz", new Date(NaN), "column `c` is timestamptz and can't be set to Date"],
    ["uuid", "6ba7b810", "column `c` is uuid: text that was set is none"],
    ["object-id", Uint8Array.of(1), "column `c` is object-id: that takes 12 bytes"],
    ["boolean", 1, "column `c` is boolean and can't be set to number"],
  ]) {
    assert.throws(() => encode({ name: "c", type }, [value]), { message: said }, `${type} ${String(value)}`);
  }
  // Two halves in neighbouring values are no pair.
  assert.throws(() => encode({ name: "c", type: "text" }, ["\ud83d", "\ude00"]), /half a surrogate pair/);
});

test("numbers are read as everybody means them", () => {
  for (const [text, number] of Object.entries({ "12": 12n, "-0": 0n, "+3": 3n, "1_0": null, " 1": null, "１": null, "": null, "0x10": null, "1\n": null, "1n": null, "1.0": null })) {
    assert.equal(parseInteger(text), number, text);
  }
  assert.equal(parseInteger("9".repeat(10_000)), null);
  for (const text of ["1.5", "-.5", "5.", "1e3"]) assert.equal(String(parseDecimal(text)), text);
  for (const text of ["", ".", "NaN", "1_0", " 1", "１", "1e99999", "0x1", "Infinity"]) assert.equal(parseDecimal(text), null, text);
});

test("decimals count by their digits", () => {
  const sums = [["0.1", "0.2", "0.3"], ["1E+3", "-0.5", "999.5"], ["-0.05", "0", "-0.05"], ["99999999999999999999", "0.1", "99999999999999999999.1"]];
  for (const [a, b, sum] of sums) assert.equal(String(Decimal.from(a).plus(b)), sum);
  assert.equal(String(Decimal.from("0.1").times("-0.2")), "-0.02");
  for (const [text, scale, rounded] of [["2.5", 0, "3"], ["-2.5", 0, "-3"], ["1.25", 1, "1.3"], ["1.2", 3, "1.200"], ["0.049", 1, "0.0"]]) {
    assert.equal(String(Decimal.from(text).round(scale)), rounded);
  }
  assert.ok(Decimal.from("1.50").equals("1.5") && Decimal.from("-1").compare("0.5") === -1 && new Decimal("Infinity").compare(1) === 1);
  assert.throws(() => Decimal.from(0.1), RangeError);
  assert.throws(() => Decimal.from("x"), RangeError);
  assert.throws(() => new Decimal("1") + new Decimal("2"), /operators don't work/);
});

test("dates and moments are written as in ISO 8601, to the microsecond", () => {
  for (const text of ["2024-02-29", "0001-01-01", "9999-12-31", "+010000-01-01", "-000001-12-31", "1969-12-31"]) {
    assert.equal(String(PlainDate.from(text)), text);
  }
  for (const text of ["2023-02-29", "2023-13-01", "2023-1-1", "", "2023-01-01T00:00"]) assert.throws(() => PlainDate.from(text), RangeError, text);
  for (const days of [0, -1, 719_468, -719_468, 2_932_896, -141_428]) {
    const date = new Date(days * 86_400_000);
    const { year, month, day } = new PlainDate(days);
    assert.deepEqual([year, month, day], [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate()]);
  }
  assert.equal(String(Instant.from("2026-11-23T17:01:02.345678+01:30")), "2026-11-23T15:31:02.345678Z");
  assert.equal(Instant.from("1969-12-31T23:59:59.999999Z").epochMicroseconds, -1n);
  assert.equal(Instant.from("1969-12-31T23:59:59.999999Z").toDate().getTime(), -1);
  assert.equal(Instant.from(new Date(5)).epochMicroseconds, 5_000n);
  assert.equal(String(PlainDateTime.from("2026-11-23 17:01")), "2026-11-23T17:01:00");
  assert.equal(`${Instant.INFINITY} ${PlainDate.NEGATIVE_INFINITY}`, "infinity -infinity");
  assert.equal(String(PlainTime.from("24:00")), "24:00:00");
  for (const text of ["24:01", "12:60", "1:00", "12"]) assert.throws(() => PlainTime.from(text), RangeError, text);
  assert.throws(() => Instant.from("2026-11-23T17:01:02"), /needs a zone/);
  assert.throws(() => PlainDateTime.from("2026-11-23T17:01:02Z"), RangeError);
});
