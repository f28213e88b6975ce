/** A guest that does, on command, everything a guest may do and much that it may not: the host is tested with it. The commands are those of the Rust SDK's
 * probe (`sdk/rust/probe/src/config.rs`). What is right goes through the SDK; what is wrong is done to what the SDK has made. */

import { DROP, Reject } from "sluice-sdk";
import { component } from "sluice-sdk/component";

import { ANSWERS, CHANGES_KINDS, PLANS, ROUTES, SELECTS } from "./misbehave.js";

/** As it was before the SDK sealed it: asking for a clock that isn't there ends the instance. */
const clock = Date.now;

function trap() {
  clock();
  throw new Error("there was a clock");
}

function spin() {
  for (;;);
}

function allocate() {
  for (const held = []; ;) held.push(new Uint8Array(1 << 20).fill(1));
}

function recurse(depth = 0) {
  return recurse(depth + 1) + 1;
}

const ROWS = {
  nothing() {},
  echo() {},
  drop: (probe, row, meant) => (meant ? DROP : undefined),
  reject(probe, row, meant) {
    if (meant) throw new Reject(probe.first, "told to reject");
  },
  "fan-out": (probe, row, meant) => (meant ? Array(probe.times).fill(row) : undefined),
  route(probe, row, meant) {
    row.route = meant ? 1 : 0;
  },
  "soft-delete"(probe, row, meant) {
    if (meant && row.kind === "delete") row.kind = "after";
  },
  history(probe, row) {
    if (row.kind === "before") return DROP;
    if (row.kind !== "snapshot") row.kind = "insert";
    return undefined;
  },
  fail(probe, row, meant) {
    if (meant) throw new Error("told to fail the batch");
  },
  trap: (probe, row, meant) => meant && trap() || undefined,
  spin: (probe, row, meant) => meant && spin() || undefined,
  allocate: (probe, row, meant) => meant && allocate() || undefined,
  recurse: (probe, row, meant) => meant && recurse() || undefined,
};

export default class Probe {
  static summary = "Does what its configuration says, right or wrong";
  static configSchema = { type: "object", required: ["do"] };

  open(table, config) {
    const known = [...Object.keys(ROWS), ...Object.keys(PLANS), ...Object.keys(ANSWERS), "config-errors", "decline", "trap-at-open", "spin-at-open"];
    this.action = config.word("do", known.sort());
    this.times = config.integer("times", 2);
    const read = config.names("read", table.columns);
    const when = config.mapping("when", null);
    const about = when?.text("column");
    this.equals = when?.text("equals");
    this.version = config.text("version", null);
    config.flag("joined", true); // text always comes joined
    if (this.action === "config-errors") {
      table.mistake("told to refuse this", "/do");
      table.mistake("and this", "/version");
      return;
    }
    if (this.action === "decline") return table.skip();
    if (this.action === "trap-at-open") trap();
    if (this.action === "spin-at-open") spin();
    const writes = this.action !== "nothing" && this.version === null;
    const columns = read.map((name) => {
      const column = writes ? table.edit(name) : table.read(name);
      if (writes && table.mistakes.length === 0) table.computedFrom(column, column);
      return column;
    });
    this.first = columns[0] ?? null;
    this.always = when === null;
    this.when = this.always ? null : columns.find((column) => table.slots[column].name === about) ?? null;
    this.added = null;
    if (this.version !== null) {
      this.added = table.add("version", "text");
      table.neverNull(this.added);
      table.computedFrom(this.added);
    }
    for (const [name, to] of config.value("rename", [])) table.rename(name, to);
    for (const name of config.names("drop", [])) table.drop(name);
    if (config.flag("no-before-images", false)) table.noBeforeImages();
    if (config.flag("selects", false) || SELECTS.includes(this.action)) table.selects();
    if (CHANGES_KINDS.includes(this.action)) table.changesKinds();
    if (ROUTES.includes(this.action)) table.route("side");
    this.do = ROWS[this.action] ?? ROWS.echo;
  }

  row(row) {
    if (this.added !== null) row[this.added] = this.version;
    return this.do(this, row, this.always || (this.when !== null && String(row[this.when]) === this.equals));
  }
}

/** An opened table whose plan and answers are spoilt on command. */
component.Opened = class Misbehaving extends component.Opened {
  constructor(probe, table, plan) {
    super(probe, table, plan);
    PLANS[probe.action]?.(plan, table.columns.length + 7, table.columns);
  }

  transform(batch) {
    const { plugin: probe, plan } = this;
    const output = super.transform(batch);
    if (this.isMeant(batch)) ANSWERS[probe.action]?.(output, batch, plan, probe.times);
    return output;
  }

  /** Whether the command is about a row of this batch. */
  isMeant(batch) {
    const { always, when, equals } = this.plugin;
    if (when === null) return always;
    const { val } = batch.columns[this.plan.read.indexOf(this.slots[when].index)].data;
    return (typeof val.data === "string" ? val.data.split("\0") : Array.from(val, String)).includes(equals);
  }
};
