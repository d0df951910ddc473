// The selected range of columns: chosen on the axis strip, or from one column to another.

import { drawMarks, showReadout } from "./draw.js";
import { pick } from "./moves.js";
import { nextSerial } from "./state.js";
import { dressText } from "./text.js";
import { clamp, placeAt } from "./view.js";

const spanBetween = (a, b) => ({ first: Math.min(a, b), last: Math.max(a, b) });
export const sameSpan = (a, b) => a === b || (a !== null && b !== null && a.first === b.first && a.last === b.last);

/** Show a range; Python hears nothing of it yet. */
export function setSpan(carpet, span) {
  if (sameSpan(span, carpet.span)) return;
  carpet.span = span;
  carpet.parts.root.dataset.span = span ? `${span.first},${span.last}` : "";
  if (!carpet.scene) return;
  dressText(carpet);
  drawMarks(carpet);
  showReadout(carpet);
}

/** Select or release a range on behalf of the reader, and tell Python. */
export function chooseSpan(carpet, span) {
  setSpan(carpet, span);
  if (!span) carpet.anchor = null;
  carpet.send("span", { first: span?.first ?? null, last: span?.last ?? null, serial: nextSerial(carpet) });
}

/** Select from the column where the range began, else the pinned one, to this one. */
function extendSpan(carpet, column) {
  if (!carpet.model.can_span) return;
  carpet.anchor ??= carpet.pin?.column ?? carpet.span?.first ?? column;
  chooseSpan(carpet, spanBetween(carpet.anchor, column));
}

/** A press on the axis strip: a range begins. */
export function startSpan(carpet, x) {
  const column = columnAt(carpet, x);
  carpet.drag = { kind: "span", start: column, x, before: carpet.span, moved: false };
}

/** The range follows the pointer. */
export function dragSpan(carpet, x) {
  const { drag } = carpet;
  if (!drag.moved && Math.abs(x - drag.x) < 5) return;
  drag.moved = true;
  carpet.anchor = drag.start;
  setSpan(carpet, spanBetween(drag.start, columnAt(carpet, x)));
}

/** A range that was dragged is chosen; a press without a drag selects its column, or releases the range there is. */
export function endSpan(carpet, drag) {
  if (drag.moved) return chooseSpan(carpet, carpet.span);
  carpet.anchor = drag.start;
  chooseSpan(carpet, drag.before ? null : spanBetween(drag.start, drag.start));
}

/** The column at this x of the canvas. */
export function columnAt({ model, view, scene }, x) {
  return clamp(Math.floor(placeAt(scene.box, view, x, scene.box.y).column), 0, model.columnCount - 1);
}

/** Pin a cell, or with shift select the columns up to it. */
export function choose(carpet, cell, isShift) {
  if (isShift && carpet.model.can_span) extendSpan(carpet, cell.column);
  else pick(carpet, cell);
}
