// Routes come through a component of their own, so that no window of them sends the matrix again: they meet here.

import { addRoutes } from "./routes.js";

/** @import { RouteMessage, Routes } from "./routes.js" */

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

/**
 * Add a message to what is known of its text, and tell the matrix.
 * @param {RouteMessage} message
 */
export function spread(message) {
  const place = routeRegistry().get(message.channel) ?? {};
  routeRegistry().set(message.channel, place);
  place.routes = addRoutes(place.routes, message);
  place.apply?.(place.routes);
}
