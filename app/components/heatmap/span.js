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
 * @param {Loaded} carpet
 * @param {Span | null} span
 */
export function setSpan(carpet, span) {
  if (sameSpan(span, carpet.span)) return;
  carpet.span = span;
  carpet.parts.root.dataset.span = span ? `${span.first},${span.last}` : "";
  if (!isDrawn(carpet)) return;
  dressText(carpet);
  drawMarks(carpet);
  showReadout(carpet);
}

/**
 * Select or release a range on behalf of the reader, and tell Python.
 * @param {Loaded} carpet
 * @param {Span | null} span
 */
export function chooseSpan(carpet, span) {
  setSpan(carpet, span);
  if (!span) carpet.anchor = null;
  carpet.send("span", { first: span?.first ?? null, last: span?.last ?? null, serial: nextSerial(carpet) });
}

/**
 * Select from the column where the range began, else the pinned one, to this one.
 * @param {Loaded} carpet
 * @param {number} column
 */
function extendSpan(carpet, column) {
  if (!carpet.model.can_span) return;
  carpet.anchor ??= carpet.pin?.column ?? carpet.span?.first ?? column;
  chooseSpan(carpet, spanBetween(carpet.anchor, column));
}

/**
 * A press on the axis strip: a range begins.
 * @param {Drawn} carpet
 * @param {number} x
 */
export function startSpan(carpet, x) {
  const column = columnAt(carpet, x);
  carpet.drag = { kind: "span", start: column, x, before: carpet.span, moved: false };
}

/**
 * The range follows the pointer.
 * @param {Drawn} carpet
 * @param {SpanDrag} drag
 * @param {number} x
 */
export function dragSpan(carpet, drag, x) {
  if (!drag.moved && Math.abs(x - drag.x) < 5) return;
  drag.moved = true;
  carpet.anchor = drag.start;
  setSpan(carpet, spanBetween(drag.start, columnAt(carpet, x)));
}

/**
 * A range that was dragged is chosen; a press without a drag selects its column, or releases the range there is.
 * @param {Loaded} carpet
 * @param {SpanDrag} drag
 */
export function endSpan(carpet, drag) {
  if (drag.moved) return chooseSpan(carpet, carpet.span);
  carpet.anchor = drag.start;
  chooseSpan(carpet, drag.before ? null : spanBetween(drag.start, drag.start));
}

/**
 * The column at this x of the canvas.
 * @param {Drawn} carpet
 * @param {number} x
 */
export function columnAt({ model, view, scene }, x) {
  return clamp(Math.floor(placeAt(scene.box, view, x, scene.box.y).column), 0, model.columnCount - 1);
}

/**
 * Pin a cell, or with shift select the columns up to it.
 * @param {Loaded} carpet
 * @param {Cell} cell
 * @param {boolean} isShift
 */
export function choose(carpet, cell, isShift) {
  if (isShift && carpet.model.can_span) extendSpan(carpet, cell.column);
  else pick(carpet, cell);
}
