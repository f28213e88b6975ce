// build.mjs DIR WIT TOOLS WORK: makes WORK/plugin.wasm of the plugin in DIR. Run by build-guest. TOOLS is where `setup` has put what this needs.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HOSTED = ["crypto", "log"];
/** What the component starts from, as source maps call it. */
const START = "sluice-start.js";
const ENTRIES = ["plugin.js", "plugin.mjs", "plugin.ts"];

const [folder, wit, tools, work] = process.argv.slice(2).map((argument) => path.resolve(argument));
const sdk = path.join(path.dirname(fileURLToPath(import.meta.url)), "src");
const require = createRequire(path.join(tools, "package.json"));

function fail(...lines) {
  for (const line of lines) console.error(line);
  process.exit(1);
}

/** What package.json says of the plugin. */
function manifest() {
  let about;
  try {
    about = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
  } catch (error) {
    fail(`package.json: ${error.message}`);
  }
  for (const key of ["name", "version"]) if (typeof about[key] !== "string") fail(`package.json needs a "${key}"`);
  const entry = about.main ?? ENTRIES.find((name) => fs.existsSync(path.join(folder, name)));
  if (entry === undefined) fail(`there is no ${ENTRIES.join(", no ")} ("main" in package.json names another file)`);
  if (!fs.existsSync(path.join(folder, entry))) fail(`there is no ${entry}, which "main" in package.json names`);
  const ours = about.sluice ?? {};
  const unknown = Object.keys(ours).find((key) => key !== "wasi");
  if (unknown !== undefined) fail(`package.json: "sluice" has no "${unknown}"`);
  return { name: about.name, version: about.version, entry: path.join(folder, entry), wasi: ours.wasi === true };
}

/** The SDK is this one, whatever lies in node_modules; the host's interfaces are nobody's files. */
const resolving = {
  name: "sluice",
  setup(build) {
    build.onResolve({ filter: /^sluice-sdk(\/|$)/ }, ({ path: asked }) => {
      const name = asked === "sluice-sdk" ? "index" : asked.slice("sluice-sdk/".length);
      const file = path.join(sdk, `${name}.js`);
      return fs.existsSync(file) ? { path: file } : { errors: [{ text: `there is no "${asked}"; there are: sluice-sdk, ${HOSTED.map((one) => `sluice-sdk/${one}`).join(", ")}` }] };
    });
    build.onResolve({ filter: /^sluice:plugin\// }, ({ path: asked }) => ({ path: asked, external: true }));
  },
};

/** The plugin, the SDK and what both import, in one module. */
async function bundle({ name, version, entry }) {
  const esbuild = require("esbuild");
  const start = [
    `import { transformer as made } from "sluice-sdk/component";`,
    `import * as module from ${JSON.stringify(entry)};`,
    `export const transformer = made(module.default, ${JSON.stringify(name)}, ${JSON.stringify(version)});`,
  ].join("\n");
  const options = {
    stdin: { contents: start, resolveDir: folder, sourcefile: START }, bundle: true, write: false, outfile: path.join(work, "plugin.js"), format: "esm", platform: "neutral",
    mainFields: ["module", "main"], conditions: ["import", "module"], target: "es2023", charset: "utf8", sourcemap: "external", metafile: true, logLevel: "silent",
    absWorkingDir: folder, plugins: [resolving],
  };
  let built;
  try {
    built = await esbuild.build(options);
  } catch (error) {
    if (!error.errors) throw error;
    for (const one of error.errors) {
      if (!one.text.startsWith("Could not resolve")) continue;
      const isNode = one.notes.some((note) => note.text.includes("built into node"));
      one.notes = [{ text: isNode ? "  That is a part of Node.js, and there is none where rows flow." : "  A package has to be installed beside the plugin: npm install PACKAGE." }];
    }
    fail(...esbuild.formatMessagesSync(error.errors, { kind: "error", color: false }));
  }
  const [map, code] = [".map", ".js"].map((end) => built.outputFiles.find((file) => file.path.endsWith(end)).text);
  const imports = Object.values(built.metafile.outputs).flatMap((output) => output.imports ?? []).filter((one) => one.external).map((one) => one.path);
  return { code, lines: lines(JSON.parse(map)), imports };
}

/** Runs of lines of the one module that are the plugin's own: `[first, last, file, its line]`, from 1. */
function lines({ mappings, sources }) {
  const runs = [];
  let [source, line] = [0, 0];
  mappings.split(";").forEach((row, at) => {
    for (const [nth, segment] of row.split(",").entries()) {
      if (segment === "") continue;
      const [, toSource = 0, toLine = 0] = numbers(segment);
      [source, line] = [source + toSource, line + toLine];
      if (nth > 0) continue;
      const place = path.resolve(work, sources[source]);
      if (place.startsWith(sdk + path.sep) || path.basename(place) === START) continue;
      const file = path.relative(folder, place);
      const last = runs.at(-1);
      if (last && last[2] === file && last[1] === at && line + 1 - last[3] === at + 1 - last[0]) last[1] = at + 1;
      else runs.push([at + 1, at + 1, file, line + 1]);
    }
  });
  return runs;
}

/** The numbers of a segment of a source map: base64, five bits and a sign each. */
function numbers(segment) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const found = [];
  let [value, shift] = [0, 0];
  for (const digit of segment) {
    const bits = digits.indexOf(digit);
    value += (bits & 31) << shift;
    shift += 5;
    if (bits & 32) continue;
    found.push(value & 1 ? -(value >> 1) : value >> 1);
    [value, shift] = [0, 0];
  }
  return found;
}

const about = manifest();
const { code, lines: runs, imports } = await bundle(about);
// Only what a plugin names is imported: an engine for JavaScript can't tell what is used.
const asked = HOSTED.filter((name) => imports.some((one) => one.startsWith(`sluice:plugin/${name}@`)));
fs.cpSync(wit, path.join(work, "wit"), { recursive: true });
fs.writeFileSync(
  path.join(work, "wit", "javascript.wit"),
  `package sluice:plugin@0.1.0;\nworld javascript-plugin { ${asked.map((name) => `import ${name}; `).join("")}export transformer; }\n`,
);
const { componentize } = require("componentize-qjs");
try {
  const { component } = await componentize({
    witPath: path.join(work, "wit"), world: "javascript-plugin", jsSource: `${code}\nlines.push(...${JSON.stringify(runs)});\n`,
    runtime: path.join(tools, "runtime.wasm"), stubWasi: !about.wasi,
  });
  fs.writeFileSync(path.join(work, "plugin.wasm"), component);
} catch (error) {
  // What was thrown, and where in the plugin's own files.
  const [said, ...frames] = error.message.replace(/^[^]*Failed to finish JavaScript module evaluation: /, "").trim().split("\n");
  const way = frames.flatMap((frame) => {
    const [, name, line] = /^\s*at (.+) \(componentize-qjs:user\.js:(\d+)/.exec(frame) ?? [];
    const run = runs.find(([first, last]) => first <= line && line <= last);
    return run ? [`    at ${name} (${run[2]}:${run[3] + Number(line) - run[0]})`] : line ? [] : [frame];
  });
  fail(`the plugin can't be started: ${said}`, ...way);
}
