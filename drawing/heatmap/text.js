// The tokens as running text, each on the colour of its value.

import { labelAt, toneAt } from "./model.js";
import { UNDEFINED } from "./palette.js";
import { RIGHT_TO_LEFT, visibleRuns } from "./signs.js";
import { isDrawn } from "./state.js";
import { extremeWord, flagWords, nameOf } from "./words.js";

/** @import { Model } from "./model.js" */
/** @import { Palette } from "./palette.js" */
/** @import { Heatmap, Drawn } from "./state.js" */

/** @typedef {HTMLElement & { fill?: string }} Token A token, and the colour it was given last. */
/**
 * A line of the text: the columns it has, how wide it is about, and whether it is to be dressed when it comes into sight.
 * @typedef {object} Line
 * @property {HTMLElement} element
 * @property {number} first
 * @property {number} end
 * @property {number} width
 * @property {boolean} isInSight
 * @property {boolean} isStale
 */

/**
 * One token. Its text enters as text, never as markup.
 * @param {Model} model
 * @param {string[]} pieces
 * @param {number} column
 */
function tokenElement(model, pieces, column) {
  /** @type {Token} */
  const element = document.createElement("span");
  const words = flagWords(model, column);
  element.className = ["token", ...words].join(" ");
  element.dataset.column = String(column);
  if (RIGHT_TO_LEFT.test(pieces[column])) element.dir = "auto";
  for (const [text, isFaint] of visibleRuns(pieces[column])) {
    if (isFaint) element.appendChild(document.createElement("i")).textContent = text;
    else element.append(text);
  }
  return element;
}

const SHORT_TEXT = 1024;
const CHUNK = 200;
const LINES_AT_FIRST = 20;
const ROW = 27;
const CHARACTER = 7;
const GAP = 5;

/**
 * All tokens in lines: a new one begins where the text's does. Long texts also break at every chunk, so that the browser can skip what is out of sight; it is told about how high that is, in pixels.
 * @param {HTMLElement} container
 * @param {Model} model
 * @param {string[]} pieces
 */
export function buildText(container, model, pieces) {
  const limit = model.columnCount > SHORT_TEXT ? CHUNK : SHORT_TEXT + 1;
  /** @type {Line[]} */
  const lines = [];
  const tokens = [];
  for (let column = 0, inLine = limit; column < model.columnCount; column++, inLine++) {
    if (inLine >= limit) {
      lines.push(newLine(column));
      inLine = 0;
    }
    const line = lines[lines.length - 1];
    tokens.push(line.element.appendChild(tokenElement(model, pieces, column)));
    line.end = column + 1;
    line.width += CHARACTER * pieces[column].length + GAP;
    if (pieces[column].includes("\n")) inLine = limit;
  }
  const room = Math.max(container.parentElement?.clientWidth ?? 0, 200);
  for (const { element, width } of lines) element.style.setProperty("--height", `${ROW * Math.ceil(width / room)}px`);
  container.replaceChildren(...lines.map((line) => line.element));
  return { tokens, lines };
}

/**
 * A line that begins with this column.
 * @param {number} first
 * @returns {Line}
 */
function newLine(first) {
  const element = Object.assign(document.createElement("div"), { className: "line" });
  return { element, first, end: first, width: 0, isInSight: true, isStale: true };
}

/**
 * Long texts are dressed where the reader looks, the rest when it comes into sight: a new row costs what is seen.
 * @param {Heatmap} heatmap
 */
export function watchText(heatmap) {
  heatmap.sight?.disconnect();
  const isShort = heatmap.tokens.length <= SHORT_TEXT;
  heatmap.lines.forEach((line, number) => Object.assign(line, { isInSight: isShort || number < LINES_AT_FIRST, isStale: true }));
  if (isShort) return;
  const byElement = new Map(heatmap.lines.map((line) => [/** @type {Element} */ (line.element), line]));
  /** @param {IntersectionObserverEntry[]} entries */
  const look = (entries) => entries.forEach(({ target, isIntersecting }) => enterSight(heatmap, byElement.get(target), isIntersecting));
  heatmap.sight = new IntersectionObserver(look, { root: heatmap.parts.text, rootMargin: "300px" });
  for (const element of byElement.keys()) heatmap.sight.observe(element);
}

/**
 * A line comes into sight or leaves it.
 * @param {Heatmap} heatmap
 * @param {Line | undefined} line
 * @param {boolean} isInSight
 */
function enterSight(heatmap, line, isInSight) {
  if (!line) return;
  line.isInSight = isInSight;
  if (isInSight && line.isStale && isDrawn(heatmap)) dressLine(heatmap, line);
}

/**
 * Colour, label, window and range of every token that is seen; the others get theirs later.
 * @param {Drawn} heatmap
 */
