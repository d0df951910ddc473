// Drawn over the cells: the pinned cell, the cursor, the selected range.

import { rowNameAt } from "./axes.js";
import { setUp } from "./canvas.js";
import { cut } from "./paint.js";
import { css } from "./palette.js";
import { cellHeight, cellWidth, clamp, inView, xOf, yOf } from "./view.js";
import { nameOf } from "./words.js";

/** @import { Pen } from "./canvas.js" */
/** @import { Scene } from "./draw.js" */
/** @import { Cell, Span } from "./model.js" */
/** @import { Heatmap } from "./state.js" */

/** @typedef {[x: number, y: number, width: number, height: number]} Rectangle */

/**
 * The rectangle of a cell on screen, at least so large that a ring around it can be seen; the whole column when row is null.
 * @param {Scene} scene
 * @param {Cell} cell
 * @param {number} least
 * @returns {Rectangle}
 */
function cellRectangle({ view, box }, cell, least) {
  const width = Math.max(least, cellWidth(box, view)), height = Math.max(least, cellHeight(box, view));
  const x = xOf(box, view, cell.column + 0.5) - width / 2;
  if (cell.row === null) return [x, box.y, width, box.height];
  return [x, yOf(box, view, cell.row + 0.5) - height / 2, width, height];
}

/**
 * One ring, outside of a rectangle by so many pixels.
 * @param {Pen} context
 * @param {Rectangle} rectangle
 * @param {number} out
 * @param {number} thickness
 * @param {string} colour
 */
function ring(context, [x, y, width, height], out, thickness, colour) {
  setUp(context, { strokeStyle: colour, lineWidth: thickness });
  context.strokeRect(x - out, y - out, width + 2 * out, height + 2 * out);
}

/**
 * Bars at both axes beside the row and the column of a cell.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {Rectangle} rectangle
 * @param {string} colour
 */
function paintAxisMarks(context, { box }, [x, y, width, height], colour) {
  context.fillStyle = colour;
  context.fillRect(box.x - 5, y, 3, height);
  context.fillRect(x, box.y + box.height + 2, width, 3);
}

/**
 * The pinned cell: white inside accent inside paper, so that it stands out on any colour and in any theme.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {Cell | null} pin
 */
function paintPin(context, scene, pin) {
  if (!pin || !inView(scene.view, pin)) return;
  const rectangle = cellRectangle(scene, pin, 5);
  ring(context, rectangle, 5, 1, css(scene.theme.paper));
  ring(context, rectangle, 3.5, 2.5, css(scene.theme.accent));
  ring(context, rectangle, 1.25, 2.5, "#fff");
  if (pin.row !== null) paintAxisMarks(context, scene, rectangle, css(scene.theme.accent));
}

/**
 * The cursor: hairlines along its row and column, bars at the axes and a ring around the cell.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {Cell | null} cursor
 */
function paintCursor(context, scene, cursor) {
  if (!cursor || !inView(scene.view, cursor)) return;
  const { box, theme } = scene;
  const [x, y, width, height] = cellRectangle(scene, cursor, 4);
  if (cursor.row !== null) {
    paintAxisMarks(context, scene, [x, y, width, height], css(theme.text));
    ring(context, [x, box.y - 4, width, box.height + 6], 0, 1, `rgba(${theme.paper.join(",")},0.75)`);
    ring(context, [box.x - 2, y, box.width + 6, height], 0, 1, `rgba(${theme.paper.join(",")},0.75)`);
  }
  ring(context, [x, y, width, height], 1.5, 1.5, css(theme.paper));
  ring(context, [x, y, width, height], 0, 1.5, css(theme.text));
}

/**
 * The selected range: brackets and a band on both strips, lines along its edges; the cells keep their colours.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {Span | null} span
 */
function paintSpan(context, { view, box, theme, axis }, span) {
  if (!span || span.last + 1 <= view.left || span.first >= view.right) return;
  /** @param {number} column */
  const edge = (column) => Math.round(clamp(xOf(box, view, column), box.x, box.x + box.width));
  const start = edge(span.first), width = Math.max(2, edge(span.last + 1) - start), below = box.y + box.height;
  context.fillStyle = `rgba(${theme.accent.join(",")},0.2)`;
  context.fillRect(start, box.y - 7, width, 6);
  context.fillRect(start, below + 1, width, axis.height - 2);
  for (const [column, out] of [[span.first, -1], [span.last + 1, 1]]) {
    if (column < view.left || column > view.right) continue;
    const x = edge(column);
    /** @type {(from: number, thick: number, y: number, height: number) => void} */
    const bar = (from, thick, y, height) => context.fillRect(out < 0 ? x - from - thick : x + from, y, thick, height);
    context.fillStyle = css(theme.paper);
    bar(2, 2, box.y, box.height);
    context.fillStyle = css(theme.accent);
    bar(0, 2, box.y - 8, box.height + 8 + axis.height);
    for (const y of [box.y - 8, below + axis.height - 2]) context.fillRect(out < 0 ? x - 2 : x - 4, y, 6, 2);
  }
}

/**
 * The name of a row as a link while the mouse is on it.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {number | null} row
 */
function paintRowLink(context, { model, view, box, theme }, row) {
  if (row === null) return;
  context.font = `12px ${theme.font}`;
  const width = context.measureText(cut(context, nameOf(model.rows, row), box.x - 8)).width;
  context.fillStyle = css(theme.accent);
  context.fillRect(box.x - 8 - width, rowNameAt(box, view, row) + 7, width, 1.5);
}

/**
 * Range, cursor and pin; the rings are kept inside the plot.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {Pick<Heatmap, "span" | "pin" | "cursor" | "hoveredRow">} marks
 */
export function paintMarks(context, scene, { span, pin, cursor, hoveredRow }) {
  const { box } = scene;
  paintSpan(context, scene, span);
  paintRowLink(context, scene, hoveredRow);
  context.save();
  context.beginPath();
  context.rect(box.x - 6, 0, box.width + 12, box.y + box.height + 6);
  context.clip();
  paintCursor(context, scene, cursor);
  paintPin(context, scene, pin);
  context.restore();
}
