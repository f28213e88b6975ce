/** Decimals by their digits. They never go through a binary number. */

const FORM = /^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,4}))?$/;
const SPECIAL = new Map([
  ["nan", NaN], ["-nan", NaN], ["+nan", NaN], ["infinity", Infinity], ["+infinity", Infinity], ["-infinity", -Infinity], ["inf", Infinity],
  ["+inf", Infinity], ["-inf", -Infinity],
]);

/** An exact decimal number, NaN or an infinity. It keeps the digits that it came with: `String(decimal)`. */
export class Decimal {
  #text;
  #parts;

  /** Takes a column's digits as they are. For text from elsewhere take `parseDecimal`, for numbers `Decimal.from`. */
  constructor(text) {
    this.#text = text;
  }

  /** Of an integer (a `bigint`, or a `number` without a fraction), of a `Decimal`, or of text that is a decimal number.
   * @throws {RangeError} for anything else: `0.1` is not one tenth, so write `Decimal.from("0.1")`. */
  static from(value) {
    if (value instanceof Decimal) return value;
    if (typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value))) return new Decimal(BigInt(value).toString());
    if (typeof value === "string") {
      const made = new Decimal(value);
      if (made.#read() !== null) return made;
    }
    throw new RangeError(typeof value === "number" ? "a number with a fraction is not exact: write its digits as text" : "that is no decimal number");
  }

  /** Whether it has digits: neither NaN nor an infinity. */
  get isFinite() {
    const parts = this.#read();
    return parts !== null && parts.special === undefined;
  }

  /** -1, 0 or 1: whether it is less than another, equal (`1.50` and `1.5` are), or more. `NaN` where one of them is NaN. */
  compare(other) {
    const [a, b] = [this.#known(), Decimal.from(other).#known()];
    if (a.special !== undefined || b.special !== undefined) {
      const [x, y] = [a.special ?? 0, b.special ?? 0];
      return x < y ? -1 : x > y ? 1 : x === y ? 0 : NaN;
    }
    const [x, y] = aligned(a, b);
    return x < y ? -1 : x > y ? 1 : 0;
  }

  equals(other) {
    return this.compare(other) === 0;
  }

  /** The sum, exactly. */
  plus(other) {
    const [a, b] = [this.#digits(), Decimal.from(other).#digits()];
    const [x, y, scale] = aligned(a, b);
    return written(x + y, scale);
  }

  /** The difference, exactly. */
  minus(other) {
    const [a, b] = [this.#digits(), Decimal.from(other).#digits()];
    const [x, y, scale] = aligned(a, b);
    return written(x - y, scale);
  }

  /** The product, exactly. */
  times(other) {
    const [a, b] = [this.#digits(), Decimal.from(other).#digits()];
    return written(a.digits * b.digits, a.scale + b.scale);
  }

  /** With that many digits behind the point; halves go away from zero, as in SQL. */
  round(scale = 0) {
    if (!Number.isInteger(scale) || scale < 0 || scale > 9_999) throw new RangeError("a scale is an integer from 0 to 9999");
    const { digits, scale: has } = this.#digits();
    if (has <= scale) return written(digits * 10n ** BigInt(scale - has), scale);
    const unit = 10n ** BigInt(has - scale);
    const half = digits < 0n ? -unit : unit;
    return written((2n * digits + half) / (2n * unit), scale);
  }

  /** The nearest binary number. Not exact. */
  toNumber() {
    const parts = this.#known();
    return parts.special ?? Number(this.#text);
  }

  toString() {
    return this.#text;
  }

  toJSON() {
    return this.#text;
  }

  /** `+`, `<` and the like would go through a binary number, or compare texts. */
  [Symbol.toPrimitive](hint) {
    if (hint === "string") return this.#text;
    throw new TypeError("operators don't work on decimals: use plus, minus, times, compare, or toNumber");
  }

  /** Digits and scale; `special` of what has none; null of what is no number at all. */
  #read() {
    if (this.#parts !== undefined) return this.#parts;
    const special = SPECIAL.get(String(this.#text).toLowerCase());
    const found = special === undefined ? FORM.exec(this.#text) : null;
    if (special !== undefined) this.#parts = { special };
    else if (found === null || !(found[2] || found[3])) this.#parts = null;
    else {
      const fraction = found[3] ?? "";
      let digits = BigInt(found[2] + fraction);
      let scale = fraction.length - Number(found[4] ?? 0);
      if (scale < 0) [digits, scale] = [digits * 10n ** BigInt(-scale), 0];
      this.#parts = { digits: found[1] === "-" ? -digits : digits, scale };
    }
    return this.#parts;
  }

  #known() {
    const parts = this.#read();
    if (parts === null) throw new RangeError("that is no decimal number");
    return parts;
  }

  #digits() {
    const parts = this.#known();
    if (parts.special !== undefined) throw new RangeError("there are no digits in NaN and infinity");
    return parts;
  }
}

function aligned(a, b) {
  const scale = Math.max(a.scale, b.scale);
  return [a.digits * 10n ** BigInt(scale - a.scale), b.digits * 10n ** BigInt(scale - b.scale), scale];
}

function written(digits, scale) {
  const size = (digits < 0n ? -digits : digits).toString().padStart(scale + 1, "0");
  const whole = size.slice(0, size.length - scale);
  return new Decimal(`${digits < 0n ? "-" : ""}${whole}${scale ? `.${size.slice(-scale)}` : ""}`);
}
