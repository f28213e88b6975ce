/** Plugins as functions of rows and columns, and what they say of a configuration. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { told } from "../src/component.js";
import { DROP, parseInteger, Reject } from "../src/index.js";
import { printable } from "../src/rows.js";
import { mistakes, Opened, table } from "./support.js";

const PEOPLE = table({ id: "int64", name: "text", email: "text", amount: "text" });

function person(email, amount = "1") {
  return [1n, "Ann", email, amount];
}

/** The plugin of the contract's measurements. */
class Normalise {
  open(table, config) {
    if (config.flag("select", false)) table.selects();
    this.email = table.edit(config.name("column"));
    this.amount = table.read("amount", { at: "/amount" });
    this.out = table.add("amount_int", "int64");
    this.vip = table.route("vip");
    table.rename("name", "full_name");
  }

  row(row) {
    const amount = row[this.amount];
    if (typeof amount === "string") {
      const number = parseInteger(amount);
      if (number === null) throw new Reject(this.amount, "not a number");
      row[this.out] = number;
    }
    if (typeof row[this.email] !== "string") return undefined;
    const email = row[this.email].toLowerCase();
    row[this.email] = email;
    if (email.includes("+vip")) row.route = this.vip;
    return email === "" ? DROP : email.startsWith("dup") ? [row, row] : undefined;
  }
}

/** One row per word. */
class Split {
  open(table) {
    table.selects();
    this.name = table.edit("name");
  }

  *row(row) {
    for (const word of row[this.name].split(" ")) {
      if (word === "bad") throw new Reject(this.name, "a bad word");
      row[this.name] = word;
      yield row;
    }
  }
}

/** By columns. */
class Whole {
  open(table) {
    table.selects();
    this.email = table.edit("email");
    this.twice = table.add("twice", "int64");
    this.id = table.read("id");
  }

  rows(batch) {
    const emails = batch.get(this.email);
    const kept = emails.flatMap((email, at) => (email ? [at] : []));
    batch.select(kept);
    batch.set(this.twice, kept.map((at) => batch.get(this.id)[at] * 2n));
    batch.set(this.email, kept.map((at) => emails[at].toUpperCase()));
    batch.reject(0, this.email, "the first");
  }
}

/** A plugin of these methods. */
function of(open, row) {
  return class {
    open(table, config) { open.call(this, table, config); }
    row(row_) { return row.call(this, row_); }
  };
}

test("null and absent pass and stay apart", () => {
  const opened = new Opened(Normalise, PEOPLE, { column: "email" });
  const output = opened.transform([person("Ä@X", "12"), [1n, "Ann", undefined, undefined], person(null, null)], ["insert", "before", "after"]);
  assert.deepEqual(opened.written(output, "email"), ["ä@x", undefined, null]);
  // Absent, where something that it is computed from is.
  assert.deepEqual(opened.written(output, "amount_int"), [12n, undefined, null]);
  assert.deepEqual([output.select, [...output.routes]], [null, [0, 0, 0]]);
  assert.deepEqual(opened.plan.rename, [[1, "full_name"]]);
});

test("rows are dropped, copied, routed and refused", () => {
  const opened = new Opened(Normalise, PEOPLE, { column: "email", select: true });
  const output = opened.transform([person(""), person("DUP+vip"), person("B", "x"), person("C")]);
  assert.deepEqual([...output.select], [1, 1, 2, 3]);
  assert.deepEqual([...output.routes], [1, 1, 0, 0]);
  const emails = opened.written(output, "email");
  assert.deepEqual([emails[0], emails[1], emails[3]], ["dup+vip", "dup+vip", "c"]);
  assert.deepEqual(output.rejects, [{ row: 2, column: 3, message: "not a number" }]);
});

