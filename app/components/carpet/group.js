// Matrices of one page that share cursor and window: where mounted elements meet.

const GROUPS = Symbol.for("gatescope.groups");

/** The matrices of each named group. */
function groupRegistry() {
  return (globalThis[GROUPS] ??= new Map());
}

/** Enter the group this matrix names, after leaving the one it was in. */
export function joinGroup(carpet) {
  leaveGroup(carpet);
  const name = carpet.model.group;
  if (!name) return;
  if (!groupRegistry().has(name)) groupRegistry().set(name, new Set());
  carpet.members = groupRegistry().get(name).add(carpet);
}

export function leaveGroup(carpet) {
  carpet.members?.delete(carpet);
  carpet.members = null;
}

/** The other matrices of the group that are drawn. */
export const companions = (carpet) => [...(carpet.members ?? [])].filter((other) => other !== carpet && other.scene);

/** The cell of the same row and column in another matrix, or null where it has none. */
export function sameCell({ model }, cell) {
  return cell && cell.column < model.columnCount && (cell.row ?? 0) < model.rowCount ? cell : null;
}

export const hasSameShape = (a, b) => a.rowCount === b.rowCount && a.columnCount === b.columnCount;
