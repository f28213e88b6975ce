/** Write sluice plugins in JavaScript or TypeScript. The README beside this package goes from nothing to a loaded plugin. */

/** The types of columns. */
export type ColumnType =
  | "boolean" | "int64" | "uint64" | "float32" | "float64" | "decimal" | "text" | "bytes" | "date" | "time" | "timestamp" | "timestamptz"
  | "interval" | "uuid" | "json" | "array" | "document" | "object-id" | "enumeration" | "extended";

/** What stands in a row: `null` is null, `undefined` is absent (the log did not carry it, the target keeps what it has). */
export type Value =
  | string | bigint | number | boolean | Uint8Array | Decimal | PlainDate | PlainTime | PlainDateTime | Instant | Date | null | undefined;

/** A column that was read, edited or added: its place in a row. */
export type Column = number;

/** What an image is: an insert has one, an update two (`before` and `after`), a delete one. */
export type Kind = "snapshot" | "insert" | "before" | "after" | "delete";

/** What the class that is the plugin may say of itself, as static fields. */
export interface About {
  /** What it does, in one line. */
  summary?: string;
  /** A JSON Schema of the configuration. */
  configSchema?: object | string;
}

/** A plugin that is asked row by row: `export default class ... implements RowPlugin`. */
export interface RowPlugin {
  /** Called once per table: which columns are needed, and what becomes of them. */
  open(table: Table, config: Config): void;
  /** Called for every row image. Its answer must depend on the row alone. */
  row(row: Row): void | null | Row | Iterable<Row>;
}

/** A plugin that works on whole columns. */
export interface BatchPlugin {
  open(table: Table, config: Config): void;
  rows(batch: Batch): void;
}

/** What `row` answers for a row that goes no further. Needs `table.selects()`. */
export const DROP: readonly never[];

/** One row image. It is good for the call that it came with: the next one is made of the same object. */
export interface Row {
  [column: Column]: Value;
  kind: Kind;
  /** The target: 0, or what `table.route(name)` gave. */
  route: number;
  /** Leaves the target's value of a written column as it is, whatever came in: makes it absent. */
  leave(column: Column): void;
  /** Another row with the same values: `return [row, other]`. */
  copy(): Row;
}

/** Row images, column by column. */
export interface Batch {
  /** How many images there are. */
  readonly length: number;
  readonly kinds: Kind[];
  /** The values of a column that was read. */
  get(column: Column): Value[];
  /** Writes a column, with one value per image (after `select`: per image that was selected). */
  set(column: Column, values: Iterable<Value>): void;
  /** Keeps these images (numbers, never descending; repeated for copies). Needs `table.selects()`. */
  select(images: Iterable<number>): void;
  /** The route of each image that is kept: 0, or what `table.route(name)` gave. */
  sendTo(routes: Iterable<number>): void;
  /** The kind of each image that is kept. Needs `table.changesKinds()`. */
  turnInto(kinds: Iterable<Kind>): void;
  /** Refuses the event of an image. */
  reject(image: number, column: Column | null, message: string): void;
}

/** The event is refused: it becomes a dead letter with the values that it came with. */
export class Reject extends Error {
  constructor(column: Column | null, message: string);
  readonly column: Column | null;
}

/** Something is wrong with the configuration at a place (a JSON Pointer; empty: the whole of it). */
export class Mistake extends Error {
  constructor(message: string, at?: string | Name);
  readonly at: string;
}

/** Text of the configuration that knows its place. */
export class Name {
  constructor(text: string, at: string);
  readonly text: string;
  readonly at: string;
  toString(): string;
}

/** The table that is being opened. Columns may be named by a `Name` of the configuration, which knows its place, or by text, with `at` for the place. */
export interface Table {
  readonly name: string;
  readonly schema: string;
  readonly database: string;
  readonly version: number;
  /** The names of its columns, in order. */
  readonly columns: string[];
  /** The names of its key's columns. */
  readonly key: string[];
  typeOf(name: string | Name): ColumnType | null;
  column(column: Column): { name: string; reads: ColumnType | null; type: ColumnType };
  /** Something is wrong with the configuration at that place. Say what is allowed. */
  mistake(message: string, at?: string | Name): void;
  /** Reads a column; of one of these types, if any is named. */
  read(name: string | Name, options?: { types?: readonly ColumnType[]; at?: string }): Column;
  /** Reads a column and writes it in place; `to`: as another type. */
  edit(name: string | Name, options?: { types?: readonly ColumnType[]; to?: ColumnType; at?: string }): Column;
  /** Adds a column (text, if no type is named). */
  add(name: string | Name, type?: ColumnType, options?: { at?: string }): Column;
  /** Says what a written column is computed from, where that isn't everything that the plugin reads. */
  computedFrom(written: Column, ...columns: Column[]): void;
  neverNull(written: Column): void;
  /** Gives a written column the source's own type name. */
  native(written: Column, native: string): void;
  /** Says that the same input may give another output. */
  notDeterministic(written: Column): void;
  rename(name: string | Name, to: string | Name, options?: { at?: string }): void;
  drop(name: string | Name, options?: { at?: string }): void;
  /** Adds a target that rows may be sent to: `row.route = table.route("vip")`. */
  route(name: string | Name): number;
  /** Announces that rows may be dropped or copied. */
  selects(): void;
  /** Announces that rows may change their kind. */
  changesKinds(): void;
  noBeforeImages(): void;
  /** Isn't interested in this table. */
  skip(): void;
}

