// Drawn around the cells: names of rows, ticks of columns, and which part of the matrix is on screen.

import { setUp } from "./canvas.js";
import { cut, paintCells } from "./paint.js";
import { css } from "./palette.js";
import { visible } from "./signs.js";
import { AXIS_HEIGHT, cellHeight, cellWidth, clamp, niceStep, xOf, yOf } from "./view.js";
import { nameOf } from "./words.js";

/** @import { Pen } from "./canvas.js" */
/** @import { Scene } from "./draw.js" */
/** @import { Model } from "./model.js" */
/** @import { Theme } from "./palette.js" */
/** @import { Box, View } from "./view.js" */

/**
 * Width of the longest row name, within reason.
 * @param {Pen} context
 * @param {Model} model
 * @param {Theme} theme
 * @param {number} width
 */
export function gutterWidth(context, model, theme, width) {
  context.font = `12px ${theme.font}`;
  const longest = Array.from({ length: model.rowCount }, (_, row) => nameOf(model.rows, row)).reduce((a, b) => (b.length > a.length ? b : a), "");
  const needed = Math.max(...[longest, model.rows.noun, model.columns.noun].map((text) => context.measureText(text).width));
  return Math.ceil(Math.min(needed, width * 0.28)) + 10;
}

/**
 * Every how many rows one is named.
 * @param {Box} box
 * @param {View} view
 */
export function rowStep(box, view) {
  const height = cellHeight(box, view);
  return height >= 12.5 ? 1 : niceStep(20 / height);
}

/**
 * The height at which the name of a row is written.
 * @type {(box: Box, view: View, row: number) => number}
 */
export const rowNameAt = (box, view, row) => clamp(yOf(box, view, row + 0.5), box.y + 5, box.y + box.height - 5);

/**
 * Names of the rows, as many as fit without touching.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintRowNames(context, { model, view, box, theme }) {
  setUp(context, { font: `12px ${theme.font}`, textAlign: "right", textBaseline: "middle", fillStyle: css(theme.muted) });
  const step = rowStep(box, view);
  for (let row = Math.ceil(view.top / step) * step; row < Math.min(model.rowCount, view.bottom); row += step) {
    context.fillText(cut(context, nameOf(model.rows, row), box.x - 8), box.x - 8, rowNameAt(box, view, row) + 0.5);
  }
  context.textBaseline = "top";
  context.fillText(cut(context, model.rows.noun, box.x - 8), box.x - 8, 1);
}

/** @typedef {{ turn: number, longest: number, height: number }} Ticks How column names are turned, the longest of them (0: numbers), and the strip they need. */

const LONGEST_LABEL = 220;
const SLANT = Math.PI / 4;

/**
 * How column names are written: upright ("across"), slanted or vertical, and how high the strip below the cells is for it.
 * @param {Pen} context
 * @param {Model} model
 * @param {Theme} theme
 * @param {Box} box
 * @returns {Ticks}
 */
export function axisOf(context, model, theme, box) {
  context.font = `12px ${theme.font}`;
  const { labels } = model.columns, cell = box.width / model.columnCount;
  if (!labels || model.pieces || labels.every((label) => /^\d+$/.test(label))) return { turn: 0, longest: 0, height: AXIS_HEIGHT };
  const longest = Math.min(LONGEST_LABEL, Math.max(...labels.map((label) => context.measureText(label).width)));
  if (longest + 8 <= cell) return { turn: 0, longest, height: AXIS_HEIGHT };
  const turn = cell >= 17 && longest * Math.cos(SLANT) <= box.x + cell / 2 - 4 ? SLANT : Math.PI / 2;
  return { turn, longest, height: Math.ceil(longest * Math.sin(turn)) + 18 };
}

/**
 * Ticks below the columns: their names turned until all fit, the tokens themselves where they have room, else numbers.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintTicks(context, scene) {
  const { view, box, theme, axis } = scene;
  setUp(context, { font: `12px ${theme.font}`, textBaseline: "top", fillStyle: css(theme.muted) });
  if (axis.turn && axis.longest + 8 > cellWidth(box, view)) paintTurnedNames(context, scene);
  else paintNamesAcross(context, scene);
}

/**
 * The columns that get a tick, in steps.
 * @param {Scene} scene
 * @param {number} step
 * @returns {Generator<[column: number, x: number], void>}
 */
