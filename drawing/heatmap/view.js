// Which part of the matrix is on screen, and where. Pure functions: nothing here draws.

import { mostInteresting } from "./model.js";

/** @import { Cell, Model } from "./model.js" */

/** @typedef {{ left: number, right: number, top: number, bottom: number }} View The part on screen, in columns and rows. */
/** @typedef {{ x: number, y: number, width: number, height: number }} Box The rectangle of the cells, in CSS pixels. */
/** @typedef {{ row: number, column: number }} Place A point of the matrix, in fractions of rows and columns. */

const PLOT_HEIGHT = 360;
const PLOT_LIMIT = 480;
export const AXIS_HEIGHT = 22;
const TOP_MARGIN = 18;
export const RIGHT_MARGIN = 8;
const WIDEST_CELL = 56;
const SQUARE_LIMIT = 640;

/** @type {(value: number, low: number, high: number) => number} */
export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/**
 * The whole matrix.
 * @type {(model: Model) => View}
 */
export const wholeView = (model) => ({ left: 0, right: model.columnCount, top: 0, bottom: model.rowCount });

/**
 * Height of the cells in CSS pixels: 8 to 28 a row, never above the limit.
 * @param {number} rowCount
 */
function plotHeight(rowCount) {
  return Math.round(Math.min(PLOT_LIMIT, rowCount * clamp(PLOT_HEIGHT / rowCount, 8, 28)));
}

/**
 * The rectangle of the cells inside a canvas of this width; row names stand to the left of it, their noun above, ticks below.
 * @param {Model} model
 * @param {number} width
 * @param {number} gutter
 * @returns {Box}
 */
export function plotBox(model, width, gutter) {
  const room = Math.max(1, width - gutter - RIGHT_MARGIN);
  if (!model.square) return { x: gutter, y: TOP_MARGIN, width: room, height: plotHeight(model.rowCount) };
  const side = Math.min(room / model.columnCount, SQUARE_LIMIT / model.rowCount, WIDEST_CELL);
  return { x: gutter, y: TOP_MARGIN, width: Math.round(side * model.columnCount), height: Math.max(8, Math.round(side * model.rowCount)) };
}

/** @type {(box: Box, view: View) => number} */
export const cellWidth = (box, view) => box.width / (view.right - view.left);
/** @type {(box: Box, view: View) => number} */
export const cellHeight = (box, view) => box.height / (view.bottom - view.top);
/** @type {(box: Box, view: View, column: number) => number} */
export const xOf = (box, view, column) => box.x + (column - view.left) * cellWidth(box, view);
/** @type {(box: Box, view: View, row: number) => number} */
export const yOf = (box, view, row) => box.y + (row - view.top) * cellHeight(box, view);

/**
 * Keep a window of this span inside 0..size.
 * @param {number} start
 * @param {number} span
 * @param {number} size
 */
function fitSpan(start, span, size) {
  const kept = Math.min(span, size);
  const first = clamp(start, 0, size - kept);
  return [first, first + kept];
}

/**
 * The fewest rows a window may show: all of them, unless cells are square or too low to be read.
 * @param {Model} model
 * @param {Box} box
 */
function fewestRows(model, box) {
  if (model.square) return Math.min(model.rowCount, Math.max(1, box.height / WIDEST_CELL));
  return box.height / model.rowCount >= 8 ? model.rowCount : box.height / 14;
}

/**
 * Zoom around a cell: columns always, rows down to their fewest.
 * @param {Model} model
 * @param {View} view
 * @param {Box} box
 * @param {number} factor
 * @param {Place} at
 * @returns {View}
 */
export function zoomView(model, view, box, factor, at) {
  const narrowest = Math.min(model.columnCount, Math.max(1, box.width / WIDEST_CELL));
  const span = clamp((view.right - view.left) / factor, narrowest, model.columnCount);
  const rows = clamp((view.bottom - view.top) / factor, fewestRows(model, box), model.rowCount);
  const share = (at.column - view.left) / (view.right - view.left);
  const rowShare = (at.row - view.top) / (view.bottom - view.top);
  const [left, right] = fitSpan(at.column - share * span, span, model.columnCount);
  const [top, bottom] = fitSpan(at.row - rowShare * rows, rows, model.rowCount);
  return { left, right, top, bottom };
}

/**
 * Move the window by so many columns and rows.
 * @param {Model} model
 * @param {View} view
 * @param {number} columns
 * @param {number} rows
 * @returns {View}
 */
