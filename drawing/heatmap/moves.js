// Cursor, pin and window: how they are set, drawn and shared; and everything drawn anew.

import { askAtRest } from "./asking.js";
import { drawCells, drawLegend, drawMarks, drawText, lookOf, placeTabStop, sceneOf, showReadout } from "./draw.js";
import { drawGrid } from "./grid.js";
import { showGrid } from "./gridwords.js";
import { companions, hasSameShape, sameCell } from "./group.js";
import { isDrawn, nextSerial, samePin } from "./state.js";
import { moveMark, revealToken } from "./text.js";
import { inView, revealCell, zoomView } from "./view.js";

/** @import { Cell } from "./model.js" */
/** @import { Drawn, Loaded } from "./state.js" */
/** @import { Place, View } from "./view.js" */

/**
 * Draw everything anew: after new data, theme or size.
 * @param {Loaded} heatmap
 */
export function redraw(heatmap) {
  const { parts, model } = heatmap;
  const isFirst = !heatmap.scene;
  heatmap.width = parts.stage.clientWidth;
  if (heatmap.width === 0) return;
  heatmap.look = lookOf(heatmap);
  const drawn = Object.assign(heatmap, { scene: sceneOf(heatmap, window.devicePixelRatio || 1) });
  drawLegend(drawn);
  drawCells(drawn);
  drawText(drawn);
  showReadout(drawn);
  drawGrid(drawn);
  showGrid(drawn);
  placeTabStop(drawn);
  if (isFirst && drawn.pin) revealBoth(drawn, drawn.pin);
  const { x, y, width, height } = drawn.scene.box;
  Object.assign(parts.root.dataset, { shape: `${model.rowCount}x${model.columnCount}`, plot: `${x} ${y} ${width} ${height}` });
  parts.root.dataset.ready = "true";
}

/**
 * Move the cursor; the server hears nothing of it.
 * @param {Drawn} heatmap
 * @param {Cell | null} cursor
 * @param {{ reveal?: boolean, isEcho?: boolean, isQuiet?: boolean }} how quiet: not spoken
 */
export function setCursor(heatmap, cursor, { reveal = false, isEcho = false, isQuiet = false } = {}) {
  if (samePin(cursor, heatmap.cursor)) return;
  moveMark(heatmap.tokens, "hovered", heatmap.cursor?.column ?? null, cursor?.column ?? null);
  heatmap.cursor = cursor;
  if (reveal && cursor) revealBoth(heatmap, cursor);
  drawMarks(heatmap);
  showReadout(heatmap, { isQuiet: isEcho || isQuiet });
  showGrid(heatmap);
  askAtRest(heatmap, () => heatmap.cursor?.column ?? null);
  if (!isEcho) shareCursor(heatmap);
}

/**
 * Bring a cell into the window of the matrix and of the text.
 * @param {Drawn} heatmap
 * @param {Cell} cell
 */
function revealBoth(heatmap, cell) {
  const view = revealCell(heatmap.model, heatmap.view, cell);
  if (view.left !== heatmap.view.left || view.top !== heatmap.view.top) setView(heatmap, view);
  if (heatmap.tokens.length) revealToken(heatmap.parts.text, heatmap.tokens[cell.column]);
}

/**
 * Show another pin.
 * @param {Loaded} heatmap
 * @param {Cell | null} pin
 */
export function setPin(heatmap, pin) {
  const rowChanged = (heatmap.pin?.row ?? null) !== (pin?.row ?? null);
  moveMark(heatmap.tokens, "pinned", heatmap.pin?.column ?? null, pin?.column ?? null);
  heatmap.pin = pin;
  heatmap.parts.root.dataset.pin = pin ? `${pin.row ?? ""},${pin.column}` : "";
  if (!isDrawn(heatmap)) return;
  if (rowChanged) drawText(heatmap);
  if (pin) revealBoth(heatmap, pin);
  drawMarks(heatmap);
  showReadout(heatmap);
  showGrid(heatmap);
}

/**
 * Pin or release on behalf of the reader, and tell Python.
 * @param {Loaded} heatmap
 * @param {Cell | null} pin
 */
export function pick(heatmap, pin) {
  if (samePin(pin, heatmap.pin)) return;
  setPin(heatmap, pin);
  heatmap.anchor = null;
  heatmap.send("pick", { row: pin?.row ?? null, column: pin?.column ?? null, serial: nextSerial(heatmap) });
}

/**
 * Tell Python whose name was chosen.
 * @param {Loaded} heatmap
 * @param {number | null} row
 */
export function openRow(heatmap, row) {
  if (heatmap.model.can_open_rows && row !== null) heatmap.send("row", { row, serial: Date.now() });
}

/**
 * Show another part of the matrix.
 * @param {Drawn} heatmap
 * @param {View} view
 * @param {{ isEcho?: boolean }} how
 */
export function setView(heatmap, view, { isEcho = false } = {}) {
  heatmap.view = view;
  drawCells(heatmap);
  if (!isEcho) shareView(heatmap);
}

/**
 * Zoom around the cursor, else the pin, else the middle.
 * @param {Drawn} heatmap
 * @param {number} factor
 * @param {Place | null} at
 */
export function zoomBy(heatmap, factor, at = null) {
  const { view, cursor, pin, scene } = heatmap;
  const cell = cursor ?? pin;
  const middle = { column: (view.left + view.right) / 2, row: (view.top + view.bottom) / 2 };
  const place = at ?? (cell && inView(view, cell) ? { column: cell.column + 0.5, row: cell.row === null ? middle.row : cell.row + 0.5 } : middle);
  setView(heatmap, zoomView(heatmap.model, view, scene.box, factor, place));
}

/**
 * Show the others the same cell; they speak only when they are asked.
 * @param {Drawn} heatmap
 */
function shareCursor(heatmap) {
  for (const other of companions(heatmap)) setCursor(other, sameCell(other, heatmap.cursor), { isEcho: true });
}

/**
 * Show the others the same window, where it means the same.
 * @param {Drawn} heatmap
 */
function shareView(heatmap) {
  for (const other of companions(heatmap)) if (hasSameShape(other.model, heatmap.model)) setView(other, heatmap.view, { isEcho: true });
}
