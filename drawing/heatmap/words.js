// Numbers, tokens and cells in words.

import { codeAt, isSet, labelAt, markAt } from "./model.js";
import { LAST, UNDEFINED } from "./palette.js";
import { visible } from "./signs.js";
import { cellsPerPixel } from "./view.js";

/** @import { Scene } from "./draw.js" */
/** @import { Axis, Cell, Model, Span } from "./model.js" */
/** @import { Scale } from "./palette.js" */
/** @import { Slot } from "./routes.js" */

/** @typedef {(string | HTMLElement)[]} Words A sentence, parts of it set off. */

/** @type {(axis: Axis, index: number) => string} */
export const nameOf = (axis, index) => (axis.labels ? axis.labels[index] : String(index));

/**
 * A number with as many digits as one step of the scale deserves.
 * @param {number} value
 * @param {Scale} scale
 */
function formatNumber(value, scale) {
  const step = (scale.high - scale.low) / LAST;
  const largest = Math.max(Math.abs(scale.low), Math.abs(scale.high));
  if (largest < 1e-3 || largest >= 1e6) return value.toExponential(2).replace("-", "−");
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step))));
  return value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace(/^-/, "");
}

/**
 * The sign before an end of the scale beyond which values lie.
 * @type {(scale: Scale, end: "low" | "high") => string}
 */
const signOf = (scale, end) => (end === "low" ? (scale.below ? "≤ " : "") : scale.above ? "≥ " : "");

/**
 * "≥ 2": an end of the scale for the legend.
 * @type {(scale: Scale, end: "low" | "high") => string}
 */
export const formatEnd = (scale, end) => signOf(scale, end) + formatShort(scale[end], scale);

/**
 * A number of the legend: no more zeros than it needs.
 * @param {number} value
 * @param {Scale} scale
 */
function formatShort(value, scale) {
  const text = formatNumber(value, scale);
  return /e/.test(text) || !text.includes(".") ? text : text.replace(/\.?0+$/, "");
}

/**
 * The value of a code in words, with its unit.
 * @param {number} code
 * @param {Scale} scale
 */
function formatCode(code, scale) {
  if (code === UNDEFINED) return "undefined";
  const value = scale.low + (code / LAST) * (scale.high - scale.low);
  const sign = code === 0 ? signOf(scale, "low") : code === LAST ? signOf(scale, "high") : "";
  return [sign + formatNumber(value, scale), scale.unit].filter(Boolean).join(" ");
}

/** @type {(scale: Scale) => string} */
export const lowOf = (scale) => (scale.palette === "experts" ? "" : formatEnd(scale, "low"));
/** @type {(scale: Scale) => string} */
export const highOf = (scale) => (scale.palette === "experts" ? EXPERT_COLOURS : [formatEnd(scale, "high"), scale.unit].filter(Boolean).join(" "));
const EXPERT_COLOURS = "a colour for each expert, 16 in all: its number tells; paler with less of the weight";
/** @type {(scale: Scale) => string} */
export const nullOf = (scale) => (scale.null === null ? "" : `┃ null ${formatShort(scale.null, scale)}`);

/**
 * The extreme of interest in words.
 * @type {(model: Model) => string}
 */
export const extremeWord = (model) => ({ max: "largest", min: "smallest", far: "most unusual" })[model.scale.pool];

/**
 * Says that one pixel stands for several cells, and which of them it shows.
 * @param {Scene} scene
 */
export function poolingWords({ model, box, view }) {
  const { columns, rows } = cellsPerPixel(box, view);
  if (columns <= 1 && rows <= 1) return "";
  /** @param {number} count */
  const many = (count) => (count < 10 ? count.toFixed(1).replace(".0", "") : Math.round(count));
  return `1 pixel = ${many(Math.max(1, columns) * Math.max(1, rows))} cells, the ${extremeWord(model)} shown`;
}

/** @type {[bit: number, word: string][]} */
const FLAG_WORDS = [[1, "special"], [2, "template"], [4, "generated"]];

/**
 * The flags of a token in words.
 * @param {Model} model
 * @param {number} column
 */
export function flagWords(model, column) {
  const flags = model.flags?.[column] ?? 0;
  return FLAG_WORDS.filter(([bit]) => flags & bit).map(([, word]) => word);
}

