// The message of encode.py, and what its codes mean in words.

/** Read one message; the layout is at the head of encode.py. */
function decode(bytes) {
  let at = 4;
  const take = (size) => bytes.subarray(at, (at += size));
  const size = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(take(size)));
  const [rowCount, columnCount] = header.shape;
  const codes = take(rowCount * columnCount);
  const labels = readLabels(take(rowCount * columnCount * header.label_bytes), header.label_bytes);
  const flags = header.pieces ? take(columnCount) : null;
  const model = { ...header, rowCount, columnCount, codes, labels, flags };
  model.rank = rankOf(model.scale);
  model.extremeRows = extremeRows(model);
  model.hasUndefined = codes.includes(UNDEFINED);
  return model;
}

/** Labels of the cells as an array of numbers, or null. */
function readLabels(bytes, width) {
  if (width === 0) return null;
  return width === 1 ? bytes : new Uint16Array(bytes.slice().buffer);
}

/** How interesting each code is where one pixel covers several cells: the highest rank is shown, undefined only among its like. */
function rankOf(scale) {
  const rank = new Int16Array(256);
  const centre = scale.null === null ? 0 : ((scale.null - scale.low) / (scale.high - scale.low)) * LAST;
  for (let code = 0; code <= LAST; code++) {
    rank[code] = { max: code, min: LAST - code, far: Math.abs(code - centre) }[scale.pool];
  }
  rank[UNDEFINED] = -1;
  return rank;
}

/** Row of the most interesting cell of each column, the first when several are: one pass over the cells. */
function extremeRows(model) {
  const { codes, rank, rowCount, columnCount } = model;
  const best = new Int16Array(columnCount).fill(-2), found = new Uint16Array(columnCount);
  for (let row = 0, at = 0; row < rowCount; row++) {
    for (let column = 0; column < columnCount; column++, at++) {
      if (rank[codes[at]] > best[column]) [best[column], found[column]] = [rank[codes[at]], row];
    }
  }
  return found;
}

/** The most interesting cell of a block, both ends included; the first, when several are. */
function mostInteresting(model, firstRow, lastRow, firstColumn, lastColumn) {
  let best = -2, found = null;
  for (let row = firstRow; row <= lastRow; row++) {
    for (let column = firstColumn; column <= lastColumn; column++) {
      const rank = model.rank[codeAt(model, row, column)];
      if (rank > best) [best, found] = [rank, { row, column }];
    }
  }
  return found;
}

const codeAt = (model, row, column) => model.codes[row * model.columnCount + column];

/** Label of a cell, or null. */
function labelAt(model, row, column) {
  if (!model.labels) return null;
  const label = model.labels[row * model.columnCount + column];
  return label === (model.label_bytes === 1 ? 255 : 65535) ? null : label;
}

const nameOf = (axis, index) => (axis.labels ? axis.labels[index] : String(index));

/** A number with as many digits as one step of the scale deserves. */
function formatNumber(value, scale) {
  const step = (scale.high - scale.low) / LAST;
  const largest = Math.max(Math.abs(scale.low), Math.abs(scale.high));
  if (largest < 1e-3 || largest >= 1e6) return value.toExponential(2).replace("-", "−");
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step))));
  return value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace(/^-/, "");
}

/** The sign before an end of the scale beyond which values lie. */
const signOf = (scale, end) => (end === "low" ? (scale.below ? "≤ " : "") : scale.above ? "≥ " : "");

/** "≥ 2": an end of the scale for the legend. */
const formatEnd = (scale, end) => signOf(scale, end) + formatShort(scale[end], scale);

/** A number of the legend: no more zeros than it needs. */
function formatShort(value, scale) {
  const text = formatNumber(value, scale);
  return /e/.test(text) || !text.includes(".") ? text : text.replace(/\.?0+$/, "");
}

/** The value of a code in words, with its unit. */
function formatCode(code, scale) {
  if (code === UNDEFINED) return "undefined";
  const value = scale.low + (code / LAST) * (scale.high - scale.low);
  const sign = code === 0 ? signOf(scale, "low") : code === LAST ? signOf(scale, "high") : "";
  return [sign + formatNumber(value, scale), scale.unit].filter(Boolean).join(" ");
}

/** The extreme of interest in words. */
const extremeWord = (model) => ({ max: "largest", min: "smallest", far: "most unusual" })[model.scale.pool];

const FLAG_WORDS = [[1, "special"], [2, "template"], [4, "generated"]];

/** The flags of a token in words. */
function flagWords(model, column) {
  return model.flags ? FLAG_WORDS.filter(([bit]) => model.flags[column] & bit).map(([, word]) => word) : [];
}

const MARKS = { " ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u00a0": "⍽", "\u007f": "␡" };
const HIDDEN = /[\u0000-\u0020\u007f-\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;

/** One character as it is shown: white space as a sign, anything else that would not be seen as its code. */
function signOfCharacter(character) {
  const code = character.codePointAt(0);
  if (MARKS[character] || !HIDDEN.test(character)) return MARKS[character] ?? character;
  return code < 32 ? String.fromCodePoint(0x2400 + code) : `‹${code.toString(16).toUpperCase().padStart(4, "0")}›`;
}

/** A token as [text, isFaint] runs: the signs of white space are faint, everything else is not. */
function visibleRuns(piece) {
  const runs = piece === "" ? [["∅", true]] : [];
  for (const character of piece) {
    const isFaint = character in MARKS, last = runs[runs.length - 1];
    if (last && last[1] === isFaint) last[0] += signOfCharacter(character);
    else runs.push([signOfCharacter(character), isFaint]);
  }
  return runs;
}

const visible = (piece) => visibleRuns(piece).map(([text]) => text).join("");
