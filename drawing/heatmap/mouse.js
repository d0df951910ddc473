// Mouse, pen and touch: on the cells, on the names of the rows, on the strip below, on the tokens.

import { rowStep } from "./axes.js";
import { askAtRest } from "./asking.js";
import { drawMarks, showReadout } from "./draw.js";
import { pressKey, runKey } from "./keyboard.js";
import { listenGrid } from "./gridmoves.js";
import { openRow, setCursor, setView, zoomBy } from "./moves.js";
import { setPace, stopPlay, togglePlay } from "./play.js";
import { choose, columnAt, dragSpan, endSpan, setSpan, startSpan } from "./span.js";
import { isDrawn } from "./state.js";
import { cellAtPixel, cellHeight, cellWidth, clamp, panView, placeAt } from "./view.js";

/** @import { Heatmap, Drawn, Loaded, PanDrag, SpanDrag } from "./state.js" */

/**
 * Assign every handler; assigning twice does no harm.
 * @param {Loaded} heatmap
 */
export function listen(heatmap) {
  const { marks, stage, text } = heatmap.parts;
  /**
   * A handler that waits for a drawing: a component without a width has none.
   * @template {Event} Kind
   * @param {(drawn: Drawn, event: Kind) => void} act
   * @returns {(event: Kind) => void}
   */
  const whenDrawn = (act) => (event) => {
    if (isDrawn(heatmap)) act(heatmap, event);
  };
  marks.onpointermove = whenDrawn((drawn, event) => (drawn.drag ? drag(drawn, drawn.drag, event) : !drawn.playing && hover(drawn, event)));
  marks.onpointerleave = whenDrawn((drawn) => !drawn.drag && !drawn.playing && leave(drawn));
  marks.onpointerdown = whenDrawn(press);
  marks.onpointerup = whenDrawn(release);
  marks.onpointercancel = whenDrawn(cancelDrag);
  marks.onwheel = whenDrawn(wheel);
  stage.onkeydown = text.onkeydown = whenDrawn(pressKey);
  text.onpointerover = whenDrawn(hoverToken);
  text.onpointerleave = whenDrawn((drawn) => !drawn.playing && setCursor(drawn, null));
  text.onscroll = () => askAtRest(heatmap, () => firstInSight(heatmap));
  text.onmousedown = (event) => {
    if (event.shiftKey && heatmap.model.can_span) event.preventDefault();
  };
  text.onclick = whenDrawn(pickToken);
  const { playButton, pace } = heatmap.parts;
  playButton.onclick = whenDrawn(togglePlay);
  pace.oninput = () => setPace(heatmap, Number(pace.value));
  listenGrid(heatmap);
  for (const button of heatmap.buttons) button.onclick = whenDrawn((drawn) => runKey(drawn, button.dataset.key ?? ""));
}

/** @typedef {{ x: number, y: number }} Point A point of the canvas, in CSS pixels. */

/**
 * The point of an event on the canvas.
 * @param {Heatmap} heatmap
 * @param {MouseEvent} event
 * @returns {Point}
 */
function pointOf(heatmap, event) {
  const { left, top } = heatmap.parts.marks.getBoundingClientRect();
  return { x: event.clientX - left, y: event.clientY - top };
}

/**
 * What lies at a point: "cells", "strip" (the axis below them), "names" (of rows), or nothing.
 * @param {Drawn} heatmap
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
 * @param {Drawn} heatmap
 * @param {Point} point
 */
function cellUnder(heatmap, point) {
  if (zoneAt(heatmap, point) !== "cells") return null;
  return cellAtPixel(heatmap.model, heatmap.view, heatmap.scene.box, Math.floor(point.x), Math.floor(point.y));
}

/**
 * The row whose name is at this height: where not all are named, the nearest that is.
 * @param {Drawn} heatmap
 * @param {Point} point
 */
function rowNamed({ model, view, scene: { box } }, { y }) {
  const step = rowStep(box, view), row = placeAt(box, view, box.x, y).row;
  const named = step === 1 ? Math.floor(row) : Math.round(row / step) * step;
  return clamp(named, Math.ceil(view.top / step) * step, model.rowCount - 1);
}

/**
 * Preview what is under the mouse.
 * @param {Drawn} heatmap
 * @param {PointerEvent} event
 */
function hover(heatmap, event) {
  const point = pointOf(heatmap, event), zone = zoneAt(heatmap, point);
  heatmap.parts.marks.style.cursor = CURSORS[zone ?? ""] ?? "default";
  hoverRow(heatmap, zone === "names" ? rowNamed(heatmap, point) : null);
  setCursor(heatmap, zone === "strip" ? { row: null, column: columnAt(heatmap, point.x) } : cellUnder(heatmap, point));
}