export function dressText(heatmap) {
  for (const line of heatmap.lines) {
    line.isStale = true;
    if (line.isInSight) dressLine(heatmap, line);
  }
}

/**
 * @param {Drawn} heatmap
 * @param {Line} line
 */
function dressLine(heatmap, line) {
  line.isStale = false;
  for (let column = line.first; column < line.end; column++) dressToken(heatmap, heatmap.tokens[column], column);
}

/**
 * One token, as far as it has changed.
 * @param {Drawn} heatmap
 * @param {Token} element
 * @param {number} column
 */
function dressToken(heatmap, element, column) {
  const { model, scene, view, span, took } = heatmap, row = textRow(heatmap);
  colourToken(element, scene.palette, tokenTone(model, column, row));
  labelToken(element, model, row, column);
  toggle(element, "outside", column < Math.floor(view.left) || column >= Math.ceil(view.right));
  toggle(element, "took", took !== null && took[column] === 1);
  toggle(element, "selected", span !== null && column >= span.first && column <= span.last);
}

/**
 * The tone a token is coloured by: its value in the pinned row, else the extreme of its column.
 * @param {Model} model
 * @param {number} column
 * @param {number | null} pinnedRow
 */
function tokenTone(model, column, pinnedRow) {
  return toneAt(model, pinnedRow ?? model.extremeRows[column], column);
}

/**
 * Ink and paper of one token.
 * @param {Token} element
 * @param {Palette} palette
 * @param {number} tone
 */
function colourToken(element, palette, tone) {
  const fill = palette.fills[tone];
  if (element.fill === fill) return;
  element.fill = fill;
  element.style.setProperty("--fill", fill);
  element.style.setProperty("--ink", palette.inks[tone]);
  toggle(element, "undefined", tone === UNDEFINED);
}

/** @type {(model: Model) => boolean} */
const isIdentity = ({ scale }) => scale.palette === "neutral" || scale.palette === "experts";

/**
 * The row that the text speaks of: the pinned one, else the chosen expert's; an expert is one of a layer, so there the first.
 * @param {Heatmap & { model: Model }} heatmap
 */
export const textRow = ({ pin, chosen, model }) => pin?.row ?? chosen?.layer ?? (model.scale.palette === "experts" ? 0 : null);

/**
 * Where colour says nothing, and where hues repeat, the label of the pinned row stands behind each token.
 * @param {Token} element
 * @param {Model} model
 * @param {number | null} pinnedRow
 * @param {number} column
 */
function labelToken(element, model, pinnedRow, column) {
  const isShown = model.labels && isIdentity(model) && pinnedRow !== null;
  const label = isShown ? labelAt(model, pinnedRow, column) : null;
  if (label !== null) element.dataset.label = String(label);
  else if (element.dataset.label) delete element.dataset.label;
}

/**
 * A class that is there or not; nothing is written where nothing changes.
 * @param {Element} element
 * @param {string} name
 * @param {boolean} isOn
 */
function toggle(element, name, isOn) {
  if (element.classList.contains(name) !== isOn) element.classList.toggle(name, isOn);
}

/**
 * Move a mark ("hovered", "pinned") to another token.
 * @param {Token[]} tokens
 * @param {string} mark
 * @param {number | null} from
 * @param {number | null} to
 */
export function moveMark(tokens, mark, from, to) {
  if (from !== null && tokens[from]) tokens[from].classList.remove(mark);
  if (to !== null && tokens[to]) tokens[to].classList.add(mark);
}

/**
 * Scroll the text, not the page, just so far that the token can be seen; again when lines that were skipped turn out higher.
 * @param {Element} container
 * @param {Element | undefined} element
 */
export function revealToken(container, element, tries = 4) {
  if (!element) return;
  const box = container.getBoundingClientRect(), token = element.getBoundingClientRect();
  const above = token.top - box.top - 8, below = token.bottom - box.top - container.clientHeight + 8;
  if (above < 0) container.scrollTop += above;
  else if (below > 0) container.scrollTop += below;
  else return;
  if (tries > 1) requestAnimationFrame(() => revealToken(container, element, tries - 1));
}

/**
 * What the colours of the text show, in words.
 * @param {Model} model
 * @param {number | null} pinnedRow
 */
export function textCaption(model, pinnedRow) {
  const { name, palette } = model.scale;
  const place = pinnedRow === null ? null : `in ${model.rows.noun} ${nameOf(model.rows, pinnedRow)}`;
  if (palette === "neutral") return place ? `The number behind each token: ${name} ${place}` : `Pin a cell to see its ${model.rows.noun} in the text`;
  if (palette === "experts") return `Text coloured by the expert with most of the weight ${place}, its number behind each token`;
  if (place || model.rowCount === 1) return `Text coloured by ${name} ${place ?? ""}`;
  return `Text coloured by the ${extremeWord(model)} ${name} over all ${model.rows.noun}s`;
}
