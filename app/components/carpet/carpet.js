// The component: one state per mounted element, handlers assigned anew at every run.

const carpets = new WeakMap();
const PINS = Symbol.for("gatescope.pins");

/** Streamlit calls this at the first draw and again whenever data or theme change. */
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const carpet = carpets.get(parentElement) ?? createCarpet(parentElement);
  carpets.set(parentElement, carpet);
  carpet.send = (pick) => setTriggerValue("pick", pick);
  const isNew = !sameBytes(carpet.bytes, data);
  if (isNew) loadModel(carpet, data);
  listen(carpet);
  if (isNew || carpet.look !== lookOf(carpet)) redraw(carpet);
  return () => disposeCarpet(carpet, parentElement);
}

/** State and parts of a new component. */
function createCarpet(parentElement) {
  const part = (name) => parentElement.querySelector(`[data-part="${name}"]`);
  const names = ["root", "title", "legend", "bar", "low", "high", "null", "samples", "pooled", "caption", "text", "stage", "cells", "marks", "readout", "help"];
  const parts = Object.fromEntries(names.map((name) => [name, part(name)]));
  parts.root.dataset.pin = "";
  const carpet = { parts, bytes: null, model: null, view: null, pin: null, cursor: null, tokens: [], sent: 0, drag: null };
  carpet.buttons = [...parentElement.querySelectorAll("button[data-key]")];
  carpet.observer = new ResizeObserver(() => parts.stage.clientWidth !== carpet.width && redraw(carpet));
  carpet.observer.observe(parts.stage);
  return carpet;
}

/** Let go of everything outside the component. */
function disposeCarpet(carpet, parentElement) {
  carpet.observer.disconnect();
  const place = registry().get(carpet.model.channel);
  if (place?.carpet === carpet) registry().delete(carpet.model.channel);
  carpets.delete(parentElement);
}

