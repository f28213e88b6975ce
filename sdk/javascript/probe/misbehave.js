/** Plans and answers that make no sense. Those about a column are about the first written one. */

export const PLANS = {
  "plan-reads-unknown": (plan, beyond) => plan.read.push(beyond),
  "plan-reads-twice": (plan) => plan.read.push(plan.read[0]),
  "plan-writes-unknown": (plan, beyond) => { plan.write[0].index = beyond; },
  "plan-writes-twice": (plan) => plan.write.push({ ...plan.write[0] }),
  "plan-renames-to-existing": (plan, beyond, names) => plan.rename.push([0, names[1]]),
  "plan-drops-unknown": (plan, beyond) => plan.drop.push(beyond),
  "plan-from-unknown": (plan, beyond) => { plan.write[0].from = [...plan.write[0].from, beyond]; },
};

export const SELECTS = ["drop", "fan-out", "history", "descending-select", "select-beyond-end"];
export const CHANGES_KINDS = ["soft-delete", "history", "bad-kind", "short-kinds"];
export const ROUTES = ["route", "bad-route", "short-routes"];

const bytes = (length, value = 0) => new Uint8Array(length).fill(value);

/** The first written column, as texts with offsets. */
function texts(output) {
  const column = output.columns[0];
  const values = column.data.val.data.split("\0");
  const offsets = [0];
  for (const value of values) offsets.push(offsets.at(-1) + unescape(encodeURIComponent(value)).length);
  column.data = { tag: "strings", val: { offsets: Uint32Array.from(offsets), data: values.join("") } };
  return column.data.val;
}

function offsets(change) {
  return (output) => {
    const text = texts(output);
    text.offsets = Uint32Array.from(change(Array.from(text.offsets)));
  };
}

function data(tag, make) {
  return (output, batch) => { output.columns[0].data = { tag, val: make(batch.rows) }; };
}

function state(make) {
  return (output, batch) => { output.columns[0].state = make(batch.rows); };
}

function set(name, make) {
  return (output, batch) => { output[name] = make(batch); };
}

function reject(changes) {
  return (output, batch, plan, times) => output.rejects.push({ row: 0, column: null, message: "told to reject", ...changes(batch, times) });
}

const upTo = (rows) => Uint32Array.from({ length: rows }, (_, row) => row);
const MEBIBYTE = 1 << 20;

export const ANSWERS = {
  "short-column": offsets((ends) => [...ends.slice(0, -2), ends.at(-1)]),
  "long-column": offsets((ends) => [...ends, ends.at(-1)]),
  "wrong-type": (output, batch) => {
    const isInt = output.columns[0].data.tag === "ints";
    const val = isInt ? new Float64Array(batch.rows).fill(0.5) : new BigInt64Array(batch.rows).fill(7n);
    output.columns[0].data = { tag: isInt ? "floats" : "ints", val };
  },
  "undeclared-column": (output, batch, plan) => { output.columns[0].index = plan.write.length + 1000; },
  "column-twice": (output) => output.columns.push(output.columns[0]),
  "bad-state": state((rows) => bytes(rows, 7)),
  "short-state": state((rows) => bytes(Math.max(rows - 1, 1) + 2)),
  "bad-bool": data("bools", (rows) => bytes(rows, 2)),
  "descending-offsets": offsets((ends) => ends.reverse()),
  "offsets-beyond-end": offsets((ends) => ends.map((end) => end + 1_000_000)),
  "first-offset-not-zero": offsets((ends) => [1, ...ends.slice(1)]),
  "offsets-in-character": data("strings", (rows) => {
    const ends = rows === 1 ? [0, 1] : Array.from({ length: rows + 1 }, (_, row) => (row === 0 || row === rows ? row * 2 : row * 2 - 1));
    return { offsets: Uint32Array.from(ends), data: "é".repeat(rows) };
  }),
  "joined-count": data("strings", (rows) => ({ offsets: new Uint32Array(0), data: "\0".repeat(rows + 3) })),
  "descending-select": set("select", ({ rows }) => (rows === 1 ? Uint32Array.of(0, 1) : upTo(rows).reverse())),
  "select-beyond-end": (output, batch) => { output.select[output.select.length - 1] = batch.rows; },
  "select-undeclared": set("select", ({ rows }) => upTo(rows)),
  "short-kinds": set("kinds", ({ rows }) => bytes(rows + 1, 1)),
  "bad-kind": set("kinds", ({ rows }) => bytes(rows, 9)),
  "kinds-undeclared": set("kinds", ({ kinds }) => kinds),
  "short-routes": set("routes", ({ rows }) => new Uint16Array(rows + 1)),
  "bad-route": set("routes", ({ rows }) => new Uint16Array(rows).fill(2)),
  "reject-beyond-end": reject(({ rows }) => ({ row: rows })),
  "reject-unknown-column": reject(() => ({ column: 1000 })),
  "too-many-rejects": (output, batch, plan, times) => { output.rejects = Array(times).fill({ row: 0, column: null, message: "told to reject" }); },
  "long-reject": reject((batch, times) => ({ message: "x".repeat(times) })),
  // There is no saying the same memory twice from JavaScript: each is copied, until its own memory ends. So they are large ones, and bytes where that can be, which
  // are copied at once.
  "aliased-rejects": (output, batch, plan, times) => { output.rejects = Array(times).fill({ row: 0, column: null, message: "x".repeat(24 * MEBIBYTE) }); },
  "aliased-columns": (output, batch, plan, times) => {
    const val = { offsets: Uint32Array.of(0, MEBIBYTE), data: bytes(MEBIBYTE) };
    output.columns = Array(times).fill({ index: plan.write[0].index, state: bytes(0), data: { tag: "blobs", val } });
  },
  "huge-output": (output, batch, plan, times) => {
    const ends = Uint32Array.from({ length: batch.rows + 1 }, (_, row) => row * times);
    output.columns[0].data = { tag: "strings", val: { offsets: ends, data: "x".repeat(ends.at(-1)) } };
  },
};