/**
 * Underline the name of a row, or none.
 * @param {Drawn} heatmap
 * @param {number | null} row
 */
function hoverRow(heatmap, row) {
  if (row === heatmap.hoveredRow) return;
  heatmap.hoveredRow = row;
  drawMarks(heatmap);
  showReadout(heatmap);
}

/** @param {Drawn} heatmap */
function leave(heatmap) {
  hoverRow(heatmap, null);
  setCursor(heatmap, null);
}

/**
 * A press may become a click or a drag.
 * @param {Drawn} heatmap
 * @param {PointerEvent} event
 */
function press(heatmap, event) {
  if (event.button !== 0) return;
  stopPlay(heatmap);
  const point = pointOf(heatmap, event), zone = zoneAt(heatmap, point);
  if (zone === "strip") startSpan(heatmap, point.x);
  else heatmap.drag = { kind: zone, ...point, view: heatmap.view, moved: false };
  heatmap.parts.marks.setPointerCapture(event.pointerId);
}

/**
 * Pan with the mouse or finger once it has really moved; on the strip, stretch the range.
 * @param {Drawn} heatmap
 * @param {PanDrag | SpanDrag} from
 * @param {PointerEvent} event
 */
function drag(heatmap, from, event) {
  const { scene: { box }, model } = heatmap, { x, y } = pointOf(heatmap, event);
  if (from.kind === "span") return dragSpan(heatmap, from, x);
  if (!from.moved && Math.hypot(x - from.x, y - from.y) < 5) return;
  from.moved = true;
  setView(heatmap, panView(model, from.view, -(x - from.x) / cellWidth(box, from.view), -(y - from.y) / cellHeight(box, from.view)));
}

/**
 * A press that did not move is a click: on a cell it pins or, with shift, selects up to it; on the name of a row it opens the row.
 * @param {Drawn} heatmap
 * @param {PointerEvent} event
 */
function release(heatmap, event) {
  const { drag: from } = heatmap;
  heatmap.drag = null;
  if (!from) return;
  heatmap.parts.stage.focus({ preventScroll: true });
  if (from.kind === "span") return endSpan(heatmap, from);
  if (from.moved) return;
  const point = pointOf(heatmap, event), cell = cellUnder(heatmap, point);
  if (cell) choose(heatmap, cell, event.shiftKey);
  else if (from.kind === "names" && zoneAt(heatmap, point) === "names") openRow(heatmap, rowNamed(heatmap, point));
}

/**
 * The browser took the pointer away, to scroll: nothing was chosen.
 * @param {Loaded} heatmap
 */
function cancelDrag(heatmap) {
  const { drag: from } = heatmap;
  heatmap.drag = null;
  if (from?.kind === "span") setSpan(heatmap, from.before);
}

/**
 * Ctrl or shift and wheel zoom; the wheel alone scrolls the page.
 * @param {Drawn} heatmap
 * @param {WheelEvent} event
 */
function wheel(heatmap, event) {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const point = pointOf(heatmap, event), turn = event.deltaY || event.deltaX;
  if (zoneAt(heatmap, point) !== "cells" || !turn) return;
  zoomBy(heatmap, Math.exp(-clamp(turn, -240, 240) / 300), placeAt(heatmap.scene.box, heatmap.view, point.x, point.y));
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
 * @param {Drawn} heatmap
 * @param {Event} event
 */
function hoverToken(heatmap, event) {
  const column = columnUnder(event);
  if (column !== null && !heatmap.playing) setCursor(heatmap, { row: rowOf(heatmap), column });
}

/**
 * @param {Drawn} heatmap
 * @param {MouseEvent} event
 */
function pickToken(heatmap, event) {
  const column = columnUnder(event);
  if (column === null) return;
  stopPlay(heatmap);
  heatmap.parts.stage.focus({ preventScroll: true });
  choose(heatmap, { row: rowOf(heatmap), column }, event.shiftKey);
}

/**
 * The row that a token stands for: the pinned one, else that of the chosen expert.
 * @param {Loaded} heatmap
 */
const rowOf = ({ pin, chosen }) => pin?.row ?? chosen?.layer ?? null;

/**
 * The first token of the text that is in sight.
 * @param {Loaded} heatmap
 */
function firstInSight({ parts, lines }) {
  const { top, bottom } = parts.text.getBoundingClientRect();
  return lines.find(({ element }) => {
    const box = element.getBoundingClientRect();
    return box.bottom > top && box.top < bottom;
  })?.first ?? null;
}
