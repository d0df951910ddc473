// The state of one mounted component, and how far it has come.

export const samePin = (a, b) => a === b || (a !== null && b !== null && a.row === b.row && a.column === b.column);

/** Each choice has a later number than the one before, also than one made before a reload. */
export function nextSerial(carpet) {
  return (carpet.sent = Math.max(Date.now(), carpet.sent + 1));
}
