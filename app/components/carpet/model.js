// The message of encode.py, and which of several cells is shown where they share a pixel.

import { FADED, LAST, UNDEFINED } from "./palette.js";
import { plainSigns } from "./signs.js";

/** The message as it was before Python deflated it. */
export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Read one message; the layout is at the head of encode.py. */
export function decode(bytes) {
  let at = 4;
  const take = (size) => bytes.subarray(at, (at += size));
  const size = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(take(size)));
  const [rowCount, columnCount] = header.shape, cells = rowCount * columnCount;
  const codes = take(cells);
  const labels = readLabels(take(cells * header.label_bytes), header.label_bytes);
  const flags = header.pieces ? take(columnCount) : null;
  const glyphs = header.marks.length ? take(cells) : null;
  const bits = Object.fromEntries(header.bits.map((name) => [name, take(Math.ceil(cells / 8))]));
  return complete({ ...header, rowCount, columnCount, codes, labels, flags, glyphs, bits });
}

/** What follows from a message: the tone of each cell, ranks, extremes, names that can be shown. */
function complete(model) {
  for (const axis of [model.rows, model.columns]) axis.labels = axis.labels?.map(plainSigns) ?? null;
  model.tones = model.bits.faded ? tonesOf(model.codes, model.bits.faded) : model.codes;
  model.rank = rankOf(model.scale);
  model.extremeRows = extremeRows(model);
  model.hasUndefined = model.codes.includes(UNDEFINED);
  model.glyphCounts = glyphCounts(model);
  return model;
}

/** Labels of the cells as an array of numbers, or null. */
function readLabels(bytes, width) {
  if (width === 0) return null;
  return width === 1 ? bytes : new Uint16Array(bytes.slice().buffer);
}

const hasBit = (bits, index) => Boolean(bits && (bits[index >> 3] >> (index & 7)) & 1);

/** A tone is a code, plus FADED where the cell is drawn faint. An undefined cell is hatched either way. */
function tonesOf(codes, faded) {
  return Uint16Array.from(codes, (code, at) => (code !== UNDEFINED && hasBit(faded, at) ? code + FADED : code));
}

/** How often each glyph occurs. */
function glyphCounts({ marks, glyphs }) {
  const counts = new Array(marks.length).fill(0);
  if (glyphs) for (const number of glyphs) if (number) counts[number - 1]++;
  return counts;
}

const SUPPORTED = 1 << 20;

/** How interesting each tone is where one pixel covers several cells: the highest rank is shown, a faint or undefined one only among its like. */
function rankOf(scale) {
  const rank = new Int32Array(2 * FADED);
  const centre = scale.null === null ? 0 : ((scale.null - scale.low) / (scale.high - scale.low)) * LAST;
  for (let code = 0; code <= LAST; code++) {
    const interest = { max: code, min: LAST - code, far: Math.min(SUPPORTED - 1, Math.round(4 * Math.abs(code - centre))) }[scale.pool];
    rank[code] = SUPPORTED + interest;
    rank[code + FADED] = interest;
  }
  rank[UNDEFINED] = -1;
  return rank;
}

/** Row of the most interesting cell of each column, the first when several are: one pass over the cells. */
function extremeRows(model) {
  const { tones, rank, rowCount, columnCount } = model;
  const best = new Int32Array(columnCount).fill(-2), found = new Uint16Array(columnCount);
  for (let row = 0, at = 0; row < rowCount; row++) {
    for (let column = 0; column < columnCount; column++, at++) {
      if (rank[tones[at]] > best[column]) [best[column], found[column]] = [rank[tones[at]], row];
    }
  }
  return found;
}

/** The most interesting cell of a block, both ends included; the first, when several are. */
export function mostInteresting(model, firstRow, lastRow, firstColumn, lastColumn) {
  let best = -2, found = null;
  for (let row = firstRow; row <= lastRow; row++) {
    for (let column = firstColumn; column <= lastColumn; column++) {
      const rank = model.rank[toneAt(model, row, column)];
      if (rank > best) [best, found] = [rank, { row, column }];
    }
  }
  return found;
}

export const codeAt = (model, row, column) => model.codes[row * model.columnCount + column];
export const toneAt = (model, row, column) => model.tones[row * model.columnCount + column];
export const isSet = (model, name, row, column) => hasBit(model.bits[name], row * model.columnCount + column);

/** Label of a cell, or null. */
export function labelAt(model, row, column) {
  if (!model.labels) return null;
  const label = model.labels[row * model.columnCount + column];
  return label === (model.label_bytes === 1 ? 255 : 65535) ? null : label;
}

/** The mark on a cell, or null. */
export function markAt(model, row, column) {
  const number = model.glyphs ? model.glyphs[row * model.columnCount + column] : 0;
  return number ? model.marks[number - 1] : null;
}