function* tickedColumns({ model, view, box }, step) {
  for (let column = Math.ceil(view.left / step) * step; column < Math.min(model.columnCount, view.right); column += step) {
    const x = xOf(box, view, column + 0.5);
    if (x > box.x + box.width) return;
    if (x >= box.x) yield [column, x];
  }
}

/**
 * One small line below a column.
 * @param {Pen} context
 * @param {number} x
 * @param {number} y
 */
function tick(context, x, y) {
  context.fillRect(Math.round(x) - 0.5, y + 1, 1, 4);
}

/**
 * Names in full, slanted or from bottom to top; what the columns are stands above, out of their way.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintTurnedNames(context, scene) {
  const { model, view, box, axis } = scene, y = box.y + box.height;
  context.textAlign = "right";
  context.fillText(cut(context, model.columns.noun, box.width), box.x + box.width, 1);
  context.textBaseline = "middle";
  for (const [column, x] of tickedColumns(scene, Math.ceil(13.5 / cellWidth(box, view)))) {
    tick(context, x, y);
    context.save();
    context.translate(x, y + 9);
    context.rotate(-axis.turn);
    context.fillText(cut(context, nameOf(model.columns, column), LONGEST_LABEL), 0, 0);
    context.restore();
  }
}

/**
 * Names or numbers side by side, as many as have room.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintNamesAcross(context, scene) {
  const { model, view, box, axis } = scene, y = box.y + box.height, width = cellWidth(box, view);
  const inWords = axis.longest ? true : Boolean(model.pieces || model.columns.labels) && width >= 34;
  context.textAlign = "center";
  for (const [column, x] of tickedColumns(scene, inWords ? 1 : niceStep(tickRoom(context, model) / width))) {
    tick(context, x, y);
    const text = model.pieces && inWords ? visible(model.pieces[column]) : nameOf(model.columns, column);
    const half = context.measureText(text).width / 2, beyond = x + half - (box.x + box.width);
    const before = Math.max(0, box.x - 2 - (x - half)); // into the name of what the columns are
    if (inWords) context.fillText(cut(context, text, width - 4), x, y + 8);
    else if (beyond < 16) context.fillText(text, x + before - Math.max(0, beyond), y + 8);
  }
  context.textAlign = "right";
  context.fillText(cut(context, model.columns.noun, box.x - 8), box.x - 8, y + 8);
}

/**
 * Pixels one tick needs: the longest column name and some air.
 * @param {Pen} context
 * @param {Model} model
 */
function tickRoom(context, model) {
  const last = nameOf(model.columns, model.columnCount - 1);
  const longest = model.columns.labels ? model.columns.labels.reduce((a, b) => (b.length > a.length ? b : a), "") : last;
  return Math.min(120, context.measureText(longest).width + 22);
}

/**
 * Lines below and beside the cells whose heavy part is what the window shows of all columns and rows.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintWindow(context, { model, view, box, theme, axis }) {
  const { columnCount, rowCount } = model;
  /** @type {(isShown: boolean, paint: () => void) => void} */
  const line = (isShown, paint) => {
    context.fillStyle = css(isShown ? theme.accent : theme.faint);
    paint();
  };
  if (view.right - view.left < columnCount - 0.01) {
    const y = box.y + box.height + axis.height, scale = box.width / columnCount;
    line(false, () => context.fillRect(box.x, y, box.width, 2));
    line(true, () => context.fillRect(box.x + view.left * scale, y - 1, Math.max(6, (view.right - view.left) * scale), 4));
  }
  if (view.bottom - view.top < rowCount - 0.01) {
    const x = box.x + box.width + 4, scale = box.height / rowCount;
    line(false, () => context.fillRect(x + 1, box.y, 2, box.height));
    line(true, () => context.fillRect(x, box.y + view.top * scale, 4, Math.max(6, (view.bottom - view.top) * scale)));
  }
}

/**
 * The whole matrix.
 * @param {Pen} context
 * @param {Scene} scene
 */
export function paintMatrix(context, scene) {
  paintCells(context, scene);
  paintRowNames(context, scene);
  paintTicks(context, scene);
  paintWindow(context, scene);
}

/**
 * Height of a canvas that holds the cells and what is around them.
 * @type {(scene: Scene) => number}
 */
export const sceneHeight = ({ box, axis }) => box.y + box.height + axis.height + 4;
