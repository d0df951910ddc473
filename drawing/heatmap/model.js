// The message of encode.py, and which of several cells is shown where they share a pixel.

import { expertTone, FADED, LAST, LEVELS, levelOf, UNDEFINED } from "./palette.js";
import { plainSigns } from "./signs.js";

/** @import { Scale } from "./palette.js" */

/** @typedef {{ row: number | null, column: number }} Cell A cell, or a whole column. */
/** @typedef {{ first: number, last: number }} Span A range of columns, both ends included. */
/** @typedef {{ noun: string, labels: string[] | null }} Axis What a row or column is called, and their names (null: 0, 1, 2 ...). */
/** @typedef {"faded" | "changes" | "stops"} Bit An overlay that says yes or no of each cell. */
/**
 * The header of a message, as encode.py writes it.
 * @typedef {object} Header
 * @property {[rows: number, columns: number]} shape
 * @property {Scale} scale
 * @property {Axis} rows
 * @property {Axis} columns
 * @property {0 | 1 | 2} label_bytes
 * @property {number | null} no_label the label of a cell that has none
 * @property {string[] | null} pieces
 * @property {{ glyph: string, says: string }[]} marks
 * @property {Bit[]} bits
 * @property {string} faded_says
 * @property {string} stops_say
 * @property {string} channel
 * @property {string} description
 * @property {string} attribution
 * @property {string} label_noun
 * @property {string} group
 * @property {boolean} square
 * @property {boolean} can_span
 * @property {boolean} can_open_rows
 * @property {boolean} can_open_experts whether the host has a page of each expert
 * @property {string[]} hues colours of experts
 * @property {boolean} follows whether the last column is looked at when more have come
 * @property {boolean} has_grid whether routes come, to be drawn by layer and expert
 */
/**
 * What the bytes after the header say: codes, labels, glyphs and bits of the cells, flags of the tokens.
 * @typedef {object} Cells
 * @property {number} rowCount
 * @property {number} columnCount
 * @property {Uint8Array} codes
 * @property {Uint8Array | Uint16Array | null} labels
 * @property {Uint8Array | null} flags
 * @property {Uint8Array | null} glyphs
 * @property {Partial<Record<Bit, Uint8Array>>} bits
 */
/**
 * What follows from a message: the tone of each cell (`plain`: before any is made faint), the rank of each tone, the most interesting row of each column.
 * @typedef {object} Derived
 * @property {Uint8Array} plain
 * @property {Uint8Array | Uint16Array} tones
 * @property {Int32Array} rank
 * @property {Uint16Array} extremeRows
 * @property {boolean} hasUndefined
 * @property {number[]} glyphCounts
 */
/** @typedef {Omit<Header, "bits"> & Cells & Derived} Model A matrix as the painters and the keys know it. */

/**
 * Read one message; the layout is at the head of encode.py.
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export function decode(bytes) {
  let at = 4;
  /** @param {number} count */
  const take = (count) => bytes.subarray(at, (at += count));
  const size = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  /** @type {Header} */
  const header = JSON.parse(new TextDecoder().decode(take(size)));
  const [rowCount, columnCount] = header.shape, cells = rowCount * columnCount;
  const codes = take(cells);
  const labels = readLabels(take(cells * header.label_bytes), header.label_bytes);
  const flags = header.pieces ? take(columnCount) : null;
  const glyphs = header.marks.length ? take(cells) : null;
  /** @type {Partial<Record<Bit, Uint8Array>>} */
  const bits = Object.fromEntries(header.bits.map((name) => [name, take(Math.ceil(cells / 8))]));
  return complete({ ...header, rowCount, columnCount, codes, labels, flags, glyphs, bits });
}

/**
 * What follows from a message, and names that can be shown.
 * @param {Omit<Header, "bits"> & Cells} read
 * @returns {Model}
 */
function complete(read) {
  const plain = read.scale.palette === "experts" ? expertTones(read) : read.codes;
  const tones = read.bits.faded ? tonesOf(plain, read.bits.faded) : plain;
  const rank = rankOf(read.scale);
  return {
    ...read,
    rows: withSigns(read.rows),
    columns: withSigns(read.columns),
    plain,
    tones,
    rank,
    extremeRows: extremeRows({ ...read, tones, rank }),
    hasUndefined: read.codes.includes(UNDEFINED),
    glyphCounts: glyphCounts(read),
  };
}

/**
 * Of cells that name an expert, the tone of its colour.
 * @param {Omit<Header, "bits"> & Cells} read
 */
function expertTones({ codes, labels, hues }) {
  return codes.map((code, at) => (code === UNDEFINED || !labels ? UNDEFINED : expertTone(hues, labels[at], code / LAST)));
}

