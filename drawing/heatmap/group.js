// Matrices of one page that share cursor and window: where mounted elements meet.

import { isDrawn } from "./state.js";

/** @import { Cell, Model } from "./model.js" */
/** @import { Heatmap, Drawn, Loaded } from "./state.js" */

const GROUPS = Symbol.for("gatescope.groups");

/**
 * The matrices of each named group.
 * @returns {Map<string, Set<Heatmap>>}
 */
function groupRegistry() {
  /** @type {typeof globalThis & Record<symbol, Map<string, Set<Heatmap>>>} */
  const shared = globalThis;
  return (shared[GROUPS] ??= new Map());
}

/**
 * Enter the group this matrix names, after leaving the one it was in.
 * @param {Loaded} heatmap
 */
export function joinGroup(heatmap) {
  leaveGroup(heatmap);
  const name = heatmap.model.group;
  if (!name) return;
  const members = groupRegistry().get(name) ?? new Set();
  groupRegistry().set(name, members);
  heatmap.members = members.add(heatmap);
}

/** @param {Heatmap} heatmap */
export function leaveGroup(heatmap) {
  heatmap.members?.delete(heatmap);
  heatmap.members = null;
}

/**
 * The other matrices of the group that are drawn.
 * @type {(heatmap: Heatmap) => Drawn[]}
 */
export const companions = (heatmap) => [...(heatmap.members ?? [])].filter((other) => other !== heatmap).filter(isDrawn);

/**
 * The cell of the same row and column in another matrix, or null where it has none.
 * @param {Loaded} heatmap
 * @param {Cell | null} cell
 */
export function sameCell({ model }, cell) {
  return cell && cell.column < model.columnCount && (cell.row ?? 0) < model.rowCount ? cell : null;
}

/** @type {(a: Model, b: Model) => boolean} */
export const hasSameShape = (a, b) => a.rowCount === b.rowCount && a.columnCount === b.columnCount;