test("one row becomes several, or is refused after some", () => {
  const opened = new Opened(Split, PEOPLE);
  const output = opened.transform([[1n, "a bc", "", ""], [2n, "x bad", "", ""], [3n, "d", "", ""]]);
  assert.deepEqual([...output.select], [0, 0, 1, 2]);
  assert.deepEqual(opened.written(output, "name"), ["a", "bc", null, "d"]);
  assert.equal(output.rejects[0].row, 1);
});

test("a copy may differ from its row", () => {
  const Copies = of(function (table) { table.selects(); this.name = table.edit("name"); }, function (row) {
    const copy = row.copy();
    copy[this.name] = "copy";
    return [row, copy];
  });
  const opened = new Opened(Copies, PEOPLE);
  assert.deepEqual(opened.written(opened.transform([person("x")]), "name"), ["Ann", "copy"]);
});

test("all rows may be dropped", () => {
  const opened = new Opened(Normalise, PEOPLE, { column: "email", select: true });
  const output = opened.transform([person("")]);
  assert.deepEqual([[...output.select], opened.written(output, "email")], [[], []]);
});

test("kinds change", () => {
  const Soft = of((table) => { table.changesKinds(); table.read("id"); }, (row) => { if (row.kind === "delete") row.kind = "after"; });
  const output = new Opened(Soft, PEOPLE).transform([person("x"), person("x")], ["insert", "delete"]);
  assert.deepEqual([...output.kinds], [1, 3]);
  const Refuses = of((table) => { table.changesKinds(); table.read("id"); }, (row) => { if (row.kind === "delete") throw new Reject(null, "why"); });
  const refused = new Opened(Refuses, PEOPLE).transform([person("x"), person("x")], ["insert", "delete"]);
  assert.deepEqual([[...refused.kinds], refused.rejects], [[1, 4], [{ row: 1, column: null, message: "why" }]]);
});

test("by columns", () => {
  const opened = new Opened(Whole, PEOPLE);
  const output = opened.transform([person("a"), person(""), person("é")]);
  assert.deepEqual([[...output.select], opened.written(output, "email"), opened.written(output, "twice")], [[0, 2], ["A", "É"], [2n, 2n]]);
  assert.equal(output.rejects[0].message, "the first");
});

test("undefined is no value by accident", () => {
  const Careless = of(function (table, config) { this.leaves = config.flag("leaves"); this.name = table.edit("name"); }, function (row) {
    row[this.name] = { Bob: "B" }[row[this.name]];
    if (this.leaves) row.leave(this.name);
  });
  assert.throws(() => new Opened(Careless, PEOPLE, { leaves: false }).transform([person("x")]), /column `name` was set to undefined: set null, or leave/);
  const opened = new Opened(Careless, PEOPLE, { leaves: true });
  assert.deepEqual(opened.written(opened.transform([person("x")]), "name"), [undefined]);
});

