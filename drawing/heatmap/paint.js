// Drawing the cells: their colours, the gaps between them, labels and glyphs on them, and the bar of the palette.

import { contextOf, looseCanvas, setUp } from "./canvas.js";
import { labelAt, markAt, toneAt } from "./model.js";
import { css, expertTone, LAST, mix, UNDEFINED } from "./palette.js";
import { cellHeight, cellWidth, pixelEdges, xOf, yOf } from "./view.js";

/** @import { Pen } from "./canvas.js" */
/** @import { Scene } from "./draw.js" */
/** @import { Model } from "./model.js" */
/** @import { Palette, Theme } from "./palette.js" */
/** @import { View } from "./view.js" */

/**
 * The tone shown by each pixel of one line: the most interesting of the cells under it.
 * @param {Model} model
 * @param {Int32Array} edges
 * @param {number} firstRow
 * @param {number} endRow
 * @param {Uint16Array} line
 */
function poolLine(model, edges, firstRow, endRow, line) {
  const { tones, rank, columnCount } = model;
  for (let pixel = 0; pixel < line.length; pixel++) {
    const from = edges[pixel * 2], to = Math.min(columnCount, edges[pixel * 2 + 1]);
    let best = -2, shown = UNDEFINED;
    for (let row = firstRow; row < endRow; row++) {
      for (let at = row * columnCount + from, stop = row * columnCount + to; at < stop; at++) {
        if (rank[tones[at]] > best) best = rank[(shown = tones[at])];
      }
    }
    line[pixel] = shown;
  }
}

/**
 * The cells as an image of device pixels.
 * @param {Model} model
 * @param {View} view
 * @param {Palette} palette
 * @param {number} width
 * @param {number} height
 */
function cellImage(model, view, palette, width, height) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const columns = pixelEdges(view.left, view.right, width);
  const rows = pixelEdges(view.top, view.bottom, height);
  const line = new Uint16Array(width);
  for (let y = 0; y < height; y++) {
    const [first, end] = [rows[y * 2], Math.min(model.rowCount, rows[y * 2 + 1])];
    if (y > 0 && first === rows[y * 2 - 2] && rows[y * 2 + 1] === rows[y * 2 - 1]) {
      pixels.copyWithin(y * width, (y - 1) * width, y * width);
      continue;
    }
    poolLine(model, columns, first, end, line);
    for (let x = 0; x < width; x++) pixels[y * width + x] = palette.pixels[line[x]];
  }
  return image;
}

/**
 * A diagonal hatch for cells that have no value.
 * @param {Pen} context
 * @param {Theme} theme
 */
function hatch(context, theme) {
  const tile = looseCanvas(6, 6), pen = contextOf(tile);
  pen.fillStyle = css(mix(theme.text, theme.paper, 0.07));
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = css(mix(theme.text, theme.paper, 0.5));
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift - 1, 7);
    pen.lineTo(shift + 7, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat") ?? css(theme.panel);
}

/**
 * Cells, then gaps between them where they are large enough to afford one.
 * @param {Pen} context
 * @param {Scene} scene
 */
export function paintCells(context, scene) {
  const { model, view, box, palette, theme, ratio } = scene;
  const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
  const buffer = looseCanvas(width, height);
  contextOf(buffer).putImageData(cellImage(model, view, palette, width, height), 0, 0);
  if (model.hasUndefined) {
    context.fillStyle = hatch(context, theme);
    context.fillRect(box.x, box.y, box.width, box.height);
  }
  context.imageSmoothingEnabled = false;
  context.drawImage(buffer, box.x, box.y, width / ratio, height / ratio);
  paintGaps(context, scene);
  paintFrame(context, scene);
  if (model.labels || model.glyphs) paintCellLabels(context, scene);
}

/**
 * Hairlines in the colour of the paper between rows and between columns, each exactly on a pixel.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintGaps(context, { model, view, box, theme, ratio }) {
  /** @param {number} place */
  const snap = (place) => Math.round(place * ratio) / ratio;
  context.fillStyle = css(theme.paper);
  if (cellHeight(box, view) >= 10) {
    for (let row = Math.floor(view.top) + 1; row < view.bottom; row++) context.fillRect(box.x, snap(yOf(box, view, row)), box.width, 1);
  }
  if (cellWidth(box, view) >= 10 && model.scale.palette !== "neutral") {
    for (let column = Math.floor(view.left) + 1; column < view.right; column++) context.fillRect(snap(xOf(box, view, column)), box.y, 1, box.height);
  }
}