export function panView(model, view, columns, rows) {
  const [left, right] = fitSpan(view.left + columns, view.right - view.left, model.columnCount);
  const [top, bottom] = fitSpan(view.top + rows, view.bottom - view.top, model.rowCount);
  return { left, right, top, bottom };
}

/**
 * Move the window just so far that the cell lies in it.
 * @param {Model} model
 * @param {View} view
 * @param {Cell} cell
 */
export function revealCell(model, view, cell) {
  const row = cell.row ?? view.top;
  const columns = Math.min(0, cell.column - view.left) + Math.max(0, cell.column + 1 - view.right);
  const rows = Math.min(0, row - view.top) + Math.max(0, Math.min(model.rowCount, row + 1) - view.bottom);
  return panView(model, view, columns, cell.row === null ? 0 : rows);
}

/**
 * A window of about 40 columns around the cell.
 * @param {Model} model
 * @param {View} view
 * @param {Box} box
 * @param {Cell} cell
 */
export function fitView(model, view, box, cell) {
  const factor = (view.right - view.left) / Math.min(model.columnCount, Math.max(12, Math.min(40, box.width / 24)));
  const zoomed = zoomView(model, view, box, factor, { row: cell.row ?? view.top, column: cell.column });
  const columns = cell.column + 0.5 - (zoomed.left + zoomed.right) / 2;
  const rows = cell.row === null ? 0 : cell.row + 0.5 - (zoomed.top + zoomed.bottom) / 2;
  return panView(model, zoomed, columns, rows);
}

/**
 * The cell under a point of the canvas, as fractions; clamped to the window.
 * @param {Box} box
 * @param {View} view
 * @param {number} x
 * @param {number} y
 * @returns {Place}
 */
export function placeAt(box, view, x, y) {
  return {
    column: clamp(view.left + (x - box.x) / cellWidth(box, view), view.left, view.right - 1e-6),
    row: clamp(view.top + (y - box.y) / cellHeight(box, view), view.top, view.bottom - 1e-6),
  };
}

/**
 * How many columns and rows lie under one pixel of the screen (below 1: a cell is larger than a pixel).
 * @type {(box: Box, view: View) => { columns: number, rows: number }}
 */
export const cellsPerPixel = (box, view) => ({ columns: 1 / cellWidth(box, view), rows: 1 / cellHeight(box, view) });

/**
 * The cell a reader means by pointing at a pixel: where it covers several, the one whose colour it shows.
 * @param {Model} model
 * @param {View} view
 * @param {Box} box
 * @param {number} x
 * @param {number} y
 */
export function cellAtPixel(model, view, box, x, y) {
  const at = placeAt(box, view, x, y), end = placeAt(box, view, x + 1, y + 1);
  const per = cellsPerPixel(box, view);
  const [row, column] = [Math.floor(at.row), Math.floor(at.column)];
  const lastRow = per.rows > 1 ? Math.max(row, Math.ceil(end.row) - 1) : row;
  const lastColumn = per.columns > 1 ? Math.max(column, Math.ceil(end.column) - 1) : column;
  return mostInteresting(model, row, lastRow, column, lastColumn);
}

/**
 * 1, 2, 5, 10, 20 ... : the first that is at least this large.
 * @param {number} least
 */
export function niceStep(least) {
  for (let power = 1; ; power *= 10) {
    for (const factor of [1, 2, 5]) if (factor * power >= least) return factor * power;
  }
}

/**
 * For every pixel of a side the first and the end index of the cells it covers: each cell is covered by at least one.
 * @param {number} start
 * @param {number} end
 * @param {number} pixels
 */
export function pixelEdges(start, end, pixels) {
  const edges = new Int32Array(pixels * 2);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const first = Math.floor(start + ((end - start) * pixel) / pixels + 1e-9);
    const last = Math.floor(start + ((end - start) * (pixel + 1)) / pixels + 1e-9);
    edges[pixel * 2] = first;
    edges[pixel * 2 + 1] = Math.max(first + 1, last);
  }
  return edges;
}

/**
 * Is any of a cell on screen?
 * @type {(view: View, cell: Cell) => boolean}
 */
export const inView = (view, cell) => cell.column + 1 > view.left && cell.column < view.right && (cell.row === null || (cell.row + 1 > view.top && cell.row < view.bottom));
