/** Sealing, opening and hashing by keys that stay with the host. A plugin that imports this needs `grant: { crypto: { keys: [NAME], ops: [..] } }`. */
import type { Name, Table } from "./index.js";

/** What sealed values belong to: under another place they do not open. */
export class Place {
  constructor(table: Pick<Table, "name" | "schema">, column: string | Name, pipeline?: string);
}
export function seal(key: string, place: Place, values: readonly Uint8Array[]): Uint8Array[];
/** `null` where a value doesn't open. */
export function open(key: string, place: Place, sealed: readonly Uint8Array[]): (Uint8Array | null)[];
/** 32 bytes of each value. */
export function hash(key: string, domain: string, values: readonly Uint8Array[]): Uint8Array[];
export function toBytes(text: string): Uint8Array;
export function toText(bytes: Uint8Array): string;
export function toHex(bytes: Uint8Array): string;
