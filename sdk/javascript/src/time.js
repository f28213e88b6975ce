/** Dates, times and moments, to the microsecond. The names are those of `Temporal`, of which these are a small part; JavaScript's own `Date` has
 * no microseconds. Every number of the contract has its value here: dates of any year, 24:00, and the infinities of dates and moments. */

const DAY = 86_400_000_000n;
const DAY_LAST = 2_147_483_647;
const DAY_FIRST = -2_147_483_648;
const MICROS_LAST = 9_223_372_036_854_775_807n;
const MICROS_FIRST = -9_223_372_036_854_775_808n;

const two = (number) => String(number).padStart(2, "0");

function floorDiv(a, b) {
  const whole = a / b;
  return a % b < 0n ? whole - 1n : whole;
}

/** Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar also before it was there. */
function civil(days) {
  const z = days + 719_468;
  const era = Math.floor(z / 146_097);
  const doe = z - era * 146_097;
  const yoe = Math.floor((doe - Math.floor(doe / 1_460) + Math.floor(doe / 36_524) - Math.floor(doe / 146_096)) / 365);
  const doy = doe - (365 * yoe + Math.floor(yoe / 4) - Math.floor(yoe / 100));
  const mp = Math.floor((5 * doy + 2) / 153);
  const month = mp < 10 ? mp + 3 : mp - 9;
  return { year: yoe + era * 400 + (month <= 2 ? 1 : 0), month, day: doy - Math.floor((153 * mp + 2) / 5) + 1 };
}

function daysOf(year, month, day) {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yoe = y - era * 400;
  const doy = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  return era * 146_097 + yoe * 365 + Math.floor(yoe / 4) - Math.floor(yoe / 100) + doy - 719_468;
}

const DATE = "([+-][0-9]{6}|[0-9]{4})-([0-9]{2})-([0-9]{2})";
const TIME = "([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\\.([0-9]{1,6}))?)?";
const DATE_FORM = new RegExp(`^${DATE}$`);
const TIME_FORM = new RegExp(`^${TIME}$`);
const MOMENT_FORM = new RegExp(`^${DATE}[T ]${TIME}(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?$`);

function wrong(what) {
  return new RangeError(`that is no ${what}`);
}

function dayIn(year, month, day) {
  const days = daysOf(Number(year), Number(month), Number(day));
  const back = civil(days);
  return back.month === Number(month) && back.day === Number(day) && days > DAY_FIRST && days < DAY_LAST ? days : null;
}

function timeIn(hour, minute, second = "0", fraction = "") {
  const [h, m, s] = [Number(hour), Number(minute), Number(second)];
  const micros = BigInt((h * 60 + m) * 60 + s) * 1_000_000n + BigInt(fraction.padEnd(6, "0"));
  return h <= 24 && m < 60 && s < 60 && micros <= DAY ? micros : null;
}

function integer(value, least, most, what) {
  const number = typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof number !== "bigint" || number < least || number > most) throw wrong(what);
  return number;
}

/** A date. */
export class PlainDate {
  #days;

  /** @param {number} days since 1970-01-01 */
  constructor(days) {
    this.#days = Number(integer(days, BigInt(DAY_FIRST), BigInt(DAY_LAST), "number of days"));
  }

  /** Of `2026-11-23`, or of `{ year, month, day }`.
   * @throws {RangeError} if it is none. */
  static from(value) {
    if (value instanceof PlainDate) return value;
    const found = typeof value === "string" ? DATE_FORM.exec(value) : [null, value?.year, value?.month, value?.day];
    const days = found && dayIn(found[1], found[2], found[3]);
    if (days === null || Number.isNaN(days)) throw wrong("date");
    return new PlainDate(days);
  }

  static INFINITY = new PlainDate(DAY_LAST);
  static NEGATIVE_INFINITY = new PlainDate(DAY_FIRST);

