// Routes come through a component of their own, so that no window of them sends the matrix again: they meet here.

/** @import { Routes } from "./routes.js" */

/**
 * What is known of a text's routes, who is told of more, and who can be asked for more.
 * @typedef {object} RoutePlace
 * @property {Routes} [routes]
 * @property {(routes: Routes) => void} [apply]
 * @property {(token: number) => void} [ask]
 */

const FEEDS = Symbol.for("gatescope.routes");

/**
 * Where the matrix of each channel and its routes meet.
 * @returns {Map<string, RoutePlace>}
 */
export function routeRegistry() {
  /** @type {typeof globalThis & Record<symbol, Map<string, RoutePlace>>} */
  const shared = globalThis;
  return (shared[FEEDS] ??= new Map());
}
