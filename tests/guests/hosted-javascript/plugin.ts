/** What a plugin in TypeScript asks of its host: hashes a column, and takes another one back that it has just sealed. It logs how many. */

import type { Batch, BatchPlugin, Column, Config, Table, Value } from "sluice-sdk";
import * as crypto from "sluice-sdk/crypto";
import * as log from "sluice-sdk/log";

export default class Hosted implements BatchPlugin {
  static summary = "Hashes one column, and seals and opens another";
  private key!: string;
  private hashed!: Column;
  private sealed!: Column;
  private place!: crypto.Place;

  open(table: Table, config: Config): void {
    this.key = config.text("key");
    this.hashed = table.edit("hashed");
    this.sealed = table.edit("sealed");
    this.place = new crypto.Place(table, "sealed");
  }

  rows(batch: Batch): void {
    batch.set(this.hashed, crypto.hash(this.key, "domain", bytes(batch.get(this.hashed))).map(crypto.toHex));
    const texts = batch.get(this.sealed);
    // One that was changed since does not open.
    const sealed = crypto.seal(this.key, this.place, bytes(texts)).map((value, at) => (texts[at] === "broken" ? value.subarray(0, -1) : value));
    const opened = crypto.open(this.key, this.place, sealed);
    batch.set(this.sealed, opened.map((value) => value && crypto.toText(value)));
    log.info(`${batch.length} rows`);
  }
}

function bytes(values: Value[]): Uint8Array[] {
  return values.map((value) => crypto.toBytes(typeof value === "string" ? value : ""));
}