/** A mapping of the configuration. Without a default, a key must be there. */
export interface Config {
  /** Its own place, as a JSON Pointer. */
  readonly at: string;
  /** Where a key stands. */
  place(key: string): string;
  has(key: string): boolean;
  /** All keys, for a mapping whose keys the user chooses. */
  keys(): string[];
  /** Whatever stands there, as JSON has it. */
  value(key: string, or?: unknown): unknown;
  text<T = never>(key: string, or?: T): string | T;
  flag<T = never>(key: string, or?: T): boolean | T;
  integer<T = never>(key: string, or?: T): number | T;
  number<T = never>(key: string, or?: T): number | T;
  /** Text that knows its place: the name of a column. */
  name<T = never>(key: string, or?: T): Name | T;
  texts<T = never>(key: string, or?: T): string[] | T;
  names<T = never>(key: string, or?: T): Name[] | T;
  word<W extends string, T = never>(key: string, words: readonly W[], or?: T): W | T;
  mapping<T = never>(key: string, or?: T): Config | T;
  mappings<T = never>(key: string, or?: T): Config[] | T;
  /** A mapping from names to names. */
  pairs<T = never>(key: string, or?: T): [Name, Name][] | T;
}

/** An exact decimal number, NaN or an infinity, that keeps the digits it came with. */
export class Decimal {
  constructor(digits: string);
  /** Of an integer, or of text that is a decimal number. @throws {RangeError} */
  static from(value: Decimal | bigint | number | string): Decimal;
  readonly isFinite: boolean;
  compare(other: Decimal | bigint | number | string): number;
  equals(other: Decimal | bigint | number | string): boolean;
  plus(other: Decimal | bigint | number | string): Decimal;
  minus(other: Decimal | bigint | number | string): Decimal;
  times(other: Decimal | bigint | number | string): Decimal;
  /** With that many digits behind the point; halves go away from zero. */
  round(scale?: number): Decimal;
  /** The nearest binary number. Not exact. */
  toNumber(): number;
  toString(): string;
  toJSON(): string;
}

/** A date. */
export class PlainDate {
  /** Days since 1970-01-01. */
  constructor(days: number);
  static from(value: string | PlainDate | { year: number; month: number; day: number }): PlainDate;
  static compare(a: PlainDate, b: PlainDate): number;
  static readonly INFINITY: PlainDate;
  static readonly NEGATIVE_INFINITY: PlainDate;
  readonly days: number;
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly isFinite: boolean;
  addDays(days: number): PlainDate;
  equals(other: unknown): boolean;
  toString(): string;
  toJSON(): string;
}

/** A time of the day, from 00:00 to 24:00. */
export class PlainTime {
  /** Microseconds since midnight. */
  constructor(micros: number | bigint);
  static from(value: string | PlainTime): PlainTime;
  readonly microseconds: bigint;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** Of the second: 0 to 999,999. */
  readonly microsecond: number;
  equals(other: unknown): boolean;
  toString(): string;
  toJSON(): string;
}

declare class Micros {
  /** Microseconds since 1970-01-01. */
  constructor(micros: number | bigint);
  readonly epochMicroseconds: bigint;
  readonly isFinite: boolean;
  toPlainDate(): PlainDate;
  toPlainTime(): PlainTime;
  equals(other: unknown): boolean;
  toString(): string;
  toJSON(): string;
}

/** A date with a time, of no zone (`timestamp`). */
export class PlainDateTime extends Micros {
  static from(value: string | PlainDateTime): PlainDateTime;
  static compare(a: PlainDateTime, b: PlainDateTime): number;
  static readonly INFINITY: PlainDateTime;
  static readonly NEGATIVE_INFINITY: PlainDateTime;
}

/** A moment (`timestamptz`). */
export class Instant extends Micros {
  static from(value: string | Instant | Date): Instant;
  static compare(a: Instant, b: Instant): number;
  static readonly INFINITY: Instant;
  static readonly NEGATIVE_INFINITY: Instant;
  /** Rounded down. */
  readonly epochMilliseconds: number;
  /** To the millisecond, rounded down. */
  toDate(): Date;
}

/** The integer that is written there: a sign and the digits 0 to 9, nothing else. */
export function parseInteger(text: string): bigint | null;
/** The decimal that is written there: digits, a point, an exponent, nothing else. */
export function parseDecimal(text: string): Decimal | null;
/** A JSON Pointer to a key below keys. */
export function pointer(...keys: (string | number)[]): string;
/** `did you mean X?` for the nearest of the candidates, or nothing. */
export function didYouMean(text: string, candidates: readonly string[]): string;
