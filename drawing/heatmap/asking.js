// Routes that are not here yet are asked for where the reader looks: one window at a time.

import { routeRegistry } from "./feeds.js";
import { isKnown } from "./routes.js";

/** @import { Loaded } from "./state.js" */

const REST_MS = 120;
const PATIENCE_MS = 3000;

/**
 * Ask for the routes of a token, unless they are here or another question is out.
 * @param {Loaded} heatmap
 * @param {number} token
 */
export function askFor(heatmap, token) {
  const { routes, model } = heatmap, now = Date.now();
  if (!routes || token < 0 || token >= routes.tokens || isKnown(routes, token) || now - heatmap.asked < PATIENCE_MS) return;
  heatmap.asked = now;
  routeRegistry().get(model.channel)?.ask?.(token);
}

/**
 * Ask once the reader has rested: whoever passes over a thousand tokens asks for none of them.
 * @param {Loaded} heatmap
 * @param {() => number | null} where the token looked at by then
 */
export function askAtRest(heatmap, where) {
  window.clearTimeout(heatmap.resting);
  if (!heatmap.routes) return;
  heatmap.resting = window.setTimeout(() => {
    const token = where();
    if (token !== null) askFor(heatmap, token);
  }, REST_MS);
}
