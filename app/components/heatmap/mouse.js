// Mouse, pen and touch: on the cells, on the names of the rows, on the strip below, on the tokens.

import { rowStep } from "./axes.js";
import { drawMarks, showReadout } from "./draw.js";
import { pressKey, runKey } from "./keyboard.js";
import { openRow, setCursor, setView, zoomBy } from "./moves.js";
import { choose, columnAt, dragSpan, endSpan, setSpan, startSpan } from "./span.js";
import { isDrawn } from "./state.js";
import { cellAtPixel, cellHeight, cellWidth, clamp, panView, placeAt } from "./view.js";

/** @import { Carpet, Drawn, Loaded, PanDrag, SpanDrag } from "./state.js" */

/**
 * Assign every handler; assigning twice does no harm.
 * @param {Loaded} carpet
 */
export function listen(carpet) {
  const { marks, stage, text } = carpet.parts;
  /**
   * A handler that waits for a drawing: a component without a width has none.
   * @template {Event} Kind
   * @param {(drawn: Drawn, event: Kind) => void} act
   * @returns {(event: Kind) => void}
   */
  const whenDrawn = (act) => (event) => {
    if (isDrawn(carpet)) act(carpet, event);
  };
  marks.onpointermove = whenDrawn((drawn, event) => (drawn.drag ? drag(drawn, drawn.drag, event) : hover(drawn, event)));
  marks.onpointerleave = whenDrawn((drawn) => !drawn.drag && leave(drawn));
  marks.onpointerdown = whenDrawn(press);
  marks.onpointerup = whenDrawn(release);
  marks.onpointercancel = whenDrawn(cancelDrag);
  marks.onwheel = whenDrawn(wheel);
  stage.onkeydown = text.onkeydown = whenDrawn(pressKey);
  text.onpointerover = whenDrawn(hoverToken);
  text.onpointerleave = whenDrawn((drawn) => setCursor(drawn, null));
  text.onmousedown = (event) => {
    if (event.shiftKey && carpet.model.can_span) event.preventDefault();
  };
  text.onclick = whenDrawn(pickToken);
  for (const button of carpet.buttons) button.onclick = whenDrawn((drawn) => runKey(drawn, button.dataset.key ?? ""));
}

/** @typedef {{ x: number, y: number }} Point A point of the canvas, in CSS pixels. */

/**
 * The point of an event on the canvas.
 * @param {Carpet} carpet
 * @param {MouseEvent} event
 * @returns {Point}
 */
function pointOf(carpet, event) {
  const { left, top } = carpet.parts.marks.getBoundingClientRect();
  return { x: event.clientX - left, y: event.clientY - top };
}

/**
 * What lies at a point: "cells", "strip" (the axis below them), "names" (of rows), or nothing.
 * @param {Drawn} carpet
 * @param {Point} point
 */
function zoneAt({ model, scene: { box } }, { x, y }) {
  const isBeside = y >= box.y && y < box.y + box.height;
  if (x >= box.x - 1 && x <= box.x + box.width + 1) {
    if (y >= box.y - 1 && y <= box.y + box.height + 1) return "cells";
    return model.can_span && y > box.y + box.height ? "strip" : null;
  }
  return model.can_open_rows && isBeside && x < box.x ? "names" : null;
}

/** @type {Record<string, string>} */
const CURSORS = { cells: "crosshair", strip: "ew-resize", names: "pointer" };

/**
 * The cell under a point, or null outside the plot.
 * @param {Drawn} carpet
 * @param {Point} point
 */
function cellUnder(carpet, point) {
  if (zoneAt(carpet, point) !== "cells") return null;
  return cellAtPixel(carpet.model, carpet.view, carpet.scene.box, Math.floor(point.x), Math.floor(point.y));
}

/**
 * The row whose name is at this height: where not all are named, the nearest that is.
 * @param {Drawn} carpet
 * @param {Point} point
 */
function rowNamed({ model, view, scene: { box } }, { y }) {
  const step = rowStep(box, view), row = placeAt(box, view, box.x, y).row;
  const named = step === 1 ? Math.floor(row) : Math.round(row / step) * step;
  return clamp(named, Math.ceil(view.top / step) * step, model.rowCount - 1);
}

/**
 * Preview what is under the mouse.
 * @param {Drawn} carpet
 * @param {PointerEvent} event
 */
