/** Lines for the engine's log, with pipeline and plugin. A plugin that imports this asks for it: its step needs `grant: { log: {} }`. A line is cut after 1 KiB, and of
 * more than 10 a second only their number is told. */

import host from "sluice:plugin/log@0.1.0";

function line(level) {
  return (message) => host.log(level, String(message).toWellFormed());
}

/** For those who look for a fault of the plugin. */
export const debug = line("debug");
/** Worth knowing. */
export const info = line("info");
/** Something is odd. */
export const warn = line("warn");
/** Something is wrong. */
export const error = line("error");
