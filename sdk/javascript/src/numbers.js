/** Numbers out of text. JavaScript's own `Number` and `BigInt` take more than anybody means: `""` is 0, `" 1 "` is 1, `"0x10"` is 16. */

import { Decimal } from "./decimal.js";

const INTEGER = /^[+-]?[0-9]+$/;
const DECIMAL = /^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$/;
/** More digits than any column holds: turning them into a number takes time that grows with their square. */
const DIGITS = 4_000;

/** The integer that is written there: a sign and the digits 0 to 9, nothing else. `null` if it is none. */
export function parseInteger(text) {
  if (typeof text !== "string") return null;
  if (text.length < 16) {
    // What comes back as the same text was nothing but these digits; three times as fast as looking at each.
    const number = Number(text);
    if (Number.isInteger(number) && String(number) === text) return BigInt(number);
  }
  if (text.length > DIGITS || !INTEGER.test(text)) return null;
  return BigInt(text[0] === "+" ? text.slice(1) : text);
}

/** The `Decimal` that is written there: digits, a point, an exponent, nothing else. `null` if it is none. */
export function parseDecimal(text) {
  return typeof text === "string" && text.length <= DIGITS && DECIMAL.test(text) ? new Decimal(text) : null;
}