/**
 * The tokens around one, for the read-out.
 * @param {string[]} pieces
 * @param {number} column
 */
function neighbours(pieces, column) {
  /** @type {(from: number, to: number) => string} */
  const say = (from, to) => pieces.slice(Math.max(0, from), to).map(visible).join("").slice(0, 60);
  return [say(column - 4, column), visible(pieces[column]), say(column + 1, column + 5)];
}

// ---------------------------------------------------------------- the read-out

/** @type {(text: string) => HTMLElement} */
export const strong = (text) => Object.assign(document.createElement("b"), { textContent: text });

/**
 * "tokens 12–40 (29)": a range of columns.
 * @param {Model} model
 * @param {Span} span
 */
export function spanWords(model, { first, last }) {
  const { columns } = model;
  if (first === last) return `${columns.noun} ${nameOf(columns, first)}`;
  return `${columns.noun}s ${nameOf(columns, first)}–${nameOf(columns, last)} (${(last - first + 1).toLocaleString("en")})`;
}

/**
 * The words of the read-out for a cell: column, row, value, and what lies over it.
 * @param {Model} model
 * @param {Cell} cell
 * @param {{ row: number | null, isPinned: boolean, slots: Slot[] }} about the row meant (null: the extreme), and its experts where they are known
 * @returns {Words}
 */
export function describe(model, cell, about) {
  const row = about.row ?? model.extremeRows[cell.column];
  /** @type {Words} */
  const words = [strong(`${model.columns.noun} ${nameOf(model.columns, cell.column)}`)];
  if (model.pieces) words.push(...pieceWords(model, model.pieces, cell.column));
  words.push(about.row === null ? ` · ${extremeWord(model)} in ` : " · ", strong(`${model.rows.noun} ${nameOf(model.rows, row)}`));
  if (!["neutral", "experts"].includes(model.scale.palette)) words.push(` · ${model.scale.name} `, strong(formatCode(codeAt(model, row, cell.column), model.scale)));
  if (about.slots.length) words.push(` · ${about.slots.length === 1 ? "expert" : "experts"} `, strong(expertWords(about.slots)));
  words.push(...overlayWords(model, row, cell.column, about.slots.length > 0));
  if (about.isPinned) words.push(" · pinned");
  return words;
}

/**
 * Experts by decreasing weight, each with its share of it: "12 (40 %), 3 (30 %)".
 * @param {Slot[]} slots
 */
export const expertWords = (slots) => slots.map(({ expert, share }) => (Number.isNaN(share) ? String(expert) : `${expert} (${percentWords(share)})`)).join(", ");
/** @type {(share: number) => string} */
export const percentWords = (share) => (share > 0 && share < 0.005 ? "under 1 %" : `${Math.round(100 * share)} %`);

/**
 * The label of a cell, its glyph, whether it is faint, whether keys stop there.
 * @param {Model} model
 * @param {number} row
 * @param {number} column
 * @param {boolean} isNamed whether the experts were said already
 */
function overlayWords(model, row, column, isNamed) {
  /** @type {Words} */
  const words = [];
  const label = labelAt(model, row, column), mark = markAt(model, row, column);
  if (label !== null && !isNamed) words.push(` · ${model.label_noun} `, strong(String(label)));
  if (mark) words.push(` · ${mark.glyph} ${mark.says}`);
  if (isSet(model, "faded", row, column)) words.push(` · ${model.faded_says}`);
  if (isSet(model, "stops", row, column)) words.push(` · ${model.stops_say}`);
  return words;
}

/**
 * The token of the read-out among its neighbours, and its flags.
 * @param {Model} model
 * @param {string[]} pieces
 * @param {number} column
 * @returns {Words}
 */
function pieceWords(model, pieces, column) {
  const [before, token, after] = neighbours(pieces, column);
  /** @type {(text: string, tag: string) => HTMLElement} */
  const piece = (text, tag) => Object.assign(document.createElement("bdi"), { textContent: text, className: tag });
  const flags = flagWords(model, column);
  return [" ", piece(before, "near"), piece(token, "here"), piece(after, "near"), flags.length ? ` (${flags.join(", ")})` : ""];
}
