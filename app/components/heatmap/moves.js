// Cursor, pin and window: how they are set, drawn and shared; and everything drawn anew.

import { drawCells, drawLegend, drawMarks, drawText, lookOf, placeTabStop, sceneOf, showReadout } from "./draw.js";
import { companions, hasSameShape, sameCell } from "./group.js";
import { isDrawn, nextSerial, samePin } from "./state.js";
import { moveMark, revealToken } from "./text.js";
import { inView, revealCell, zoomView } from "./view.js";

/** @import { Cell } from "./model.js" */
/** @import { Drawn, Loaded } from "./state.js" */
/** @import { Place, View } from "./view.js" */

/**
 * Draw everything anew: after new data, theme or size.
 * @param {Loaded} carpet
 */
export function redraw(carpet) {
  const { parts, model } = carpet;
  const isFirst = !carpet.scene;
  carpet.width = parts.stage.clientWidth;
  if (carpet.width === 0) return;
  carpet.look = lookOf(carpet);
  const drawn = Object.assign(carpet, { scene: sceneOf(carpet, window.devicePixelRatio || 1) });
  drawLegend(drawn);
  drawCells(drawn);
  drawText(drawn);
  showReadout(drawn);
  placeTabStop(drawn);
  if (isFirst && drawn.pin) revealBoth(drawn, drawn.pin);
  const { x, y, width, height } = drawn.scene.box;
  Object.assign(parts.root.dataset, { shape: `${model.rowCount}x${model.columnCount}`, plot: `${x} ${y} ${width} ${height}` });
  parts.root.dataset.ready = "true";
}

/**
 * Move the cursor; the server hears nothing of it.
 * @param {Drawn} carpet
 * @param {Cell | null} cursor
 * @param {{ reveal?: boolean, isEcho?: boolean }} how
 */
export function setCursor(carpet, cursor, { reveal = false, isEcho = false } = {}) {
  if (samePin(cursor, carpet.cursor)) return;
  moveMark(carpet.tokens, "hovered", carpet.cursor?.column ?? null, cursor?.column ?? null);
  carpet.cursor = cursor;
  if (reveal && cursor) revealBoth(carpet, cursor);
  drawMarks(carpet);
  showReadout(carpet, { isQuiet: isEcho });
  if (!isEcho) shareCursor(carpet);
}

/**
 * Bring a cell into the window of the matrix and of the text.
 * @param {Drawn} carpet
 * @param {Cell} cell
 */
function revealBoth(carpet, cell) {
  const view = revealCell(carpet.model, carpet.view, cell);
  if (view.left !== carpet.view.left || view.top !== carpet.view.top) setView(carpet, view);
  if (carpet.tokens.length) revealToken(carpet.parts.text, carpet.tokens[cell.column]);
}

/**
 * Show another pin.
 * @param {Loaded} carpet
 * @param {Cell | null} pin
 */
export function setPin(carpet, pin) {
  const rowChanged = (carpet.pin?.row ?? null) !== (pin?.row ?? null);
  moveMark(carpet.tokens, "pinned", carpet.pin?.column ?? null, pin?.column ?? null);
  carpet.pin = pin;
  carpet.parts.root.dataset.pin = pin ? `${pin.row ?? ""},${pin.column}` : "";
  if (!isDrawn(carpet)) return;
  if (rowChanged) drawText(carpet);
  if (pin) revealBoth(carpet, pin);
  drawMarks(carpet);
  showReadout(carpet);
}

/**
 * Pin or release on behalf of the reader, and tell Python.
 * @param {Loaded} carpet
 * @param {Cell | null} pin
 */
export function pick(carpet, pin) {
  if (samePin(pin, carpet.pin)) return;
  setPin(carpet, pin);
  carpet.anchor = null;
  carpet.send("pick", { row: pin?.row ?? null, column: pin?.column ?? null, serial: nextSerial(carpet) });
}

/**
 * Tell Python whose name was chosen.
 * @param {Loaded} carpet
 * @param {number | null} row
 */
export function openRow(carpet, row) {
  if (carpet.model.can_open_rows && row !== null) carpet.send("row", { row, serial: Date.now() });
}

/**
 * Show another part of the matrix.
 * @param {Drawn} carpet
 * @param {View} view
 * @param {{ isEcho?: boolean }} how
 */
export function setView(carpet, view, { isEcho = false } = {}) {
  carpet.view = view;
  drawCells(carpet);
  if (!isEcho) shareView(carpet);
}

/**
 * Zoom around the cursor, else the pin, else the middle.
 * @param {Drawn} carpet
 * @param {number} factor
 * @param {Place | null} at
 */
export function zoomBy(carpet, factor, at = null) {
  const { view, cursor, pin, scene } = carpet;
  const cell = cursor ?? pin;
  const middle = { column: (view.left + view.right) / 2, row: (view.top + view.bottom) / 2 };
  const place = at ?? (cell && inView(view, cell) ? { column: cell.column + 0.5, row: cell.row === null ? middle.row : cell.row + 0.5 } : middle);
  setView(carpet, zoomView(carpet.model, view, scene.box, factor, place));
}

/**
 * Show the others the same cell; they speak only when they are asked.
 * @param {Drawn} carpet
 */
function shareCursor(carpet) {
  for (const other of companions(carpet)) setCursor(other, sameCell(other, carpet.cursor), { isEcho: true });
}

/**
 * Show the others the same window, where it means the same.
 * @param {Drawn} carpet
 */
function shareView(carpet) {
  for (const other of companions(carpet)) if (hasSameShape(other.model, carpet.model)) setView(other, carpet.view, { isEcho: true });
}