  /** Days since 1970-01-01. */
  get days() { return this.#days; }
  get isFinite() { return this.#days !== DAY_LAST && this.#days !== DAY_FIRST; }
  get year() { return civil(this.#days).year; }
  get month() { return civil(this.#days).month; }
  get day() { return civil(this.#days).day; }

  /** A date so many days later. */
  addDays(days) { return new PlainDate(this.#days + days); }
  equals(other) { return other instanceof PlainDate && other.#days === this.#days; }
  static compare(a, b) { return Math.sign(a.#days - b.#days); }

  toString() {
    if (!this.isFinite) return this.#days < 0 ? "-infinity" : "infinity";
    const { year, month, day } = civil(this.#days);
    const digits = year >= 0 && year <= 9_999 ? String(year).padStart(4, "0") : `${year < 0 ? "-" : "+"}${String(Math.abs(year)).padStart(6, "0")}`;
    return `${digits}-${two(month)}-${two(day)}`;
  }

  toJSON() { return this.toString(); }
}

/** A time of the day, from 00:00 to 24:00. */
export class PlainTime {
  #micros;

  /** @param {number | bigint} micros since midnight */
  constructor(micros) {
    this.#micros = integer(micros, MICROS_FIRST, MICROS_LAST, "number of microseconds");
  }

  /** Of `17:01:02.345678`.
   * @throws {RangeError} if it is none. */
  static from(value) {
    if (value instanceof PlainTime) return value;
    const found = typeof value === "string" ? TIME_FORM.exec(value) : null;
    const micros = found && timeIn(found[1], found[2], found[3], found[4]);
    if (micros === null) throw wrong("time");
    return new PlainTime(micros);
  }

  /** Microseconds since midnight. */
  get microseconds() { return this.#micros; }
  get hour() { return Number(this.#micros / 3_600_000_000n); }
  get minute() { return Number(this.#micros / 60_000_000n) % 60; }
  get second() { return Number(this.#micros / 1_000_000n) % 60; }
  get microsecond() { return Number(this.#micros % 1_000_000n); }
  equals(other) { return other instanceof PlainTime && other.#micros === this.#micros; }

  toString() {
    const fraction = this.microsecond ? `.${String(this.microsecond).padStart(6, "0")}` : "";
    return `${two(this.hour)}:${two(this.minute)}:${two(this.second)}${fraction}`;
  }

  toJSON() { return this.toString(); }
}

/** What a date with a time and a moment have in common. */
class Micros {
  _micros;

  constructor(micros) {
    this._micros = integer(micros, MICROS_FIRST, MICROS_LAST, "number of microseconds");
  }

  /** Microseconds since 1970-01-01. */
  get epochMicroseconds() { return this._micros; }
  get isFinite() { return this._micros !== MICROS_LAST && this._micros !== MICROS_FIRST; }
  equals(other) { return other?.constructor === this.constructor && other._micros === this._micros; }
  static compare(a, b) { return a._micros < b._micros ? -1 : a._micros > b._micros ? 1 : 0; }

  toPlainDate() {
    if (!this.isFinite) return this._micros < 0n ? PlainDate.NEGATIVE_INFINITY : PlainDate.INFINITY;
    return new PlainDate(Number(floorDiv(this._micros, DAY)));
  }

  /** Of an infinity: midnight. */
  toPlainTime() {
    return new PlainTime(this.isFinite ? this._micros - floorDiv(this._micros, DAY) * DAY : 0n);
  }

  toString() {
    if (!this.isFinite) return this._micros < 0n ? "-infinity" : "infinity";
    return `${this.toPlainDate()}T${this.toPlainTime()}`;
  }

  toJSON() { return this.toString(); }
}

function micros(found, what) {
  const days = found && dayIn(found[1], found[2], found[3]);
  const time = found && timeIn(found[4], found[5], found[6], found[7]);
  if (days === null || time === null) throw wrong(what);
  return BigInt(days) * DAY + time;
}

/** A date with a time, of no zone (`timestamp`). */
export class PlainDateTime extends Micros {
  /** Of `2026-11-23T17:01:02.345678`; a zone is none of its business.
   * @throws {RangeError} if it is none. */
  static from(value) {
    if (value instanceof PlainDateTime) return value;
    const found = typeof value === "string" ? MOMENT_FORM.exec(value) : null;
    return new PlainDateTime(micros(found?.[8] ? null : found, "date with a time (and without a zone)"));
  }

  static INFINITY = new PlainDateTime(MICROS_LAST);
  static NEGATIVE_INFINITY = new PlainDateTime(MICROS_FIRST);
}

/** A moment (`timestamptz`). */
export class Instant extends Micros {
  /** Of `2026-11-23T17:01:02.345678Z` (or with an offset, `+01:00`), or of a `Date`.
   * @throws {RangeError} if it is none. */
  static from(value) {
    if (value instanceof Instant) return value;
    if (value instanceof Date) return new Instant(Math.round(value.getTime()) * 1_000);
    const found = typeof value === "string" ? MOMENT_FORM.exec(value) : null;
    const zone = found?.[8];
    if (!zone) throw wrong("moment: it needs a zone, as in 2026-11-23T17:01:02Z");
    const [hours, minutes] = zone === "Z" ? [0, 0] : [Number(zone.slice(1, 3)), Number(zone.slice(3).replace(":", "") || 0)];
    if (hours > 23 || minutes > 59) throw wrong("offset from UTC");
    const offset = BigInt(hours * 60 + minutes) * 60_000_000n;
    return new Instant(micros(found, "moment") - (zone[0] === "-" ? -offset : offset));
  }

  static INFINITY = new Instant(MICROS_LAST);
  static NEGATIVE_INFINITY = new Instant(MICROS_FIRST);

  /** Milliseconds since 1970-01-01, rounded down. */
  get epochMilliseconds() { return Number(floorDiv(this._micros, 1_000n)); }
  /** To the millisecond, rounded down. An infinity is an invalid `Date`. */
  toDate() { return new Date(this.isFinite ? this.epochMilliseconds : NaN); }
  toString() { return this.isFinite ? `${super.toString()}Z` : super.toString(); }
}
