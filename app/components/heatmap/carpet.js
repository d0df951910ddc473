// The component: one state per mounted element, handlers assigned anew at every run.

import { lookOf, placeTabStop } from "./draw.js";
import { hasSameShape, joinGroup, leaveGroup } from "./group.js";
import { decode, inflate } from "./model.js";
import { listen } from "./mouse.js";
import { redraw, setPin } from "./moves.js";
import { pinRegistry } from "./pins.js";
import { sameSpan, setSpan } from "./span.js";
import { findParts, isDrawn, isLoaded, samePin } from "./state.js";
import { buildText, moveMark, watchText } from "./text.js";
import { wholeView } from "./view.js";

/** @import { Model } from "./model.js" */
/** @import { PinMessage } from "./pins.js" */
/** @import { Carpet, Loaded } from "./state.js" */

/** @type {WeakMap<ParentNode, Carpet>} */
const carpets = new WeakMap();

/**
 * Streamlit calls this at the first draw and again whenever data or theme change.
 * @param {{ data: Uint8Array<ArrayBuffer>, parentElement: ParentNode, setTriggerValue: Carpet["send"] }} component
 */
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const carpet = carpets.get(parentElement) ?? createCarpet(parentElement);
  carpets.set(parentElement, carpet);
  carpet.send = (name, value) => setTriggerValue(name, value);
  if (!sameBytes(carpet.bytes, data)) load(carpet, data);
  else if (isDrawn(carpet) && carpet.look !== lookOf(carpet)) redraw(carpet);
  return () => disposeCarpet(carpet, parentElement);
}

/**
 * State and parts of a new component.
 * @param {ParentNode} parentElement
 */
function createCarpet(parentElement) {
  const parts = findParts(parentElement);
  Object.assign(parts.root.dataset, { pin: "", span: "" });
  /** @type {NodeListOf<HTMLElement>} */
  const buttons = parentElement.querySelectorAll("button[data-key]");
  /** @type {Carpet} */
  const carpet = {
    parts, buttons: [...buttons], bytes: null, model: null, view: null, scene: null, width: 0, look: "", tokens: [], lines: [],
    pin: null, cursor: null, span: null, anchor: null, hoveredRow: null, drag: null, members: null,
    sent: 0, send: () => {}, observer: new ResizeObserver(() => resize(carpet)), sight: null,
  };
  for (const element of [parts.stage, parts.text]) carpet.observer.observe(element);
  return carpet;
}

/**
 * Another width needs another drawing; another height of the text (a font came late) may make it scroll.
 * @param {Carpet} carpet
 */
function resize(carpet) {
  if (!isLoaded(carpet)) return;
  if (carpet.parts.stage.clientWidth !== carpet.width) redraw(carpet);
  else placeTabStop(carpet);
}

/**
 * Let go of everything outside the component.
 * @param {Carpet} carpet
 * @param {ParentNode} parentElement
 */
function disposeCarpet(carpet, parentElement) {
  carpet.observer.disconnect();
  carpet.sight?.disconnect();
  carpet.bytes = null;
  leaveGroup(carpet);
  const channel = carpet.model?.channel ?? "";
  if (pinRegistry().get(channel)?.carpet === carpet) pinRegistry().delete(channel);
  carpets.delete(parentElement);
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
 * Inflate and draw a new message, unless another has come meanwhile. Until then the attribute data-ready is false.
 * @param {Carpet} carpet
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
async function load(carpet, bytes) {
  carpet.bytes = bytes;
  carpet.parts.root.dataset.ready = "false";
  const raw = await inflate(bytes);
  if (carpet.bytes !== bytes) return;
  const loaded = take(carpet, decode(raw));
  listen(loaded);
  redraw(loaded);
}

/**
 * Take over a new matrix. Window, pin, range and text stay when it has the same shape and the same tokens.
 * @param {Carpet} carpet
 * @param {Model} model
 * @returns {Loaded}
 */
function take(carpet, model) {
  const before = carpet.model, { parts } = carpet;
  const isLike = before !== null && hasSameShape(before, model);
  if (!isLike) Object.assign(carpet, { pin: null, cursor: null, span: null, anchor: null, hoveredRow: null });
  /** @param {Model | null} of */
  const tokensOf = (of) => of && of.pieces && JSON.stringify([of.pieces, [...(of.flags ?? [])]]);
  if (tokensOf(before) !== tokensOf(model)) {
    Object.assign(carpet, model.pieces ? buildText(parts.text, model, model.pieces) : { tokens: [], lines: [] });
    watchText(carpet);
    if (isLike) remark(carpet);
  }
  const view = isLike && carpet.view ? carpet.view : wholeView(model);
  const loaded = Object.assign(carpet, { model, view, scene: null });
  parts.text.hidden = parts.caption.hidden = !model.pieces;
  parts.title.textContent = model.scale.name;
  /** @type {NodeListOf<HTMLElement>} */
  const keys = parts.help.querySelectorAll("[data-needs]");
  for (const line of keys) line.hidden = !isOffered(model, line.dataset.needs ?? "");
  parts.stops.textContent = `next, previous ${model.stops_say} along the row`;
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
  const offers = { span: model.can_span, rows: model.can_open_rows, stops: Boolean(model.bits.stops) };
  return offers[what];
}

/**
 * New tokens of the same number take over the marks of the old ones.
 * @param {Carpet} carpet
 */
function remark({ tokens, pin, cursor }) {
  moveMark(tokens, "pinned", null, pin?.column ?? null);
  moveMark(tokens, "hovered", null, cursor?.column ?? null);
}

/**
 * Be told of pins from Python, also of one that came before the matrix did.
 * @param {Loaded} carpet
 * @param {boolean} isEager
 */
function subscribe(carpet, isEager) {
  const place = pinRegistry().get(carpet.model.channel) ?? {};
  /** @param {PinMessage} message */
  const apply = (message) => applyPin(carpet, message);
  pinRegistry().set(carpet.model.channel, Object.assign(place, { carpet, apply }));
  if (place.message && isEager) applyPin(carpet, place.message);
}

/**
 * Take over pin and range from Python, unless they answer an older choice than the last one made here.
 * @param {Loaded} carpet
 * @param {PinMessage} message
 */
function applyPin(carpet, message) {
  const { answers, row, column } = message;
  if (answers && answers < carpet.sent) return;
  const { rowCount, columnCount } = carpet.model;
  const pin = column !== null && column < columnCount && (row ?? 0) < rowCount ? { row, column } : null;
  if (!samePin(pin, carpet.pin)) setPin(carpet, pin);
  const span = message.span && message.span[1] < columnCount ? { first: message.span[0], last: message.span[1] } : null;
  if (carpet.drag?.kind === "span" || sameSpan(span, carpet.span)) return;
  carpet.anchor = null;
  setSpan(carpet, span);
}
