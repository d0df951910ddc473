// The keys. Each button of the toolbar does what a key does.

import { showReadout } from "./draw.js";
import { codeAt, isSet, labelAt } from "./model.js";
import { openRow, pick, setCursor, setView, zoomBy } from "./moves.js";
import { LAST, UNDEFINED } from "./palette.js";
import { savePng, saveSvg } from "./picture.js";
import { choose, chooseSpan } from "./span.js";
import { clamp, fitView, panView, wholeView } from "./view.js";
import { nameOf } from "./words.js";

/** @import { Model } from "./model.js" */
/** @import { Carpet, Drawn, Loaded } from "./state.js" */

/**
 * Where the keyboard starts: the cursor, else the pin, else the first cell on screen.
 * @param {Loaded} carpet
 */
function startCell({ cursor, pin, view }) {
  const cell = cursor ?? pin;
  return { row: cell?.row ?? Math.ceil(view.top), column: cell?.column ?? Math.ceil(view.left), isFresh: !cell };
}

/**
 * Move the cursor by so many columns and rows.
 * @param {Drawn} carpet
 * @param {number} columns
 * @param {number} rows
 */
function moveCursor(carpet, columns, rows) {
  const { model } = carpet;
  const { row, column, isFresh } = startCell(carpet);
  const next = { row: clamp(row + rows, 0, model.rowCount - 1), column: clamp(column + columns, 0, model.columnCount - 1) };
  setCursor(carpet, isFresh ? { row, column } : next, { reveal: true });
}

/**
 * Move the cursor to a column of its row.
 * @param {Drawn} carpet
 * @param {number} column
 */
function goTo(carpet, column) {
  setCursor(carpet, { row: startCell(carpet).row, column }, { reveal: true });
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
  return classOf(model, row, column) !== classOf(model, row, column - direction);
}

/**
 * Go along the row to the next column that is one to stop at; say so when there is none.
 * @param {Drawn} carpet
 * @param {1 | -1} direction
 * @param {Stop} isStop
 * @param {string} noun
 */
function walk(carpet, direction, isStop, noun) {
  const { model } = carpet;
  const { row, column } = startCell(carpet);
  for (let next = column + direction; next >= 0 && next < model.columnCount; next += direction) {
    if (isStop(model, row, next, direction)) return goTo(carpet, next);
  }
  showReadout(carpet, { notice: `no ${noun} ${direction > 0 ? "after" : "before"} this one in ${model.rows.noun} ${nameOf(model.rows, row)}` });
}

/** @type {(carpet: Drawn, direction: 1 | -1) => void} */
const toChange = (carpet, direction) => walk(carpet, direction, isChange, "change");

/**
 * Go to the next or previous place where Python says `n` stops.
 * @param {Drawn} carpet
 * @param {1 | -1} direction
 */
function toStop(carpet, direction) {
  if (carpet.model.bits.stops) walk(carpet, direction, (model, row, column) => isSet(model, "stops", row, column), carpet.model.stops_say);
}

/**
 * Move the window by a share of its size.
 * @param {Drawn} carpet
 * @param {number} columnShare
 * @param {number} rowShare
 */
function panBy(carpet, columnShare, rowShare) {
  const { view, model } = carpet;
  setView(carpet, panView(model, view, (view.right - view.left) * columnShare, (view.bottom - view.top) * rowShare));
}

/**
 * Pin the cell under the cursor; with shift, where ranges are offered, select up to it.
 * @param {Drawn} carpet
 */
function pinCursor(carpet, isShift = false) {
  const cell = carpet.cursor ?? (isShift ? carpet.pin : null);
  if (cell) choose(carpet, cell, isShift);
}

/** @type {Record<string, (carpet: Drawn) => void>} */
const KEYS = {
  ArrowLeft: (carpet) => moveCursor(carpet, -1, 0),
  ArrowRight: (carpet) => moveCursor(carpet, 1, 0),
  ArrowUp: (carpet) => moveCursor(carpet, 0, -1),
  ArrowDown: (carpet) => moveCursor(carpet, 0, 1),
  Home: (carpet) => goTo(carpet, 0),
  End: (carpet) => goTo(carpet, carpet.model.columnCount - 1),
  Enter: (carpet) => pinCursor(carpet),
  " ": (carpet) => pinCursor(carpet),
  Escape: (carpet) => letGo(carpet),
  "+": (carpet) => zoomBy(carpet, 1.6),
  "=": (carpet) => zoomBy(carpet, 1.6),
  "-": (carpet) => zoomBy(carpet, 1 / 1.6),
  0: (carpet) => setView(carpet, wholeView(carpet.model)),
  f: (carpet) => carpet.pin && setView(carpet, fitView(carpet.model, carpet.view, carpet.scene.box, carpet.pin)),
  l: (carpet) => openRow(carpet, (carpet.cursor ?? carpet.pin)?.row ?? null),
  ".": (carpet) => toChange(carpet, 1),
  ",": (carpet) => toChange(carpet, -1),
  n: (carpet) => toStop(carpet, 1),
  N: (carpet) => toStop(carpet, -1),
  p: (carpet) => savePng(carpet),
  v: (carpet) => saveSvg(carpet),
  "?": (carpet) => toggleHelp(carpet),
};

/** @type {Record<string, (carpet: Drawn) => void>} */
const SHIFTED = {
  ArrowLeft: (carpet) => panBy(carpet, -0.25, 0),
  ArrowRight: (carpet) => panBy(carpet, 0.25, 0),
  ArrowUp: (carpet) => panBy(carpet, 0, -0.25),
  ArrowDown: (carpet) => panBy(carpet, 0, 0.25),
  Enter: (carpet) => pinCursor(carpet, true),
  n: (carpet) => toStop(carpet, -1),
};

/**
 * A key that means something here is kept from the page.
 * @param {Drawn} carpet
 * @param {KeyboardEvent} event
 */
export function pressKey(carpet, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = (event.shiftKey && SHIFTED[event.key]) || KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action(carpet);
}

/**
 * A button does what its key does.
 * @param {Drawn} carpet
 * @param {string} key
 */
export function runKey(carpet, key) {
  KEYS[key](carpet);
  const { stage, text } = carpet.parts;
  (stage.tabIndex === 0 ? stage : text).focus({ preventScroll: true });
}

/**
 * Esc closes the key list first, then releases the range, then cursor and pin.
 * @param {Drawn} carpet
 */
function letGo(carpet) {
  if (!carpet.parts.help.hidden) return toggleHelp(carpet);
  if (carpet.span && carpet.model.can_span) return chooseSpan(carpet, null);
  setCursor(carpet, null);
  pick(carpet, null);
}

/** @param {Carpet} carpet */
function toggleHelp(carpet) {
  carpet.parts.help.hidden = !carpet.parts.help.hidden;
}
