/** The component: what the host calls, in the plugin's name. */

import { Config, isMapping } from "./config.js";
import { Misuse, Mistake } from "./errors.js";
import { Opened, printable } from "./rows.js";
import { Table } from "./table.js";

/** Where the plugin's own lines stand in the one file that it is built into: `[[first line, last line, file, its line], ...]`. `build.mjs` fills it in. */
export const lines = [];

/** Where a line of the built file comes from, as `file:line`; null of what isn't the plugin's own. */
function origin(line) {
  const found = lines.find(([first, last]) => first <= line && line <= last);
  return found ? `${found[2]}:${found[3] + line - found[0]}` : null;
}

/** An exception in one line, with the way that it took: `TypeError: cannot read property 'x' of null < row (plugin.js:44)`. */
export function told(error) {
  try {
    if (error instanceof Misuse || error instanceof Mistake) return error.message;
    if (!(error instanceof Error)) return `${typeof error}: ${String(error)}`;
    const way = String(error.stack ?? "").split("\n").flatMap((frame) => {
      const [, name, line] = /^\s*at (?:(.+?) \()?.*?:(\d+)(?::\d+)?\)?$/.exec(frame) ?? [];
      const at = line && origin(Number(line));
      return at ? [` < ${name && name !== "<anonymous>" ? name : "a function"} (${at})`] : [];
    });
    const cause = error.cause === undefined ? "" : `, because of ${told(error.cause)}`;
    return `${error.name}${error.message ? `: ${error.message}` : ""}${way.join("")}${cause}`;
  } catch {
    return "an exception whose text can't be had";
  }
}

function refuse(what) {
  return () => {
    throw new Error(`there is no ${what} where rows flow`);
  };
}

/** Where rows flow there is no clock: asking for it is an exception with words, not the end of the instance. */
function seal() {
  const Real = Date;
  const refused = refuse("clock");
  const Sealed = function Date(...parts) {
    if (new.target === undefined || parts.length === 0) refused();
    return Reflect.construct(Real, parts, new.target === Sealed ? Real : new.target);
  };
  Object.defineProperty(Sealed, "length", { value: 7 });
  Sealed.prototype = Real.prototype;
  Object.defineProperty(Real.prototype, "constructor", { value: Sealed, configurable: true, writable: true });
  Object.assign(Sealed, { UTC: Real.UTC, parse: Real.parse, now: refused });
  globalThis.Date = Sealed;
  if (typeof performance === "object") Object.defineProperty(globalThis, "performance", { value: { now: refused }, configurable: true });
}

/** An opened table (or null, if the plugin isn't interested) and the mistakes. */
export function openTable(Plugin, info, text) {
  const table = new Table(info);
  let plugin;
  try {
    const values = text.trim() ? JSON.parse(text) : {};
    if (values !== null && !isMapping(values)) return [null, [new Mistake("write a mapping here")]];
    const config = new Config(values ?? {});
    plugin = new Plugin();
    plugin.open(table, config);
    // After other mistakes, a key may not have been reached.
    if (table.mistakes.length === 0) table.mistakes.push(...config.unseen());
  } catch (error) {
    if (!(error instanceof Mistake)) return [null, [...table.mistakes, new Mistake(`the plugin broke: ${told(error)}`)]];
    table.mistakes.push(error);
  }
  const plan = table.finish();
  if (table.mistakes.length || plan === null) return [null, table.mistakes];
  return [new component.Opened(plugin, table, plan), []];
}

/** What an opened table is made of: the probe, which misbehaves on purpose, puts another one here. */
export const component = { Opened };

/** What the host calls, for the class that is the plugin. */
export function transformer(Plugin, name, version) {
  if (typeof Plugin !== "function") throw new Error("the plugin exports no class: `export default class { open(table, config) {..} row(row) {..} }`");
  const { prototype, summary = "", configSchema = {} } = Plugin;
  if (typeof prototype?.open !== "function") throw new Error("the plugin's class needs a method open(table, config)");
  if ((typeof prototype.row === "function") === (typeof prototype.rows === "function")) {
    throw new Error("the plugin's class needs either a method row(row) or a method rows(batch)");
  }
  const about = { name, version, summary: String(summary), configSchema: typeof configSchema === "string" ? configSchema : JSON.stringify(configSchema) };
  const tables = new Map();
  seal();
  return {
    describe() {
      return about;
    },
    open(handle, info, config) {
      const [opened, mistakes] = openTable(Plugin, info, config);
      if (mistakes.length) throw mistakes.map(({ at, message }) => ({ path: at, message: printable(message) }));
      if (opened === null) return null;
      tables.set(handle, opened);
      return opened.plan;
    },
    close(handle) {
      tables.delete(handle);
    },
    transform(handle, batch) {
      try {
        return tables.get(handle).transform(batch);
      } catch (error) {
        throw printable(told(error));
      }
    },
  };
}
