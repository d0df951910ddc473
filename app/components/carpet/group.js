// Matrices of one page that share cursor and window, and the pins that Python sends: where mounted elements meet.

const PINS = Symbol.for("gatescope.pins");
const GROUPS = Symbol.for("gatescope.groups");

/** Pins set by Python arrive through another, tiny component, so that the matrix is not sent again: they meet here. */
function pinRegistry() {
  return (globalThis[PINS] ??= new Map());
}

/** The matrices of each named group. */
function groupRegistry() {
  return (globalThis[GROUPS] ??= new Map());
}

/** Enter the group this matrix names, after leaving the one it was in. */
function joinGroup(carpet) {
  leaveGroup(carpet);
  const name = carpet.model.group;
  if (!name) return;
  if (!groupRegistry().has(name)) groupRegistry().set(name, new Set());
  carpet.members = groupRegistry().get(name).add(carpet);
}

function leaveGroup(carpet) {
  carpet.members?.delete(carpet);
  carpet.members = null;
}

/** The other matrices of the group that are drawn. */
const companions = (carpet) => [...(carpet.members ?? [])].filter((other) => other !== carpet && other.scene);

/** The cell of the same row and column in another matrix, or null where it has none. */
function sameCell({ model }, cell) {
  return cell && cell.column < model.columnCount && (cell.row ?? 0) < model.rowCount ? cell : null;
}

const hasSameShape = (a, b) => a.rowCount === b.rowCount && a.columnCount === b.columnCount;

/** Show the others the same cell; they speak only when they are asked. */
function shareCursor(carpet) {
  for (const other of companions(carpet)) setCursor(other, sameCell(other, carpet.cursor), { isEcho: true });
}

/** Show the others the same window, where it means the same. */
function shareView(carpet) {
  for (const other of companions(carpet)) if (hasSameShape(other.model, carpet.model)) setView(other, carpet.view, { isEcho: true });
}
