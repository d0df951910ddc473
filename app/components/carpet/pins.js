// Pins set by Python arrive through another, tiny component, so that the matrix is not sent again: they meet here.

const PINS = Symbol.for("gatescope.pins");

/** The pins of each channel. */
export function pinRegistry() {
  return (globalThis[PINS] ??= new Map());
}