test("what open did not announce is said", () => {
  const Careless = of(function (table, config) {
    if (config.flag("selects", false)) table.selects();
    this.id = table.edit("id", config.flag("retype", false) ? { to: "text" } : {});
  }, function (row) {
    return row[this.id] === 0n ? DROP : row[this.id] === 1n ? 7 : row[this.id] === 2n ? [{}] : undefined;
  });
  const fails = (id, config, said) => assert.throws(() => new Opened(Careless, PEOPLE, config).transform([[id, "", "", ""]]), said);
  fails(0n, {}, /didn't call table.selects\(\)/);
  fails(1n, { selects: true }, /row\(\) answered with number: return nothing, DROP, or rows/);
  fails(2n, { selects: true }, /something else among its rows/);
  fails(5n, { retype: true }, /column `id` is text and can't be set to bigint/);
});

test("what the host would not take is said or cut", () => {
  const Refuses = of(function (table) { this.id = table.edit("id"); this.vip = table.route("vip"); }, function (row) {
    if (row[this.id] === 0n) throw new Reject(this.id, `${"é".repeat(1000)}\ud800`);
    if (row[this.id] === 1n) throw new Reject("id", "why");
    row.route = "vip";
  });
  const opened = new Opened(Refuses, PEOPLE);
  const { message } = opened.transform([[0n, "", "", ""]]).rejects[0];
  assert.equal(Buffer.byteLength(message), 1024);
  assert.ok(Buffer.byteLength(printable("😀".repeat(1000))) <= 1024);
  assert.throws(() => opened.transform([[1n, "", "", ""]]), /takes what open\(\) got from the table, not "id"/);
  assert.throws(() => opened.transform([[2n, "", "", ""]]), /routes are integers from 0 to 1/);
});

test("an exception is told in one line, whatever it is", () => {
  assert.equal(told(new TypeError("boom é")), "TypeError: boom é");
  assert.equal(told(new Error("a", { cause: new Error("b") })), "Error: a, because of Error: b");
  assert.equal(told("text"), "string: text");
  assert.equal(told(undefined), "undefined: undefined");
  assert.equal(told({ toString() { throw new Error("x"); } }), "an exception whose text can't be had");
});

test("all mistakes come at once with their place", () => {
  assert.deepEqual(mistakes(Normalise, table({ id: "int64", emial: "text" }), { column: "email" }), [
    "/column: table `t` has no column `email`; did you mean `emial`?",
    "/amount: table `t` has no column `amount`; it has: id, emial",
    ": table `t` has no column `name`; it has: id, emial",
  ]);
});

test("what is missing, unknown or of another type", () => {
  assert.deepEqual(mistakes(Normalise, PEOPLE, {}), [": `column` is missing"]);
  assert.deepEqual(mistakes(Normalise, PEOPLE, { column: 7 }), ["/column: write text here, not a number"]);
  assert.deepEqual(mistakes(Normalise, PEOPLE, { column: "email", slect: true }), ["/slect: unknown key `slect`; did you mean `select`? allowed: column, select"]);
  assert.deepEqual(mistakes(Normalise, PEOPLE, { column: "email", select: 1 }), ["/select: write true or false here, not a number"]);
  assert.deepEqual(mistakes(Normalise, PEOPLE, null), [": `column` is missing"]);
  assert.deepEqual(mistakes(Normalise, PEOPLE, []), [": write a mapping here"]);
});

test("places go down into the configuration", () => {
  const Deep = of((table, config) => {
    for (const [from, to] of config.pairs("rename")) table.rename(from, to);
    for (const name of config.names("columns", [])) table.read(name);
    for (const one of config.mappings("rules", [])) table.edit(one.name("column"), { types: ["json"] });
  }, () => {});
  assert.deepEqual(mistakes(Deep, PEOPLE, { rename: { "a/b": "x", "name": "email" }, columns: ["id", "nmae"], rules: [{ column: "amount", colum: 1 }] }), [
    "/rename/a~1b: table `t` has no column `a/b`; it has: id, name, email, amount",
    "/columns/1: table `t` has no column `nmae`; did you mean `name`?",
    "/rules/0/column: column `amount` is text, but must be json",
    "/rename/name: there would be two columns `email`: the table has already one of that name",
  ]);
  assert.deepEqual(mistakes(Deep, PEOPLE, { rename: {}, rules: [{ column: 1 }] }), ["/rules/0/column: write text here, not a number"]);
});

test("what broke is a mistake too", () => {
  const Breaks = of(() => { throw new RangeError("why"); }, () => {});
  assert.deepEqual(mistakes(Breaks, PEOPLE, {}), [": the plugin broke: RangeError: why"]);
});

test("two columns of one name", () => {
  const Twice = of((table) => {
    table.add("id", "text", { at: "/a" });
    table.rename("name", "email", { at: "/b" });
    table.edit("amount", { to: "integer", at: "/c" });
  }, () => {});
  const found = mistakes(Twice, PEOPLE, {});
  assert.match(found[0], /^\/c: there is no type `integer`; there are: boolean, int64,/);
  assert.deepEqual(found.slice(1), [
    "/a: there would be two columns `id`: the table has already one of that name",
    "/b: there would be two columns `email`: the table has already one of that name",
  ]);
});
