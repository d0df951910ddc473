// Where the cells of layers by experts are. Pure functions: nothing here draws.

import { clamp } from "./view.js";

/** @import { ExpertPlace, Routes } from "./routes.js" */

/**
 * The rectangle of the routed experts in CSS pixels; experts that are always on stand to the left of it.
 * @typedef {object} GridBox
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {number} cell width of one expert
 * @property {number} row height of one layer
 * @property {number} always width of one expert that is always on
 */

const HEIGHT = 190;
const HIGHEST = 340;
const TOP = 18;
export const FOOT = 20;
const SHARED_GAP = 8;

/** @type {(routes: Routes) => number} */
export const sharedCount = ({ layers }) => Math.max(...layers.map((rule) => rule.shared));

/**
 * @param {Routes} routes
 * @param {number} width
 * @param {number} gutter
 * @returns {GridBox}
 */
export function gridBox(routes, width, gutter) {
  const rows = routes.layers.length, row = Math.min(HIGHEST / rows, clamp(HEIGHT / rows, 5, 26));
  const shared = sharedCount(routes), room = Math.max(1, width - gutter - 6);
  const always = shared ? clamp(room / (routes.experts + shared), 7, 14) : 0;
  const x = gutter + (shared ? shared * always + SHARED_GAP : 0);
  const cell = Math.min(26, Math.max(1, width - x - 6) / routes.experts);
  return { x, y: TOP, width: cell * routes.experts, height: row * rows, cell, row, always };
}

/** @type {(box: GridBox, expert: number) => number} */
export const expertX = (box, expert) => box.x + expert * box.cell;
/** @type {(box: GridBox, layer: number) => number} */
export const layerY = (box, layer) => box.y + layer * box.row;
/** @type {(box: GridBox, count: number, at: number) => number} */
export const sharedX = (box, count, at) => box.x - SHARED_GAP - (count - at) * box.always;

/**
 * The expert under a point, or null.
 * @param {GridBox} box
 * @param {Routes} routes
 * @param {number} x
 * @param {number} y
 * @returns {ExpertPlace | null}
 */
export function expertUnder(box, routes, x, y) {
  const layer = Math.floor((y - box.y) / box.row), expert = Math.floor((x - box.x) / box.cell);
  const rule = routes.layers[layer];
  return rule && expert >= 0 && expert < rule.experts ? { layer, expert } : null;
}
