// What is drawn anew, part by part: the window, the marks, the words.

import { axisOf, gutterWidth, paintMatrix, sceneHeight } from "./axes.js";
import { contextOf, prepare } from "./canvas.js";
import { knownSlots } from "./grid.js";
import { paintLegend } from "./paint.js";
import { buildPalette, readTheme } from "./palette.js";
import { paintMarks } from "./rings.js";
import { samePin } from "./state.js";
import { dressText, textCaption, textRow } from "./text.js";
import { plotBox } from "./view.js";
import { describe, flagWords, highOf, lowOf, nameOf, nullOf, poolingWords, spanWords, strong } from "./words.js";

/** @import { Ticks } from "./axes.js" */
/** @import { Cell, Model } from "./model.js" */
/** @import { Palette, Theme } from "./palette.js" */
/** @import { Heatmap, Drawn, Loaded } from "./state.js" */
/** @import { Box, View } from "./view.js" */

/**
 * What the painters need to know.
 * @typedef {object} Scene
 * @property {Model} model
 * @property {View} view
 * @property {Theme} theme
 * @property {Palette} palette
 * @property {Box} box
 * @property {Ticks} axis
 * @property {number} ratio device pixels a CSS pixel
 */

/**
 * The matrix as it is painted at this ratio.
 * @param {Loaded} heatmap
 * @param {number} ratio
 * @returns {Scene}
 */
export function sceneOf(heatmap, ratio) {
  const { parts, model } = heatmap;
  const theme = readTheme(parts.root), context = contextOf(parts.cells);
  const box = plotBox(model, heatmap.width, gutterWidth(context, model, theme, heatmap.width));
  return { model, theme, palette: buildPalette(model.scale, theme, model.hues), box, axis: axisOf(context, model, theme, box), view: heatmap.view, ratio };
}

/**
 * What, besides the data, a drawing depends on.
 * @type {(heatmap: Heatmap) => string}
 */
export const lookOf = ({ parts }) => JSON.stringify([readTheme(parts.root), parts.stage.clientWidth, window.devicePixelRatio]);

/**
 * The one tab stop: the matrix; or the text above it where that scrolls, so that it can be scrolled without a mouse. The keys are the same.
 * @param {Loaded} heatmap
 */
export function placeTabStop({ parts, model }) {
  const scrolls = !parts.text.hidden && parts.text.scrollHeight > parts.text.clientHeight;
  const words = `${model.scale.name}, ${model.rowCount} ${model.rows.noun}s by ${model.columnCount} ${model.columns.noun}s. ${model.description}`;
  parts.stage.tabIndex = scrolls ? -1 : 0;
  parts.text.tabIndex = scrolls ? 0 : -1;
  parts.stage.setAttribute("aria-label", words);
  parts.text.setAttribute("role", scrolls ? "application" : "group");
  parts.text.setAttribute("aria-label", scrolls ? `Tokens of ${words}` : "Tokens");
}

/**
 * Draw the cells and what lies over them: after a change of window.
 * @param {Drawn} heatmap
 */
export function drawCells(heatmap) {
  const { parts, scene } = heatmap;
  scene.view = heatmap.view;
  const height = sceneHeight(scene);
  paintMatrix(prepare(parts.cells, heatmap.width, height, scene.ratio), scene);
  prepare(parts.marks, heatmap.width, height, scene.ratio);
  const { left, right, top, bottom } = heatmap.view;
  Object.assign(parts.root.dataset, { window: `${left.toFixed(2)} ${right.toFixed(2)}`, rows: `${top.toFixed(2)} ${bottom.toFixed(2)}` });
  dressText(heatmap);
  parts.pooled.textContent = poolingWords(scene);
  drawMarks(heatmap);
}

/**
 * Draw range, cursor and pin: after every move of the mouse, so nothing else is touched.
 * @param {Drawn} heatmap
 */