/**
 * Make the columns faint that are not among the chosen ones; none when there is no choice.
 * @param {Model} model
 * @param {Uint8Array | null} chosen a byte a column
 */
export function fadeOthers(model, chosen) {
  const { plain, columnCount, bits } = model;
  if (chosen) model.tones = Uint16Array.from(plain, (tone, at) => (tone === UNDEFINED || chosen[at % columnCount] ? tone : tone + FADED));
  else model.tones = bits.faded ? tonesOf(plain, bits.faded) : plain;
}

/** @type {(axis: Axis) => Axis} */
const withSigns = ({ noun, labels }) => ({ noun, labels: labels?.map(plainSigns) ?? null });

/**
 * Labels of the cells as an array of numbers, or null.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {number} width
 */
function readLabels(bytes, width) {
  if (width === 0) return null;
  return width === 1 ? bytes : new Uint16Array(bytes.slice().buffer);
}

/** @type {(bits: Uint8Array | undefined, index: number) => boolean} */
const hasBit = (bits, index) => bits !== undefined && Boolean((bits[index >> 3] >> (index & 7)) & 1);

/**
 * A tone is a code, plus FADED where the cell is drawn faint. An undefined cell is hatched either way.
 * @param {Uint8Array} codes
 * @param {Uint8Array} faded
 */
function tonesOf(codes, faded) {
  return Uint16Array.from(codes, (code, at) => (code !== UNDEFINED && hasBit(faded, at) ? code + FADED : code));
}

/**
 * How often each glyph occurs.
 * @param {Pick<Model, "marks" | "glyphs">} model
 */
function glyphCounts({ marks, glyphs }) {
  /** @type {number[]} */
  const counts = new Array(marks.length).fill(0);
  if (glyphs) for (const number of glyphs) if (number) counts[number - 1]++;
  return counts;
}

const SUPPORTED = 1 << 20;

/**
 * How interesting each tone is where one pixel covers several cells: the highest rank is shown, a faint or undefined one only among its like.
 * @param {Scale} scale
 */
function rankOf(scale) {
  const rank = new Int32Array(2 * FADED);
  const centre = scale.null === null ? 0 : ((scale.null - scale.low) / (scale.high - scale.low)) * LAST;
  for (let code = 0; code <= LAST; code++) {
    const amount = scale.palette === "experts" ? levelOf(code) : code, most = scale.palette === "experts" ? LEVELS : LAST;
    const interest = { max: amount, min: most - amount, far: Math.min(SUPPORTED - 1, Math.round(4 * Math.abs(amount - centre))) }[scale.pool];
    rank[code] = SUPPORTED + interest;
    rank[code + FADED] = interest;
  }
  rank[UNDEFINED] = -1;
  return rank;
}

/**
 * Row of the most interesting cell of each column, the first when several are: one pass over the cells.
 * @param {Pick<Model, "tones" | "rank" | "rowCount" | "columnCount">} model
 */
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

/**
 * The most interesting cell of a block, both ends included; the first, when several are.
 * @param {Model} model
 * @param {number} firstRow
 * @param {number} lastRow
 * @param {number} firstColumn
 * @param {number} lastColumn
 * @returns {Cell | null}
 */
export function mostInteresting(model, firstRow, lastRow, firstColumn, lastColumn) {
  let best = -2;
  /** @type {Cell | null} */
  let found = null;
  for (let row = firstRow; row <= lastRow; row++) {
    for (let column = firstColumn; column <= lastColumn; column++) {
      const rank = model.rank[toneAt(model, row, column)];
      if (rank > best) [best, found] = [rank, { row, column }];
    }
  }
  return found;
}

/** @type {(model: Model, row: number, column: number) => number} */
export const codeAt = (model, row, column) => model.codes[row * model.columnCount + column];
/** @type {(model: Model, row: number, column: number) => number} */
export const toneAt = (model, row, column) => model.tones[row * model.columnCount + column];
/** @type {(model: Model, name: Bit, row: number, column: number) => boolean} */
export const isSet = (model, name, row, column) => hasBit(model.bits[name], row * model.columnCount + column);

/**
 * Label of a cell, or null.
 * @param {Model} model
 * @param {number} row
 * @param {number} column
 */
export function labelAt(model, row, column) {
  if (!model.labels) return null;
  const label = model.labels[row * model.columnCount + column];
  return label === model.no_label ? null : label;
}

/**
 * The mark on a cell, or null.
 * @param {Model} model
 * @param {number} row
 * @param {number} column
 */
export function markAt(model, row, column) {
  const number = model.glyphs ? model.glyphs[row * model.columnCount + column] : 0;
  return number ? model.marks[number - 1] : null;
}
