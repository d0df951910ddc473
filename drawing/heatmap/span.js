// The selected range of columns: chosen on the axis strip, or from one column to another.

import { drawMarks, showReadout } from "./draw.js";
import { pick } from "./moves.js";
import { isDrawn, nextSerial } from "./state.js";
import { dressText } from "./text.js";
import { clamp, placeAt } from "./view.js";

/** @import { Cell, Span } from "./model.js" */
/** @import { Drawn, Loaded, SpanDrag } from "./state.js" */

/** @type {(a: number, b: number) => Span} */
const spanBetween = (a, b) => ({ first: Math.min(a, b), last: Math.max(a, b) });
/** @type {(a: Span | null, b: Span | null) => boolean} */
export const sameSpan = (a, b) => a === b || (a !== null && b !== null && a.first === b.first && a.last === b.last);

/**
 * Show a range; Python hears nothing of it yet.
 * @param {Loaded} heatmap
 * @param {Span | null} span
 */
export function setSpan(heatmap, span) {
  if (sameSpan(span, heatmap.span)) return;
  heatmap.span = span;
  heatmap.parts.root.dataset.span = span ? `${span.first},${span.last}` : "";
  if (!isDrawn(heatmap)) return;
  dressText(heatmap);
  drawMarks(heatmap);
  showReadout(heatmap);
}

/**
 * Select or release a range on behalf of the reader, and tell Python.
 * @param {Loaded} heatmap
 * @param {Span | null} span
 */
export function chooseSpan(heatmap, span) {
  setSpan(heatmap, span);
  if (!span) heatmap.anchor = null;
  heatmap.send("span", { first: span?.first ?? null, last: span?.last ?? null, serial: nextSerial(heatmap) });
}

/**
 * Select from the column where the range began, else the pinned one, to this one.
 * @param {Loaded} heatmap
 * @param {number} column
 */
function extendSpan(heatmap, column) {
  if (!heatmap.model.can_span) return;
  heatmap.anchor ??= heatmap.pin?.column ?? heatmap.span?.first ?? column;
  chooseSpan(heatmap, spanBetween(heatmap.anchor, column));
}

/**
 * A press on the axis strip: a range begins.
 * @param {Drawn} heatmap
 * @param {number} x
 */
export function startSpan(heatmap, x) {
  const column = columnAt(heatmap, x);
  heatmap.drag = { kind: "span", start: column, x, before: heatmap.span, moved: false };
}

/**
 * The range follows the pointer.
 * @param {Drawn} heatmap
 * @param {SpanDrag} drag
 * @param {number} x
 */
export function dragSpan(heatmap, drag, x) {
  if (!drag.moved && Math.abs(x - drag.x) < 5) return;
  drag.moved = true;
  heatmap.anchor = drag.start;
  setSpan(heatmap, spanBetween(drag.start, columnAt(heatmap, x)));
}

/**
 * A range that was dragged is chosen; a press without a drag selects its column, or releases the range there is.
 * @param {Loaded} heatmap
 * @param {SpanDrag} drag
 */
export function endSpan(heatmap, drag) {
  if (drag.moved) return chooseSpan(heatmap, heatmap.span);
  heatmap.anchor = drag.start;
  chooseSpan(heatmap, drag.before ? null : spanBetween(drag.start, drag.start));
}

/**
 * The column at this x of the canvas.
 * @param {Drawn} heatmap
 * @param {number} x
 */
export function columnAt({ model, view, scene }, x) {
  return clamp(Math.floor(placeAt(scene.box, view, x, scene.box.y).column), 0, model.columnCount - 1);
}

/**
 * Pin a cell, or with shift select the columns up to it.
 * @param {Loaded} heatmap
 * @param {Cell} cell
 * @param {boolean} isShift
 */
export function choose(heatmap, cell, isShift) {
  if (isShift && heatmap.model.can_span) extendSpan(heatmap, cell.column);
  else pick(heatmap, cell);
}
