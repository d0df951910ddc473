// The keys. Each button of the toolbar does what a key does.

import { chooseExpert } from "./chosen.js";
import { showReadout } from "./draw.js";
import { codeAt, isSet, labelAt } from "./model.js";
import { openRow, pick, setCursor, setView, zoomBy } from "./moves.js";
import { LAST, UNDEFINED } from "./palette.js";
import { savePng, saveSvg } from "./picture.js";
import { setPace, stopPlay, togglePlay } from "./play.js";
import { choose, chooseSpan } from "./span.js";
import { clamp, fitView, panView, wholeView } from "./view.js";
import { nameOf } from "./words.js";

/** @import { Model } from "./model.js" */
/** @import { Heatmap, Drawn, Loaded } from "./state.js" */

/**
 * Where the keyboard starts: the cursor, else the pin, else the first cell on screen.
 * @param {Loaded} heatmap
 */
function startCell({ cursor, pin, view }) {
  const cell = cursor ?? pin;
  return { row: cell?.row ?? Math.ceil(view.top), column: cell?.column ?? Math.ceil(view.left), isFresh: !cell };
}

/**
 * Move the cursor by so many columns and rows.
 * @param {Drawn} heatmap
 * @param {number} columns
 * @param {number} rows
 */
function moveCursor(heatmap, columns, rows) {
  const { model } = heatmap;
  const { row, column, isFresh } = startCell(heatmap);
  const next = { row: clamp(row + rows, 0, model.rowCount - 1), column: clamp(column + columns, 0, model.columnCount - 1) };
  setCursor(heatmap, isFresh ? { row, column } : next, { reveal: true });
}

/**
 * Move the cursor to a column of its row.
 * @param {Drawn} heatmap
 * @param {number} column
 */
function goTo(heatmap, column) {
  setCursor(heatmap, { row: startCell(heatmap).row, column }, { reveal: true });
}

/**
 * What `.` and `,` compare without given changes: the label of a cell, else on which side of the null value (or the middle) it lies.
 * @param {Model} model
 * @param {number} row
 * @param {number} column
 */
function classOf(model, row, column) {
  if (model.labels) return labelAt(model, row, column);
  const code = codeAt(model, row, column);
  const { low, high } = model.scale;
  const middle = model.scale.null === null ? LAST / 2 : ((model.scale.null - low) / (high - low)) * LAST;
  return code === UNDEFINED ? null : code > middle;
}

/** @typedef {(model: Model, row: number, column: number, direction: 1 | -1) => boolean} Stop Does a walk stop at this cell? */

/**
 * Does a walk along the row stop at this change?
 * @type {Stop}
 */
function isChange(model, row, column, direction) {
  if (model.bits.changes) return isSet(model, "changes", row, column);
  const before = model.labels ? column - 1 : column - direction;
  return before >= 0 && classOf(model, row, column) !== classOf(model, row, before);
}

/**
 * Go along the row to the next column that is one to stop at; say so when there is none.
 * @param {Drawn} heatmap
 * @param {1 | -1} direction
 * @param {Stop} isStop
 * @param {string} noun
 */
function walk(heatmap, direction, isStop, noun) {
  const { model } = heatmap;
  const { row, column } = startCell(heatmap);
  for (let next = column + direction; next >= 0 && next < model.columnCount; next += direction) {
    if (isStop(model, row, next, direction)) return goTo(heatmap, next);
  }
  showReadout(heatmap, { notice: `no ${noun} ${direction > 0 ? "after" : "before"} this one in ${model.rows.noun} ${nameOf(model.rows, row)}` });
}

/** @type {(heatmap: Drawn, direction: 1 | -1) => void} */
const toChange = (heatmap, direction) => walk(heatmap, direction, isChange, "change");

/**
 * Go to the next or previous place where Python says `n` stops.
 * @param {Drawn} heatmap
 * @param {1 | -1} direction
 */
function toStop(heatmap, direction) {
  if (heatmap.model.bits.stops) walk(heatmap, direction, (model, row, column) => isSet(model, "stops", row, column), heatmap.model.stops_say);
}

/**
 * Move the window by a share of its size.
 * @param {Drawn} heatmap
 * @param {number} columnShare
 * @param {number} rowShare
 */