function hover(carpet, event) {
  const point = pointOf(carpet, event), zone = zoneAt(carpet, point);
  carpet.parts.marks.style.cursor = CURSORS[zone ?? ""] ?? "default";
  hoverRow(carpet, zone === "names" ? rowNamed(carpet, point) : null);
  setCursor(carpet, zone === "strip" ? { row: null, column: columnAt(carpet, point.x) } : cellUnder(carpet, point));
}

/**
 * Underline the name of a row, or none.
 * @param {Drawn} carpet
 * @param {number | null} row
 */
function hoverRow(carpet, row) {
  if (row === carpet.hoveredRow) return;
  carpet.hoveredRow = row;
  drawMarks(carpet);
  showReadout(carpet);
}

/** @param {Drawn} carpet */
function leave(carpet) {
  hoverRow(carpet, null);
  setCursor(carpet, null);
}

/**
 * A press may become a click or a drag.
 * @param {Drawn} carpet
 * @param {PointerEvent} event
 */
function press(carpet, event) {
  if (event.button !== 0) return;
  const point = pointOf(carpet, event), zone = zoneAt(carpet, point);
  if (zone === "strip") startSpan(carpet, point.x);
  else carpet.drag = { kind: zone, ...point, view: carpet.view, moved: false };
  carpet.parts.marks.setPointerCapture(event.pointerId);
}

/**
 * Pan with the mouse or finger once it has really moved; on the strip, stretch the range.
 * @param {Drawn} carpet
 * @param {PanDrag | SpanDrag} from
 * @param {PointerEvent} event
 */
function drag(carpet, from, event) {
  const { scene: { box }, model } = carpet, { x, y } = pointOf(carpet, event);
  if (from.kind === "span") return dragSpan(carpet, from, x);
  if (!from.moved && Math.hypot(x - from.x, y - from.y) < 5) return;
  from.moved = true;
  setView(carpet, panView(model, from.view, -(x - from.x) / cellWidth(box, from.view), -(y - from.y) / cellHeight(box, from.view)));
}

/**
 * A press that did not move is a click: on a cell it pins or, with shift, selects up to it; on the name of a row it opens the row.
 * @param {Drawn} carpet
 * @param {PointerEvent} event
 */
function release(carpet, event) {
  const { drag: from } = carpet;
  carpet.drag = null;
  if (!from) return;
  carpet.parts.stage.focus({ preventScroll: true });
  if (from.kind === "span") return endSpan(carpet, from);
  if (from.moved) return;
  const point = pointOf(carpet, event), cell = cellUnder(carpet, point);
  if (cell) choose(carpet, cell, event.shiftKey);
  else if (from.kind === "names" && zoneAt(carpet, point) === "names") openRow(carpet, rowNamed(carpet, point));
}

/**
 * The browser took the pointer away, to scroll: nothing was chosen.
 * @param {Loaded} carpet
 */
function cancelDrag(carpet) {
  const { drag: from } = carpet;
  carpet.drag = null;
  if (from?.kind === "span") setSpan(carpet, from.before);
}

/**
 * Ctrl or shift and wheel zoom; the wheel alone scrolls the page.
 * @param {Drawn} carpet
 * @param {WheelEvent} event
 */
function wheel(carpet, event) {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const point = pointOf(carpet, event), turn = event.deltaY || event.deltaX;
  if (zoneAt(carpet, point) !== "cells" || !turn) return;
  zoomBy(carpet, Math.exp(-clamp(turn, -240, 240) / 300), placeAt(carpet.scene.box, carpet.view, point.x, point.y));
}

/**
 * The column of the token under the mouse, or null.
 * @param {Event} event
 */
function columnUnder(event) {
  /** @type {HTMLElement | null} */
  const token = event.target instanceof Element ? event.target.closest(".token") : null;
  return token ? Number(token.dataset.column) : null;
}

/**
 * @param {Drawn} carpet
 * @param {Event} event
 */
function hoverToken(carpet, event) {
  const column = columnUnder(event);
  if (column !== null) setCursor(carpet, { row: carpet.pin?.row ?? null, column });
}

/**
 * @param {Drawn} carpet
 * @param {MouseEvent} event
 */
function pickToken(carpet, event) {
  const column = columnUnder(event);
  if (column === null) return;
  carpet.parts.stage.focus({ preventScroll: true });
  choose(carpet, { row: carpet.pin?.row ?? null, column }, event.shiftKey);
}