/** Same message as before? Streamlit hands over a new array at every rerun. */
function sameBytes(a, b) {
  if (a === null || a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Take over a new matrix. Window, pin and text stay when it has the same shape and the same tokens. */
function loadModel(carpet, bytes) {
  const before = carpet.model, model = decode(bytes);
  const { parts } = carpet;
  const sameShape = before && before.rowCount === model.rowCount && before.columnCount === model.columnCount;
  if (!sameShape) Object.assign(carpet, { view: wholeView(model), pin: null, cursor: null });
  const tokensOf = (m) => m && m.pieces && JSON.stringify([m.pieces, [...m.flags]]);
  if (tokensOf(before) !== tokensOf(model)) carpet.tokens = model.pieces ? buildText(parts.text, model) : [];
  Object.assign(carpet, { bytes, model });
  parts.text.hidden = parts.caption.hidden = !model.pieces;
  parts.title.textContent = model.scale.name;
  parts.stage.setAttribute("aria-label", `${model.scale.name}, ${model.rowCount} ${model.rows.noun}s by ${model.columnCount} ${model.columns.noun}s. ${model.description}`);
  carpet.scene = null;
  subscribe(carpet, !sameShape);
}

/** Be told of pins from Python, also of one that came before the matrix did. */
function subscribe(carpet, isEager) {
  const place = registry().get(carpet.model.channel) ?? {};
  registry().set(carpet.model.channel, Object.assign(place, { carpet, apply: (message) => applyPin(carpet, message) }));
  if (place.message && isEager) applyPin(carpet, place.message);
}

/** Pins set by Python arrive through another, tiny component, so that the matrix is not sent again: they meet here. */
function registry() {
  return (globalThis[PINS] ??= new Map());
}

/** Take over the pin from Python, unless it answers an older pick than the last one made here. */
function applyPin(carpet, message) {
  if (message.answers && message.answers < carpet.sent) return;
  const { rowCount, columnCount } = carpet.model;
  const isCell = message.column !== null && message.column < columnCount && (message.row ?? 0) < rowCount;
  const pin = isCell ? { row: message.row, column: message.column } : null;
  if (!samePin(pin, carpet.pin)) setPin(carpet, pin);
}

const samePin = (a, b) => a === b || (a !== null && b !== null && a.row === b.row && a.column === b.column);

// ---------------------------------------------------------------- drawing

/** A canvas of this size in CSS pixels, sharp on any screen. */
function prepare(canvas, width, height, ratio) {
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** What the painters need to know. */
function sceneOf(carpet, ratio) {
  const { parts, model } = carpet;
  const theme = readTheme(parts.root);
  const gutter = gutterWidth(parts.cells.getContext("2d"), model, theme, carpet.width);
  const box = plotBox(model, carpet.width, gutter);
  return { model, theme, palette: buildPalette(model.scale, theme), box, view: carpet.view, ratio };
}

/** What, besides the data, a drawing depends on. */
const lookOf = ({ parts }) => JSON.stringify([readTheme(parts.root), parts.stage.clientWidth, window.devicePixelRatio]);

/** Draw everything anew: after new data, theme or size. */
function redraw(carpet) {
  const { parts, model } = carpet;
  const isFirst = !carpet.scene;
  carpet.width = parts.stage.clientWidth;
  if (carpet.width === 0) return;
  carpet.look = lookOf(carpet);
  carpet.scene = sceneOf(carpet, window.devicePixelRatio || 1);
  drawLegend(carpet);
  drawCells(carpet);
  drawText(carpet);
  showReadout(carpet);
  parts.text.tabIndex = parts.text.scrollHeight > parts.text.clientHeight ? 0 : -1;
  if (isFirst && carpet.pin) revealBoth(carpet, carpet.pin);
  const { x, y, width, height } = carpet.scene.box;
  Object.assign(parts.root.dataset, { shape: `${model.rowCount}x${model.columnCount}`, plot: `${x} ${y} ${width} ${height}` });
  parts.root.dataset.ready = "true";
}

/** Draw the cells and what lies over them: after a change of window. */
function drawCells(carpet) {
  const { parts, scene } = carpet;
  scene.view = carpet.view;
  const height = scene.box.y + scene.box.height + AXIS_HEIGHT + 4;
  paintMatrix(prepare(parts.cells, carpet.width, height, scene.ratio), scene);
  prepare(parts.marks, carpet.width, height, scene.ratio);
  parts.root.dataset.window = [carpet.view.left, carpet.view.right].map((edge) => edge.toFixed(2)).join(" ");
  markWindow(carpet.tokens, carpet.view);
  parts.pooled.textContent = poolingWords(scene);
  drawMarks(carpet);
}

/** Says that one pixel stands for several cells, and which of them it shows. */
function poolingWords({ model, box, view }) {
  const { columns, rows } = cellsPerPixel(box, view);
  if (columns <= 1 && rows <= 1) return "";
  const many = (count) => (count < 10 ? count.toFixed(1).replace(".0", "") : Math.round(count));
  return `1 pixel = ${many(Math.max(1, columns) * Math.max(1, rows))} cells, the ${extremeWord(model)} shown`;
}

/** Draw cursor and pin: after every move of the mouse, so nothing else is touched. */
function drawMarks(carpet) {
  const { parts, scene } = carpet;
  const context = parts.marks.getContext("2d");
  context.clearRect(0, 0, carpet.width, parts.marks.height);
  paintMarks(context, scene, carpet.pin, carpet.cursor);
}

/** Colours and caption of the text. */
function drawText(carpet) {
  if (!carpet.tokens.length) return;
  const row = carpet.pin?.row ?? null;
  colourText(carpet.tokens, carpet.model, carpet.scene.palette, row);
  labelText(carpet.tokens, carpet.model, row);
  carpet.parts.caption.textContent = textCaption(carpet.model, row);
}

/** The bar of the palette, its ends, and a key to the marks that occur. */
function drawLegend(carpet) {
  const { parts, scene, model } = carpet;
  const { scale } = model;
  parts.legend.hidden = scale.palette === "neutral";
  paintLegend(prepare(parts.bar, 148, 10, scene.ratio), scene, 148, 10);
  parts.low.textContent = formatEnd(scale, "low");
  parts.high.textContent = [formatEnd(scale, "high"), scale.unit].filter(Boolean).join(" ");
  parts.null.textContent = scale.null === null ? "" : `┃ null ${formatShort(scale.null, scale)}`;
  const seen = new Set(carpet.tokens.length ? [...model.flags].flatMap((_, column) => flagWords(model, column)) : []);
  for (const sample of parts.samples.querySelectorAll("[data-mark]")) {
    sample.hidden = sample.dataset.mark === "undefined" ? !model.hasUndefined : !seen.has(sample.dataset.mark);
  }
}

/** The tokens around one, for the read-out. */
function neighbours(model, column) {
  const say = (from, to) => model.pieces.slice(Math.max(0, from), to).map(visible).join("").slice(0, 60);
  return [say(column - 4, column), visible(model.pieces[column]), say(column + 1, column + 5)];
}

/** One sentence about the cell under the cursor, else about the pinned one. */
function showReadout(carpet) {
  const { model, parts } = carpet;
  const cell = carpet.cursor ?? carpet.pin;
  parts.readout.replaceChildren(...(cell ? describe(model, cell, samePin(cell, carpet.pin)) : ["Point at a cell, or use the arrow keys. ? lists the keys."]));
}

/** The words of the read-out: column, row, value. */
function describe(model, cell, isPinned) {
  const strong = (text) => Object.assign(document.createElement("b"), { textContent: text });
  const row = cell.row ?? model.extremeRows[cell.column];
  const code = codeAt(model, row, cell.column);
  const words = [strong(`${model.columns.noun} ${nameOf(model.columns, cell.column)}`)];
  if (model.pieces) words.push(...pieceWords(model, cell.column));
  words.push(cell.row === null ? ` · ${extremeWord(model)} in ` : " · ", strong(`${model.rows.noun} ${nameOf(model.rows, row)}`));
  if (model.scale.palette !== "neutral") words.push(` · ${model.scale.name} `, strong(formatCode(code, model.scale)));
  const label = labelAt(model, row, cell.column);
  if (label !== null) words.push(` · ${model.label_noun} `, strong(String(label)));
  if (isPinned) words.push(" · pinned");
  return words;
}

/** The token of the read-out among its neighbours, and its flags. */
function pieceWords(model, column) {
  const [before, token, after] = neighbours(model, column);
  const piece = (text, tag) => Object.assign(document.createElement("bdi"), { textContent: text, className: tag });
  const flags = flagWords(model, column);
  return [" ", piece(before, "near"), piece(token, "here"), piece(after, "near"), flags.length ? ` (${flags.join(", ")})` : ""];
}

// ---------------------------------------------------------------- cursor, pin, window

/** Move the cursor; the server hears nothing of it. */
function setCursor(carpet, cursor, { reveal = false } = {}) {
  if (samePin(cursor, carpet.cursor)) return;
  moveMark(carpet.tokens, "hovered", carpet.cursor?.column ?? null, cursor?.column ?? null);
  carpet.cursor = cursor;
  if (reveal && cursor) revealBoth(carpet, cursor);
  drawMarks(carpet);
  showReadout(carpet);
}

/** Bring a cell into the window of the matrix and of the text. */
function revealBoth(carpet, cell) {
  const view = revealCell(carpet.model, carpet.view, cell);
  if (view.left !== carpet.view.left || view.top !== carpet.view.top) setView(carpet, view);
  if (carpet.tokens.length) revealToken(carpet.parts.text, carpet.tokens[cell.column]);
}

/** Show another pin. */
function setPin(carpet, pin) {
  const rowChanged = (carpet.pin?.row ?? null) !== (pin?.row ?? null);
  moveMark(carpet.tokens, "pinned", carpet.pin?.column ?? null, pin?.column ?? null);
  carpet.pin = pin;
  carpet.parts.root.dataset.pin = pin ? `${pin.row ?? ""},${pin.column}` : "";
  if (!carpet.scene) return;
  if (rowChanged) drawText(carpet);
  if (pin) revealBoth(carpet, pin);
  drawMarks(carpet);
  showReadout(carpet);
}

/** Pin or release on behalf of the reader, and tell Python. */
function pick(carpet, pin) {
  if (samePin(pin, carpet.pin)) return;
  setPin(carpet, pin);
  carpet.sent = Math.max(Date.now(), carpet.sent + 1);
  carpet.send({ row: pin?.row ?? null, column: pin?.column ?? null, serial: carpet.sent });
}

/** Show another part of the matrix. */
function setView(carpet, view) {
  carpet.view = view;
  drawCells(carpet);
}

/** Zoom around the cursor, else the pin, else the middle. */
function zoomBy(carpet, factor, at = null) {
  const { view, cursor, pin, scene } = carpet;
  const cell = cursor ?? pin;
  const middle = { column: (view.left + view.right) / 2, row: (view.top + view.bottom) / 2 };
  const place = at ?? (cell && inView(view, cell) ? { column: cell.column + 0.5, row: cell.row === null ? middle.row : cell.row + 0.5 } : middle);
  setView(carpet, zoomView(carpet.model, view, scene.box, factor, place));
}

// ---------------------------------------------------------------- mouse and touch

/** The cell under the mouse, or null outside the plot. */
function cellUnder(carpet, event) {
  const { box } = carpet.scene;
  const { left, top } = carpet.parts.marks.getBoundingClientRect();
  const [x, y] = [event.clientX - left, event.clientY - top];
  if (x < box.x - 1 || x > box.x + box.width + 1 || y < box.y - 1 || y > box.y + box.height + 1) return null;
  return { ...cellAtPixel(carpet.model, carpet.view, box, Math.floor(x), Math.floor(y)), place: placeAt(box, carpet.view, x, y) };
}

const bare = (cell) => cell && { row: cell.row, column: cell.column };

/** Assign every handler; assigning twice does no harm. */
function listen(carpet) {
  const { parts } = carpet;
  parts.marks.onpointermove = (event) => (carpet.drag ? dragTo(carpet, event) : setCursor(carpet, bare(cellUnder(carpet, event))));
  parts.marks.onpointerleave = () => !carpet.drag && setCursor(carpet, null);
  parts.marks.onpointerdown = (event) => startDrag(carpet, event);
  parts.marks.onpointerup = (event) => endDrag(carpet, event);
  parts.marks.onpointercancel = () => (carpet.drag = null);
  parts.marks.onwheel = (event) => wheel(carpet, event);
  parts.stage.onkeydown = (event) => pressKey(carpet, event);
  parts.text.onpointerover = (event) => hoverToken(carpet, event);
  parts.text.onpointerleave = () => setCursor(carpet, null);
  parts.text.onclick = (event) => pickToken(carpet, event);
  parts.text.onkeydown = (event) => pressKey(carpet, event);
  for (const button of carpet.buttons) button.onclick = () => runKey(carpet, button.dataset.key);
}

/** A press may become a click or a drag. */
function startDrag(carpet, event) {
  if (event.button !== 0) return;
  carpet.drag = { x: event.clientX, y: event.clientY, view: carpet.view, moved: false };
  carpet.parts.marks.setPointerCapture(event.pointerId);
}

/** Pan with the mouse or finger once it has really moved. */
function dragTo(carpet, event) {
  const { drag, scene, model } = carpet;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(dx, dy) < 5) return;
  drag.moved = true;
  setView(carpet, panView(model, drag.view, -dx / cellWidth(scene.box, drag.view), -dy / cellHeight(scene.box, drag.view)));
}

/** A press that did not move is a click: it pins. */
function endDrag(carpet, event) {
  const { drag } = carpet;
  carpet.drag = null;
  if (!drag || drag.moved) return;
  carpet.parts.stage.focus({ preventScroll: true });
  const cell = bare(cellUnder(carpet, event));
  if (cell) pick(carpet, cell);
}

/** Ctrl or shift and wheel zoom; the wheel alone scrolls the page. */
function wheel(carpet, event) {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const cell = cellUnder(carpet, event);
  const turn = event.deltaY || event.deltaX;
  if (cell && turn) zoomBy(carpet, Math.exp(-clamp(turn, -240, 240) / 300), cell.place);
}

/** The column of the token under the mouse, or null. */
function columnUnder(event) {
  const token = event.target.closest?.(".token");
  return token ? Number(token.dataset.column) : null;
}

function hoverToken(carpet, event) {
  const column = columnUnder(event);
  if (column !== null) setCursor(carpet, { row: carpet.pin?.row ?? null, column });
}

function pickToken(carpet, event) {
  const column = columnUnder(event);
  if (column === null) return;
  carpet.parts.stage.focus({ preventScroll: true });
  pick(carpet, { row: carpet.pin?.row ?? null, column });
}

// ---------------------------------------------------------------- keyboard

/** Where the keyboard starts: the cursor, else the pin, else the first cell on screen. */
function startCell({ cursor, pin, view }) {
  const cell = cursor ?? pin;
  return { row: cell?.row ?? Math.ceil(view.top), column: cell?.column ?? Math.ceil(view.left), isFresh: !cell };
}

/** Move the cursor by so many columns and rows. */
function moveCursor(carpet, columns, rows) {
  const { model } = carpet;
  const { row, column, isFresh } = startCell(carpet);
  const next = { row: clamp(row + rows, 0, model.rowCount - 1), column: clamp(column + columns, 0, model.columnCount - 1) };
  setCursor(carpet, isFresh ? { row, column } : next, { reveal: true });
}

/** What `.` and `,` compare: the label of a cell, else on which side of the null value (or the middle) it lies. */
function classOf(model, row, column) {
  if (model.labels) return labelAt(model, row, column);
  const code = codeAt(model, row, column);
  const { low, high } = model.scale;
  const middle = model.scale.null === null ? LAST / 2 : ((model.scale.null - low) / (high - low)) * LAST;
  return code === UNDEFINED ? null : code > middle;
}

/** Go to the next or previous column in which this row changes class. */
function stepClass(carpet, direction) {
  const { model } = carpet;
  const { row, column } = startCell(carpet);
  for (let next = column + direction; next >= 0 && next < model.columnCount; next += direction) {
    if (classOf(model, row, next) !== classOf(model, row, next - direction)) return setCursor(carpet, { row, column: next }, { reveal: true });
  }
}

/** Move the window by a share of its width. */
function panBy(carpet, share) {
  const { view, model } = carpet;
  setView(carpet, panView(model, view, (view.right - view.left) * share, 0));
}

const KEYS = {
  ArrowLeft: (carpet) => moveCursor(carpet, -1, 0),
  ArrowRight: (carpet) => moveCursor(carpet, 1, 0),
  ArrowUp: (carpet) => moveCursor(carpet, 0, -1),
  ArrowDown: (carpet) => moveCursor(carpet, 0, 1),
  Home: (carpet) => setCursor(carpet, { row: startCell(carpet).row, column: 0 }, { reveal: true }),
  End: (carpet) => setCursor(carpet, { row: startCell(carpet).row, column: carpet.model.columnCount - 1 }, { reveal: true }),
  Enter: (carpet) => carpet.cursor && pick(carpet, carpet.cursor),
  " ": (carpet) => carpet.cursor && pick(carpet, carpet.cursor),
  Escape: (carpet) => escape(carpet),
  "+": (carpet) => zoomBy(carpet, 1.6),
  "=": (carpet) => zoomBy(carpet, 1.6),
  "-": (carpet) => zoomBy(carpet, 1 / 1.6),
  0: (carpet) => setView(carpet, wholeView(carpet.model)),
  f: (carpet) => carpet.pin && setView(carpet, fitView(carpet.model, carpet.view, carpet.scene.box, carpet.pin)),
  ".": (carpet) => stepClass(carpet, 1),
  ",": (carpet) => stepClass(carpet, -1),
  p: (carpet) => savePicture(carpet),
  "?": (carpet) => toggleHelp(carpet),
};

const SHIFTED = { ArrowLeft: (carpet) => panBy(carpet, -0.25), ArrowRight: (carpet) => panBy(carpet, 0.25) };

/** A key that means something here is kept from the page. */
function pressKey(carpet, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = (event.shiftKey && SHIFTED[event.key]) || KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action(carpet);
}

/** A button does what its key does. */
function runKey(carpet, key) {
  KEYS[key](carpet);
  carpet.parts.stage.focus({ preventScroll: true });
}

/** Esc closes the key list first, then releases cursor and pin. */
function escape(carpet) {
  if (!carpet.parts.help.hidden) return toggleHelp(carpet);
  setCursor(carpet, null);
  pick(carpet, null);
}

function toggleHelp(carpet) {
  carpet.parts.help.hidden = !carpet.parts.help.hidden;
}

/** The picture with its legend, twice as sharp as the screen, as a PNG file. */
function savePicture(carpet) {
  const { model, width } = carpet;
  const scene = sceneOf(carpet, 2);
  const height = scene.box.y + scene.box.height + AXIS_HEIGHT + 72;
  const canvas = document.createElement("canvas");
  const context = prepare(canvas, width, height, 2);
  context.fillStyle = css(scene.theme.paper);
  context.fillRect(0, 0, width, height);
  paintPictureHead(context, scene);
  context.translate(0, 40);
  paintMatrix(context, scene);
  paintMarks(context, scene, carpet.pin, null);
  Object.assign(context, { font: `11px ${scene.theme.font}`, fillStyle: css(scene.theme.muted), textAlign: "left", textBaseline: "top" });
  context.fillText(cut(context, model.description, scene.box.width), scene.box.x, height - 60);
  canvas.toBlob((blob) => download(blob, `${model.scale.name.replace(/[^\p{L}\p{N}]+/gu, "-")}.png`));
}

/** Name and legend above the picture. */
function paintPictureHead(context, scene) {
  const { theme, model: { scale } } = scene;
  Object.assign(context, { font: `600 14px ${theme.font}`, fillStyle: css(theme.text), textBaseline: "middle", textAlign: "left" });
  const title = scale.name.charAt(0).toUpperCase() + scale.name.slice(1);
  context.fillText(title, scene.box.x, 18);
  if (scale.palette === "neutral") return;
  const start = scene.box.x + context.measureText(title).width + 24;
  context.font = `12px ${theme.font}`;
  const low = formatEnd(scale, "low"), lowWidth = context.measureText(low).width;
  context.fillText(low, start, 18);
  context.save();
  context.translate(start + lowWidth + 8, 13);
  paintLegend(context, scene, 148, 10);
  context.restore();
  context.fillStyle = css(theme.text);
  context.fillText(`${formatEnd(scale, "high")} ${scale.unit}`, start + lowWidth + 164, 18);
}

/** Hand a file to the browser. */
function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
