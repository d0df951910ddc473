// The tokens as running text, each on the colour of its value.

import { labelAt, toneAt } from "./model.js";
import { UNDEFINED } from "./palette.js";
import { RIGHT_TO_LEFT, visibleRuns } from "./signs.js";
import { extremeWord, flagWords, nameOf } from "./words.js";

/** One token. Its text enters as text, never as markup. */
function tokenElement(model, column) {
  const element = document.createElement("span");
  const words = flagWords(model, column);
  element.className = ["token", ...words].join(" ");
  element.dataset.column = column;
  if (RIGHT_TO_LEFT.test(model.pieces[column])) element.dir = "auto";
  for (const [text, isFaint] of visibleRuns(model.pieces[column])) {
    if (isFaint) element.appendChild(document.createElement("i")).textContent = text;
    else element.append(text);
  }
  return element;
}

const SHORT_TEXT = 1024;
const CHUNK = 200;
const LINES_AT_FIRST = 20;
const ROW = 27, CHARACTER = 7, GAP = 5;

/** All tokens in lines: a new one begins where the text's does. Long texts also break at every chunk, so that the browser can skip what is out of sight; it is told about how high that is, in pixels. */
export function buildText(container, model) {
  const limit = model.columnCount > SHORT_TEXT ? CHUNK : SHORT_TEXT + 1;
  const lines = [], tokens = [];
  for (let column = 0, inLine = limit; column < model.columnCount; column++, inLine++) {
    if (inLine >= limit) {
      lines.push({ element: Object.assign(document.createElement("div"), { className: "line" }), first: column });
      inLine = 0;
    }
    const line = lines[lines.length - 1];
    tokens.push(line.element.appendChild(tokenElement(model, column)));
    line.end = column + 1;
    line.width = (line.width ?? 0) + CHARACTER * model.pieces[column].length + GAP;
    if (model.pieces[column].includes("\n")) inLine = limit;
  }
  const room = Math.max(container.parentElement.clientWidth, 200);
  for (const { element, width } of lines) element.style.setProperty("--height", `${ROW * Math.ceil(width / room)}px`);
  container.replaceChildren(...lines.map((line) => line.element));
  return { tokens, lines };
}

/** Long texts are dressed where the reader looks, the rest when it comes into sight: a new row costs what is seen. */
export function watchText(carpet) {
  carpet.sight?.disconnect();
  const isShort = carpet.tokens.length <= SHORT_TEXT;
  carpet.lines.forEach((line, number) => Object.assign(line, { isInSight: isShort || number < LINES_AT_FIRST, isStale: true }));
  if (isShort) return;
  const byElement = new Map(carpet.lines.map((line) => [line.element, line]));
  const look = (entries) => entries.forEach(({ target, isIntersecting }) => enterSight(carpet, byElement.get(target), isIntersecting));
  carpet.sight = new IntersectionObserver(look, { root: carpet.parts.text, rootMargin: "300px" });
  for (const element of byElement.keys()) carpet.sight.observe(element);
}

/** A line comes into sight or leaves it. */
function enterSight(carpet, line, isInSight) {
  line.isInSight = isInSight;
  if (isInSight && line.isStale && carpet.scene) dressLine(carpet, line);
}

/** Colour, label, window and range of every token that is seen; the others get theirs later. */
export function dressText(carpet) {
  for (const line of carpet.lines) {
    line.isStale = true;
    if (line.isInSight) dressLine(carpet, line);
  }
}

function dressLine(carpet, line) {
  line.isStale = false;
  for (let column = line.first; column < line.end; column++) dressToken(carpet, carpet.tokens[column], column);
}

/** One token, as far as it has changed. */
function dressToken({ model, scene, view, pin, span }, element, column) {
  const row = pin?.row ?? null;
  colourToken(element, scene.palette, tokenTone(model, column, row));
  labelToken(element, model, row, column);
  toggle(element, "outside", column < Math.floor(view.left) || column >= Math.ceil(view.right));
  toggle(element, "selected", span !== null && column >= span.first && column <= span.last);
}

/** The tone a token is coloured by: its value in the pinned row, else the extreme of its column. */
function tokenTone(model, column, pinnedRow) {
  return toneAt(model, pinnedRow ?? model.extremeRows[column], column);
}

/** Ink and paper of one token. */
function colourToken(element, palette, tone) {
  const fill = palette.fills[tone];
  if (element.fill === fill) return;
  element.fill = fill;
  element.style.setProperty("--fill", fill);
  element.style.setProperty("--ink", palette.inks[tone]);
  toggle(element, "undefined", tone === UNDEFINED);
}

/** Where colour says nothing, the label of the pinned row stands behind each token. */
function labelToken(element, model, pinnedRow, column) {
  const isShown = model.labels && model.scale.palette === "neutral" && pinnedRow !== null;
  const label = isShown ? labelAt(model, pinnedRow, column) : null;
  if (label !== null) element.dataset.label = label;
  else if (element.dataset.label) delete element.dataset.label;
}

/** A class that is there or not; nothing is written where nothing changes. */
function toggle(element, name, isOn) {
  if (element.classList.contains(name) !== isOn) element.classList.toggle(name, isOn);
}

/** Move a mark ("hovered", "pinned") to another token. */
export function moveMark(tokens, mark, from, to) {
  if (from !== null && tokens[from]) tokens[from].classList.remove(mark);
  if (to !== null && tokens[to]) tokens[to].classList.add(mark);
}

/** Scroll the text, not the page, just so far that the token can be seen; again when lines that were skipped turn out higher. */
export function revealToken(container, element, tries = 4) {
  if (!element) return;
  const box = container.getBoundingClientRect(), token = element.getBoundingClientRect();
  const above = token.top - box.top - 8, below = token.bottom - box.top - container.clientHeight + 8;
  if (above < 0) container.scrollTop += above;
  else if (below > 0) container.scrollTop += below;
  else return;
  if (tries > 1) requestAnimationFrame(() => revealToken(container, element, tries - 1));
}

/** What the colours of the text show, in words. */
export function textCaption(model, pinnedRow) {
  const { name, palette } = model.scale;
  const place = pinnedRow === null ? null : `in ${model.rows.noun} ${nameOf(model.rows, pinnedRow)}`;
  if (palette === "neutral") return place ? `The number behind each token: ${name} ${place}` : `Pin a cell to see its ${model.rows.noun} in the text`;
  if (place || model.rowCount === 1) return `Text coloured by ${name} ${place ?? ""}`;
  return `Text coloured by the ${extremeWord(model)} ${name} over all ${model.rows.noun}s`;
}
