// Matrices of one page that share cursor and window: where mounted elements meet.

import { isDrawn } from "./state.js";

/** @import { Cell, Model } from "./model.js" */
/** @import { Carpet, Drawn, Loaded } from "./state.js" */

const GROUPS = Symbol.for("gatescope.groups");

/**
 * The matrices of each named group.
 * @returns {Map<string, Set<Carpet>>}
 */
function groupRegistry() {
  /** @type {typeof globalThis & Record<symbol, Map<string, Set<Carpet>>>} */
  const shared = globalThis;
  return (shared[GROUPS] ??= new Map());
}

/**
 * Enter the group this matrix names, after leaving the one it was in.
 * @param {Loaded} carpet
 */
export function joinGroup(carpet) {
  leaveGroup(carpet);
  const name = carpet.model.group;
  if (!name) return;
  const members = groupRegistry().get(name) ?? new Set();
  groupRegistry().set(name, members);
  carpet.members = members.add(carpet);
}

/** @param {Carpet} carpet */
export function leaveGroup(carpet) {
  carpet.members?.delete(carpet);
  carpet.members = null;
}

/**
 * The other matrices of the group that are drawn.
 * @type {(carpet: Carpet) => Drawn[]}
 */
export const companions = (carpet) => [...(carpet.members ?? [])].filter((other) => other !== carpet).filter(isDrawn);

/**
 * The cell of the same row and column in another matrix, or null where it has none.
 * @param {Loaded} carpet
 * @param {Cell | null} cell
 */
export function sameCell({ model }, cell) {
  return cell && cell.column < model.columnCount && (cell.row ?? 0) < model.rowCount ? cell : null;
}

/** @type {(a: Model, b: Model) => boolean} */
export const hasSameShape = (a, b) => a.rowCount === b.rowCount && a.columnCount === b.columnCount;