function panBy(heatmap, columnShare, rowShare) {
  const { view, model } = heatmap;
  setView(heatmap, panView(model, view, (view.right - view.left) * columnShare, (view.bottom - view.top) * rowShare));
}

/**
 * Pin the cell under the cursor; with shift, where ranges are offered, select up to it.
 * @param {Drawn} heatmap
 */
function pinCursor(heatmap, isShift = false) {
  const cell = heatmap.cursor ?? (isShift ? heatmap.pin : null);
  if (cell) choose(heatmap, cell, isShift);
}

/** @type {Record<string, (heatmap: Drawn) => void>} */
const KEYS = {
  ArrowLeft: (heatmap) => moveCursor(heatmap, -1, 0),
  ArrowRight: (heatmap) => moveCursor(heatmap, 1, 0),
  ArrowUp: (heatmap) => moveCursor(heatmap, 0, -1),
  ArrowDown: (heatmap) => moveCursor(heatmap, 0, 1),
  Home: (heatmap) => goTo(heatmap, 0),
  End: (heatmap) => goTo(heatmap, heatmap.model.columnCount - 1),
  Enter: (heatmap) => pinCursor(heatmap),
  " ": (heatmap) => (heatmap.model.has_grid ? togglePlay(heatmap) : pinCursor(heatmap)),
  "[": (heatmap) => setPace(heatmap, heatmap.pace - 1),
  "]": (heatmap) => setPace(heatmap, heatmap.pace + 1),
  Escape: (heatmap) => letGo(heatmap),
  "+": (heatmap) => zoomBy(heatmap, 1.6),
  "=": (heatmap) => zoomBy(heatmap, 1.6),
  "-": (heatmap) => zoomBy(heatmap, 1 / 1.6),
  0: (heatmap) => setView(heatmap, wholeView(heatmap.model)),
  f: (heatmap) => heatmap.pin && setView(heatmap, fitView(heatmap.model, heatmap.view, heatmap.scene.box, heatmap.pin)),
  l: (heatmap) => openRow(heatmap, (heatmap.cursor ?? heatmap.pin)?.row ?? null),
  ".": (heatmap) => toChange(heatmap, 1),
  ",": (heatmap) => toChange(heatmap, -1),
  n: (heatmap) => toStop(heatmap, 1),
  N: (heatmap) => toStop(heatmap, -1),
  p: (heatmap) => savePng(heatmap),
  v: (heatmap) => saveSvg(heatmap),
  "?": (heatmap) => toggleHelp(heatmap),
};

/** @type {Record<string, (heatmap: Drawn) => void>} */
const SHIFTED = {
  ArrowLeft: (heatmap) => panBy(heatmap, -0.25, 0),
  ArrowRight: (heatmap) => panBy(heatmap, 0.25, 0),
  ArrowUp: (heatmap) => panBy(heatmap, 0, -0.25),
  ArrowDown: (heatmap) => panBy(heatmap, 0, 0.25),
  Enter: (heatmap) => pinCursor(heatmap, true),
  n: (heatmap) => toStop(heatmap, -1),
};

const PLAY_KEYS = [" ", "[", "]"];

/**
 * A key that means something here is kept from the page.
 * @param {Drawn} heatmap
 * @param {KeyboardEvent} event
 */
export function pressKey(heatmap, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = (event.shiftKey && SHIFTED[event.key]) || KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  if (!PLAY_KEYS.includes(event.key)) stopPlay(heatmap);
  action(heatmap);
}

/**
 * A button does what its key does.
 * @param {Drawn} heatmap
 * @param {string} key
 */
export function runKey(heatmap, key) {
  KEYS[key](heatmap);
  const { stage, text } = heatmap.parts;
  (stage.tabIndex === 0 ? stage : text).focus({ preventScroll: true });
}

/**
 * Esc closes the key list first, then releases the chosen expert, then the range, then cursor and pin.
 * @param {Drawn} heatmap
 */
function letGo(heatmap) {
  if (!heatmap.parts.help.hidden) return toggleHelp(heatmap);
  if (heatmap.chosen) return chooseExpert(heatmap, null);
  if (heatmap.span && heatmap.model.can_span) return chooseSpan(heatmap, null);
  setCursor(heatmap, null);
  pick(heatmap, null);
}

/** @param {Heatmap} heatmap */
function toggleHelp(heatmap) {
  heatmap.parts.help.hidden = !heatmap.parts.help.hidden;
}
