// The heatmap, for any host: one state per mounted element, handlers assigned anew at every draw.

import { samePlace, setChosen } from "./chosen.js";
import { lookOf, placeTabStop, showReadout } from "./draw.js";
import { routeRegistry } from "./feeds.js";
import { drawGrid } from "./grid.js";
import { showGrid } from "./gridwords.js";
import { hasSameShape, joinGroup, leaveGroup } from "./group.js";
import { inflate } from "./inflate.js";
import { decode, fadeOthers } from "./model.js";
import { listen } from "./mouse.js";
import { redraw, setCursor, setPin } from "./moves.js";
import { pinRegistry } from "./pins.js";
import { showButton, stopPlay } from "./play.js";
import { sameSpan, setSpan } from "./span.js";
import { findParts, isDrawn, isLoaded, samePin } from "./state.js";
import { buildText, moveMark, watchText } from "./text.js";
import { wholeView } from "./view.js";

/** @import { Model } from "./model.js" */
/** @import { PinMessage } from "./pins.js" */
/** @import { Routes } from "./routes.js" */
/** @import { Drawn, Heatmap, Loaded } from "./state.js" */

/** @type {WeakMap<ParentNode, Heatmap>} */
const heatmaps = new WeakMap();

/**
 * Draw a message into an element that holds heatmap.html; again whenever data or theme change. Returns what lets go of it.
 * @param {{ data: Uint8Array<ArrayBuffer>, parentElement: ParentNode, send: Heatmap["send"] }} host
 */
export function draw({ data, parentElement, send }) {
  const heatmap = heatmaps.get(parentElement) ?? createHeatmap(parentElement);
  heatmaps.set(parentElement, heatmap);
  heatmap.send = send;
  if (!sameBytes(heatmap.bytes, data)) load(heatmap, data);
  else if (isDrawn(heatmap) && heatmap.look !== lookOf(heatmap)) redraw(heatmap);
  return () => disposeHeatmap(heatmap, parentElement);
}

/**
 * State and parts of a new component.
 * @param {ParentNode} parentElement
 */
function createHeatmap(parentElement) {
  const parts = findParts(parentElement);
  Object.assign(parts.root.dataset, { pin: "", span: "" });
  /** @type {NodeListOf<HTMLElement>} */
  const buttons = parentElement.querySelectorAll("button[data-key]");
  /** @type {Heatmap} */
  const heatmap = {
    parts, buttons: [...buttons], bytes: null, turn: 0, drawnTurn: 0, model: null, view: null, scene: null, width: 0, look: "", tokens: [], lines: [],
    pin: null, cursor: null, span: null, anchor: null, hoveredRow: null, drag: null, members: null,
    routes: null, grid: null, gridWidth: 0, takeRoutes: null, hovered: null, chosen: null, took: null, playing: null, pace: 3, asked: 0, resting: 0,
    sent: 0, send: () => {}, observer: new ResizeObserver(() => resize(heatmap)), sight: null,
  };
  for (const element of [parts.stage, parts.text, parts.gridStage]) heatmap.observer.observe(element);
  return heatmap;
}

/**
 * Another width needs another drawing; another height of the text (a font came late) may make it scroll.
 * @param {Heatmap} heatmap
 */
function resize(heatmap) {
  if (!isLoaded(heatmap)) return;
  if (heatmap.parts.stage.clientWidth !== heatmap.width) redraw(heatmap);
  else placeTabStop(heatmap);
  if (isDrawn(heatmap) && heatmap.grid && heatmap.parts.gridStage.clientWidth !== heatmap.gridWidth) showRoutes(heatmap);
}

/**
 * Let go of everything outside the component.
 * @param {Heatmap} heatmap
 * @param {ParentNode} parentElement
 */
function disposeHeatmap(heatmap, parentElement) {
  heatmap.observer.disconnect();
  heatmap.sight?.disconnect();
  heatmap.bytes = null;
  leaveGroup(heatmap);
  stopPlay(heatmap);
  window.clearTimeout(heatmap.resting);
  const channel = heatmap.model?.channel ?? "";
  if (routeRegistry().get(channel)?.apply === heatmap.takeRoutes) delete routeRegistry().get(channel)?.apply;
  if (pinRegistry().get(channel)?.heatmap === heatmap) pinRegistry().delete(channel);
  heatmaps.delete(parentElement);
}

/**
 * Same message as before? Streamlit hands over a new array at every rerun.
 * @param {Uint8Array | null} a
 * @param {Uint8Array} b
 */
