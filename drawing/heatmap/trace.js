// A trace for hosts without a server: one heatmap of several quantities, the pinned token's experts, light and dark.

import { fillCard } from "./card.js";
import { spread } from "./feeds.js";
import { draw } from "./heatmap.js";
import { inflate } from "./inflate.js";
import { decodeRoutes } from "./routes.js";

/** @import { Heatmap } from "./state.js" */
/** @import { Routes } from "./routes.js" */

/** @typedef {{ slug: string, title: string, says: string, sentence: string }} Quantity What the colours may say. */
/**
 * @typedef {object} Trace
 * @property {Quantity[]} quantities the first is shown first
 * @property {(slug: string) => Uint8Array<ArrayBuffer>} bytesOf the message of a quantity
 * @property {Uint8Array<ArrayBuffer>} routes
 */

/**
 * Fill the elements of trace.html. Returns what lets go of them.
 * @param {Trace} trace
 * @param {ParentNode} root
 * @param {HTMLElement} themed the element whose attribute says light or dark
 * @param {Heatmap["send"]} send hears of what the reader chooses
 */
export function drawTrace(trace, root, themed, send = () => {}) {
  /** @param {string} name */
  const place = (name) => {
    const found = root.querySelector(`[data-trace="${name}"]`);
    if (!(found instanceof HTMLElement)) throw new Error(`the page has no ${name}`);
    return found;
  };
  const board = place("heatmap"), card = place("card");
  /** @type {Routes | null} */
  let routes = null;
  let shown = trace.quantities[0];
  /** @type {Heatmap["send"]} */
  const hear = (name, value) => {
    if (name === "pick") showCard(value.column, value.row);
    if (name === "expert" && value.layer !== null) mark(value.layer);
    send(name, value);
  };
  /** @param {number | null} token @param {number | null} layer */
  const showCard = (token, layer) => fillCard(card, board, routes, token, layer);
  /** @param {number} layer */
  const mark = (layer) => {
    const token = card.dataset.token;
    if (token) showCard(Number(token), layer);
  };
  let dispose = () => {};
  const show = () => {
    place("says").textContent = shown.says;
    place("sentence").textContent = shown.sentence;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.slug === shown.slug));
    dispose = draw({ data: trace.bytesOf(shown.slug), parentElement: board, send: hear });
  };
  const buttons = trace.quantities.map((quantity) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: quantity.title });
    button.dataset.slug = quantity.slug;
    button.onclick = () => {
      shown = quantity;
      show();
    };
    return button;
  });
  place("quantities").replaceChildren(...buttons);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  place("theme").onclick = () => {
    themed.dataset.theme = isDark(themed, dark) ? "light" : "dark";
    show();
  };
  dark.addEventListener("change", show);
  show();
  showCard(null, null);
  inflate(trace.routes).then((raw) => {
    const message = decodeRoutes(raw);
    routes = message.routes;
    spread(message);
  });
  return () => {
    dark.removeEventListener("change", show);
    dispose();
  };
}

/** @type {(themed: HTMLElement, dark: MediaQueryList) => boolean} */
const isDark = (themed, dark) => (themed.dataset.theme ? themed.dataset.theme === "dark" : dark.matches);