/**
 * A line around the cells, so that pale ones end somewhere.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintFrame(context, { box, theme }) {
  setUp(context, { strokeStyle: css(theme.muted), lineWidth: 1 });
  context.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
}

/** @typedef {{ first: number, end: number, label: number | null, glyph: string }} LabelRun */

/**
 * Runs of cells of one row that share label and glyph; every cell by itself when asked.
 * @param {Model} model
 * @param {View} view
 * @param {number} row
 * @param {boolean} isEachAlone
 */
function labelRuns(model, view, row, isEachAlone) {
  /** @type {LabelRun[]} */
  const runs = [];
  for (let column = Math.floor(view.left); column < Math.min(model.columnCount, view.right); column++) {
    const label = labelAt(model, row, column), glyph = markAt(model, row, column)?.glyph ?? "", last = runs[runs.length - 1];
    if (last && last.label === label && last.glyph === glyph && !isEachAlone) last.end = column + 1;
    else runs.push({ first: column, end: column + 1, label, glyph });
  }
  return runs;
}

/**
 * The labels that have room. On a neutral ground a run of equal labels is named once, between hairlines; on colours each cell is.
 * @param {Pen} context
 * @param {Scene} scene
 */
function paintCellLabels(context, scene) {
  const { model, view, box, theme } = scene;
  const { palette } = model.scale, isNeutral = palette === "neutral", height = cellHeight(box, view);
  if (cellWidth(box, view) < (isNeutral || palette === "experts" ? 1.5 : 8) || height < 6) return;
  const size = Math.min(model.labels ? 11 : 15, Math.ceil(height));
  setUp(context, { font: `${model.labels ? "" : "600 "}${size}px ${theme.font}`, textAlign: "center", textBaseline: "middle" });
  for (let row = Math.floor(view.top); row < Math.min(model.rowCount, view.bottom); row++) {
    for (const run of labelRuns(model, view, row, !isNeutral && palette !== "experts")) paintRun(context, scene, row, run, isNeutral);
  }
}

/**
 * Label and glyph in the middle of the part of their run that is on screen; only the glyph where there is no room for both.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {number} row
 * @param {LabelRun} run
 * @param {boolean} isNeutral
 */
function paintRun(context, { model, view, box, palette, theme }, row, { first, end, label, glyph }, isNeutral) {
  const start = Math.max(box.x, xOf(box, view, first)), stop = Math.min(box.x + box.width, xOf(box, view, end));
  const height = cellHeight(box, view);
  /** @type {(words: string, air: number) => boolean} */
  const fits = (words, air) => context.measureText(words).width + air <= stop - start;
  if (isNeutral && start > box.x) {
    context.fillStyle = css(theme.muted);
    context.fillRect(Math.round(start), yOf(box, view, row) + 1, 1, height - 1);
  }
  const both = [height >= 11 ? label : null, glyph].filter((part) => part !== null && part !== "").join(" ");
  const text = fits(both, 3) ? both : fits(glyph, 0) ? glyph : "";
  if (text === "") return;
  context.fillStyle = isNeutral ? css(theme.text) : palette.inks[toneAt(model, row, Math.floor((first + end - 1) / 2))];
  context.fillText(text, (start + stop) / 2 + 0.5, yOf(box, view, row + 0.5) + 1);
}

/**
 * Shorten a text to a width in pixels.
 * @param {Pen} context
 * @param {string} text
 * @param {number} width
 */
export function cut(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = [...text];
  while (kept.length > 1 && context.measureText(kept.join("") + "…").width > width) kept = kept.slice(0, -1);
  return kept.join("") + "…";
}

/**
 * The palette as a bar, a notch at the null value.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {number} width
 * @param {number} height
 */
export function paintLegend(context, scene, width, height) {
  const { model, palette, theme } = scene, { scale } = model;
  const isExperts = scale.palette === "experts", { hues } = model;
  /** @type {(at: number) => number} */
  const toneOf = (at) => (isExperts ? expertTone(hues, Math.floor((at * hues.length) / width), 1) : Math.round((at / Math.max(1, width - 1)) * LAST));
  for (let at = 0; at < width; at++) {
    context.fillStyle = palette.fills[toneOf(at)];
    context.fillRect(at, 0, 1, height);
  }
  if (scale.null === null || scale.null < scale.low || scale.null > scale.high) return;
  const x = ((scale.null - scale.low) / (scale.high - scale.low)) * width;
  context.fillStyle = css(theme.paper);
  context.fillRect(x - 2.5, 0, 5, height);
  context.fillStyle = css(theme.text);
  context.fillRect(x - 1, 0, 2, height);
}