function sameBytes(a, b) {
  if (a === null || a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * Inflate and draw a new message, unless a later one is drawn already: where they come fast, each is seen. Until then the attribute data-ready is false.
 * @param {Heatmap} heatmap
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
async function load(heatmap, bytes) {
  heatmap.bytes = bytes;
  heatmap.parts.root.dataset.ready = "false";
  const turn = (heatmap.turn += 1), raw = await inflate(bytes);
  if (turn < heatmap.drawnTurn || heatmap.bytes === null) return;
  heatmap.drawnTurn = turn;
  const loaded = take(heatmap, decode(raw));
  listen(loaded);
  redraw(loaded);
  if (heatmap.bytes !== bytes) heatmap.parts.root.dataset.ready = "false";
  if (loaded.model.follows && isDrawn(loaded)) setCursor(loaded, { row: 0, column: loaded.model.columnCount - 1 }, { reveal: true, isQuiet: true });
}

/**
 * Take over a new matrix. Window, pin, range and text stay when it has the same shape and the same tokens.
 * @param {Heatmap} heatmap
 * @param {Model} model
 * @returns {Loaded}
 */
function take(heatmap, model) {
  const before = heatmap.model, { parts } = heatmap;
  const isLike = before !== null && hasSameShape(before, model);
  if (!isLike) Object.assign(heatmap, { pin: null, cursor: null, span: null, anchor: null, hoveredRow: null, hovered: null, chosen: null, took: null });
  else if (heatmap.took) fadeOthers(model, heatmap.took);
  /** @param {Model | null} of */
  const tokensOf = (of) => of && of.pieces && JSON.stringify([of.pieces, [...(of.flags ?? [])]]);
  if (tokensOf(before) !== tokensOf(model)) {
    Object.assign(heatmap, model.pieces ? buildText(parts.text, model, model.pieces) : { tokens: [], lines: [] });
    watchText(heatmap);
    if (isLike) remark(heatmap);
  }
  const view = isLike && heatmap.view ? heatmap.view : wholeView(model);
  const loaded = Object.assign(heatmap, { model, view, scene: null });
  parts.text.hidden = parts.caption.hidden = !model.pieces;
  parts.title.textContent = model.scale.name;
  /** @type {NodeListOf<HTMLElement>} */
  const keys = parts.help.querySelectorAll("[data-needs]");
  for (const line of keys) line.hidden = !isOffered(model, line.dataset.needs ?? "");
  parts.stops.textContent = `next, previous ${model.stops_say} along the row`;
  parts.experts.hidden = parts.player.hidden = !model.has_grid;
  parts.root.classList.toggle("with-grid", model.has_grid);
  showButton(loaded);
  if (model.has_grid) meetRoutes(loaded);
  joinGroup(loaded);
  subscribe(loaded, !isLike);
  return loaded;
}

/**
 * What only some matrices offer: ranges, links on row names, places where `n` stops.
 * @param {Model} model
 * @param {string} what
 */
function isOffered(model, what) {
  /** @type {Record<string, boolean>} */
  const offers = { span: model.can_span, rows: model.can_open_rows, stops: Boolean(model.bits.stops), grid: model.has_grid, experts: model.can_open_experts };
  return offers[what];
}

/**
 * New tokens of the same number take over the marks of the old ones.
 * @param {Heatmap} heatmap
 */
function remark({ tokens, pin, cursor }) {
  moveMark(tokens, "pinned", null, pin?.column ?? null);
  moveMark(tokens, "hovered", null, cursor?.column ?? null);
}

/**
 * Be told of pins from Python, also of one that came before the matrix did.
 * @param {Loaded} heatmap
 * @param {boolean} isEager
 */
function subscribe(heatmap, isEager) {
  const place = pinRegistry().get(heatmap.model.channel) ?? {};
  /** @param {PinMessage} message */
  const apply = (message) => applyPin(heatmap, message);
  pinRegistry().set(heatmap.model.channel, Object.assign(place, { heatmap, apply }));
  if (place.message && isEager) applyPin(heatmap, place.message);
}

/**
 * Be told of routes, also of those that came before the matrix did.
 * @param {Loaded} heatmap
 */
function meetRoutes(heatmap) {
  const place = routeRegistry().get(heatmap.model.channel) ?? {};
  heatmap.takeRoutes = (routes) => takeRoutes(heatmap, routes);
  routeRegistry().set(heatmap.model.channel, Object.assign(place, { apply: heatmap.takeRoutes }));
  if (place.routes) takeRoutes(heatmap, place.routes);
}

/**
 * Routes have come, the first or more of them.
 * @param {Loaded} heatmap
 * @param {Routes} routes
 */
function takeRoutes(heatmap, routes) {
  heatmap.routes = routes.layers.length === heatmap.model.rowCount ? routes : null;
  heatmap.asked = 0;
  if (heatmap.chosen && !heatmap.took) setChosen(heatmap, heatmap.chosen);
  if (!isDrawn(heatmap)) return;
  if (heatmap.grid && heatmap.grid.routes === heatmap.routes) showMore(heatmap);
  else showRoutes(heatmap);
}

/** @param {Drawn} heatmap */
function showRoutes(heatmap) {
  drawGrid(heatmap);
  showMore(heatmap);
}

/**
 * More routes: what is known of the token that is looked at.
 * @param {Drawn} heatmap
 */
function showMore(heatmap) {
  showGrid(heatmap);
  showReadout(heatmap, { isQuiet: true });
}

/**
 * Take over pin and range from Python, unless they answer an older choice than the last one made here.
 * @param {Loaded} heatmap
 * @param {PinMessage} message
 */
function applyPin(heatmap, message) {
  const { answers, row, column } = message;
  if (answers && answers < heatmap.sent) return;
  const { rowCount, columnCount } = heatmap.model;
  const pin = column !== null && column < columnCount && (row ?? 0) < rowCount ? { row, column } : null;
  if (!samePin(pin, heatmap.pin)) setPin(heatmap, pin);
  const { chosen } = message, took = chosen ? unpack(chosen.took, columnCount) : null;
  if (!samePlace(chosen, heatmap.chosen) || took) setChosen(heatmap, chosen, took);
  const span = message.span && message.span[1] < columnCount ? { first: message.span[0], last: message.span[1] } : null;
  if (heatmap.drag?.kind === "span" || sameSpan(span, heatmap.span)) return;
  heatmap.anchor = null;
  setSpan(heatmap, span);
}

/**
 * A byte for each column, from bits as base64.
 * @param {string} packed
 * @param {number} columns
 */
function unpack(packed, columns) {
  const bytes = atob(packed);
  return Uint8Array.from({ length: columns }, (_, column) => (bytes.charCodeAt(column >> 3) >> (column & 7)) & 1);
}
