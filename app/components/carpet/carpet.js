// The component: one state per mounted element, handlers assigned anew at every run.

import { lookOf, placeTabStop } from "./draw.js";
import { hasSameShape, joinGroup, leaveGroup } from "./group.js";
import { decode, inflate } from "./model.js";
import { listen } from "./mouse.js";
import { redraw, setPin } from "./moves.js";
import { pinRegistry } from "./pins.js";
import { sameSpan, setSpan } from "./span.js";
import { samePin } from "./state.js";
import { buildText, moveMark, watchText } from "./text.js";
import { wholeView } from "./view.js";

const carpets = new WeakMap();

/** Streamlit calls this at the first draw and again whenever data or theme change. */
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const carpet = carpets.get(parentElement) ?? createCarpet(parentElement);
  carpets.set(parentElement, carpet);
  carpet.send = (name, value) => setTriggerValue(name, value);
  if (!sameBytes(carpet.bytes, data)) load(carpet, data);
  else if (carpet.scene && carpet.look !== lookOf(carpet)) redraw(carpet);
  return () => disposeCarpet(carpet, parentElement);
}

const PARTS = ["root", "title", "legend", "bar", "low", "high", "null", "samples", "pooled", "glyphs", "caption", "text", "stage", "cells", "marks", "readout", "help"];

/** State and parts of a new component. */
function createCarpet(parentElement) {
  const part = (name) => parentElement.querySelector(`[data-part="${name}"]`);
  const parts = Object.fromEntries(PARTS.map((name) => [name, part(name)]));
  Object.assign(parts.root.dataset, { pin: "", span: "" });
  const carpet = { parts, bytes: null, model: null, view: null, tokens: [], lines: [], sent: 0, drag: null, members: null };
  Object.assign(carpet, { pin: null, cursor: null, span: null, anchor: null, hoveredRow: null });
  carpet.buttons = [...parentElement.querySelectorAll("button[data-key]")];
  carpet.observer = new ResizeObserver(() => resize(carpet));
  for (const element of [parts.stage, parts.text]) carpet.observer.observe(element);
  return carpet;
}

/** Another width needs another drawing; another height of the text (a font came late) may make it scroll. */
function resize(carpet) {
  if (!carpet.model) return;
  if (carpet.parts.stage.clientWidth !== carpet.width) redraw(carpet);
  else placeTabStop(carpet);
}

/** Let go of everything outside the component. */
function disposeCarpet(carpet, parentElement) {
  carpet.observer.disconnect();
  carpet.sight?.disconnect();
  carpet.bytes = null;
  leaveGroup(carpet);
  const channel = carpet.model?.channel;
  if (pinRegistry().get(channel)?.carpet === carpet) pinRegistry().delete(channel);
  carpets.delete(parentElement);
}

/** Same message as before? Streamlit hands over a new array at every rerun. */
function sameBytes(a, b) {
  if (a === null || a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Inflate and draw a new message, unless another has come meanwhile. Until then the attribute data-ready is false. */
async function load(carpet, bytes) {
  carpet.bytes = bytes;
  carpet.parts.root.dataset.ready = "false";
  const raw = await inflate(bytes);
  if (carpet.bytes !== bytes) return;
  take(carpet, decode(raw));
  listen(carpet);
  redraw(carpet);
}

/** Take over a new matrix. Window, pin, range and text stay when it has the same shape and the same tokens. */
function take(carpet, model) {
  const before = carpet.model, { parts } = carpet;
  const isLike = before !== null && hasSameShape(before, model);
  if (!isLike) Object.assign(carpet, { view: wholeView(model), pin: null, cursor: null, span: null, anchor: null, hoveredRow: null });
  const tokensOf = (m) => m && m.pieces && JSON.stringify([m.pieces, [...m.flags]]);
  if (tokensOf(before) !== tokensOf(model)) {
    Object.assign(carpet, model.pieces ? buildText(parts.text, model) : { tokens: [], lines: [] });
    watchText(carpet);
    if (isLike) remark(carpet);
  }
  Object.assign(carpet, { model, scene: null });
  parts.text.hidden = parts.caption.hidden = !model.pieces;
  parts.title.textContent = model.scale.name;
  for (const line of parts.help.querySelectorAll("[data-needs]")) line.hidden = !isOffered(model, line.dataset.needs);
  parts.help.querySelector('[data-part="stops"]').textContent = `next, previous ${model.stops_say} along the row`;
  joinGroup(carpet);
  subscribe(carpet, !isLike);
}

/** What only some matrices offer: ranges, links on row names, places where `n` stops. */
function isOffered(model, what) {
  return { span: model.can_span, rows: model.can_open_rows, stops: Boolean(model.bits.stops) }[what];
}

/** New tokens of the same number take over the marks of the old ones. */
function remark({ tokens, pin, cursor }) {
  moveMark(tokens, "pinned", null, pin?.column ?? null);
  moveMark(tokens, "hovered", null, cursor?.column ?? null);
}

/** Be told of pins from Python, also of one that came before the matrix did. */
function subscribe(carpet, isEager) {
  const place = pinRegistry().get(carpet.model.channel) ?? {};
  pinRegistry().set(carpet.model.channel, Object.assign(place, { carpet, apply: (message) => applyPin(carpet, message) }));
  if (place.message && isEager) applyPin(carpet, place.message);
}

/** Take over pin and range from Python, unless they answer an older choice than the last one made here. */
function applyPin(carpet, message) {
  if (message.answers && message.answers < carpet.sent) return;
  const { rowCount, columnCount } = carpet.model;
  const isCell = message.column !== null && message.column < columnCount && (message.row ?? 0) < rowCount;
  const pin = isCell ? { row: message.row, column: message.column } : null;
  if (!samePin(pin, carpet.pin)) setPin(carpet, pin);
  const span = message.span && message.span[1] < columnCount ? { first: message.span[0], last: message.span[1] } : null;
  if (carpet.drag?.kind === "span" || sameSpan(span, carpet.span)) return;
  carpet.anchor = null;
  setSpan(carpet, span);
}
