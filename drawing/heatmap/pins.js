// Pins set by Python arrive through another, tiny component, so that the matrix is not sent again: they meet here.

/** @import { Heatmap } from "./state.js" */

/**
 * Pin and range as Python knows them, and the last choice it has heard of.
 * @typedef {object} PinMessage
 * @property {string} channel
 * @property {number} answers
 * @property {number | null} row
 * @property {number | null} column
 * @property {[first: number, last: number] | null} span
 * @property {{ layer: number, expert: number, took: string } | null} chosen an expert, and which tokens it took: bits, as base64
 */
/**
 * The last message, and the matrix that takes it; either may come first.
 * @typedef {object} MeetingPlace
 * @property {PinMessage} [message]
 * @property {Heatmap} [heatmap]
 * @property {(message: PinMessage) => void} [apply]
 */

const PINS = Symbol.for("gatescope.pins");

/**
 * Where the matrix of each channel and its pins meet.
 * @returns {Map<string, MeetingPlace>}
 */
export function pinRegistry() {
  /** @type {typeof globalThis & Record<symbol, Map<string, MeetingPlace>>} */
  const shared = globalThis;
  return (shared[PINS] ??= new Map());
}
