/** Lines for the engine's log. A plugin that imports this needs `grant: { log: {} }`. */
export function debug(message: unknown): void;
export function info(message: unknown): void;
export function warn(message: unknown): void;
export function error(message: unknown): void;