export function drawMarks(heatmap) {
  const { parts, scene } = heatmap;
  const context = contextOf(parts.marks);
  context.clearRect(0, 0, heatmap.width, parts.marks.height);
  paintMarks(context, scene, heatmap);
}

/**
 * What the colours of the text show, and the colours.
 * @param {Drawn} heatmap
 */
export function drawText(heatmap) {
  if (!heatmap.tokens.length) return;
  heatmap.parts.caption.textContent = textCaption(heatmap.model, textRow(heatmap));
  dressText(heatmap);
}

/**
 * The bar of the palette, its ends, and a key to the marks that occur.
 * @param {Drawn} heatmap
 */
export function drawLegend(heatmap) {
  const { parts, scene, model } = heatmap;
  const { scale } = model;
  parts.legend.hidden = scale.palette === "neutral";
  paintLegend(prepare(parts.bar, 148, 10, scene.ratio), scene, 148, 10);
  parts.low.textContent = lowOf(scale);
  parts.high.textContent = highOf(scale);
  parts.null.textContent = nullOf(scale);
  const seen = new Set([...(model.flags ?? [])].flatMap((_, column) => flagWords(model, column)));
  if (model.hasUndefined) seen.add("undefined");
  /** @type {NodeListOf<HTMLElement>} */
  const samples = parts.samples.querySelectorAll("[data-mark]");
  for (const sample of samples) sample.hidden = !seen.has(sample.dataset.mark ?? "");
  parts.glyphs.replaceChildren(...glyphSamples(model).map(({ glyph, words }) => glyphSample(glyph, words)));
}

/**
 * What the glyphs and faint cells say, and how many cells have each glyph.
 * @param {Model} model
 */
export function glyphSamples(model) {
  /** @type {{ glyph: string | null, words: string }[]} */
  const samples = model.marks.map(({ glyph, says }, at) => ({ glyph, words: `${says} (${model.glyphCounts[at].toLocaleString("en")})` }));
  if (model.bits.faded) samples.push({ glyph: null, words: `faint: ${model.faded_says}` });
  return samples;
}

/**
 * One glyph and its words; a swatch for what has no glyph.
 * @param {string | null} glyph
 * @param {string} words
 */
function glyphSample(glyph, words) {
  const sample = document.createElement("span"), sign = sample.appendChild(document.createElement("i"));
  sign.className = glyph === null ? "faint" : "glyph";
  sign.textContent = glyph ?? "";
  sample.append(words);
  return sample;
}

/**
 * What is said of a cell: the row meant, whether it is pinned, and the experts that ran there.
 * @param {Loaded} heatmap
 * @param {Cell} cell
 */
function aboutCell(heatmap, cell) {
  const row = cell.row ?? textRow(heatmap);
  const slots = heatmap.routes ? knownSlots(heatmap, cell.column, row ?? heatmap.model.extremeRows[cell.column]) : [];
  return { row, isPinned: samePin(cell, heatmap.pin), slots };
}

const INVITATION = "Point at a cell, or use the arrow keys. ? lists the keys.";

/**
 * One sentence about the cell under the cursor, else about the pinned one, then the range. A quiet one is not spoken.
 * @param {Loaded} heatmap
 * @param {{ notice?: string | null, isQuiet?: boolean }} how
 */
export function showReadout(heatmap, { notice = null, isQuiet = false } = {}) {
  const { model, parts, span, hoveredRow } = heatmap;
  const cell = heatmap.cursor ?? heatmap.pin;
  const words = cell ? describe(model, cell, aboutCell(heatmap, cell)) : [];
  if (hoveredRow !== null) words.splice(0, words.length, strong(`${model.rows.noun} ${nameOf(model.rows, hoveredRow)}`), " · click to open");
  if (span) words.push(words.length ? " · selected: " : "selected: ", strong(spanWords(model, span)));
  if (notice) words.push(` · ${notice}`);
  parts.readout.setAttribute("aria-live", isQuiet ? "off" : "polite");
  parts.readout.replaceChildren(...(words.length ? words : [INVITATION]));
}
