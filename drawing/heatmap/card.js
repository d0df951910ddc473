// The pinned token: the experts that took it, layer by layer.

import { pinRegistry } from "./pins.js";
import { slotsAt } from "./routes.js";
import { visible } from "./signs.js";
import { nameOf, percentWords, strong } from "./words.js";

/** @import { Model } from "./model.js" */
/** @import { Routes, Slot } from "./routes.js" */

const INVITED = "No token is pinned. Click a token or a cell to see which experts took it; the arrow keys move, Enter pins and Esc releases.";

/**
 * Show one token, or how to pin one.
 * @param {HTMLElement} card
 * @param {HTMLElement} board where the heatmap stands
 * @param {Routes | null} routes
 * @param {number | null} token
 * @param {number | null} layer the pinned one
 */
export function fillCard(card, board, routes, token, layer) {
  const model = modelOn(board);
  card.dataset.token = token === null ? "" : String(token);
  if (token === null || !model || !routes) return card.replaceChildren(INVITED);
  const title = document.createElement("p"), piece = document.createElement("bdi");
  piece.textContent = model.pieces ? visible(model.pieces[token]) : "";
  piece.className = "piece";
  title.append(piece, ` token ${token} of 0 … ${model.columnCount - 1}`);
  const table = document.createElement("table"), body = document.createElement("tbody");
  table.createCaption().textContent = "Every layer: its experts by weight, each with its share of it";
  for (let each = 0; each < routes.layers.length; each++) {
    const row = body.insertRow(), name = document.createElement("th");
    name.scope = "row";
    name.textContent = nameOf(model.rows, each);
    row.className = each === layer ? "pinned" : "";
    const cell = (row.append(name), row.insertCell()), slots = slotsAt(routes, token, each);
    cell.append(...(slots.length ? slots.map(expertElement) : ["none"]));
  }
  table.append(body);
  const box = Object.assign(document.createElement("div"), { className: "scroll", tabIndex: 0 });
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Experts by layer");
  box.append(table);
  card.replaceChildren(title, box);
}

/**
 * @param {Slot} slot
 * @returns {HTMLElement}
 */
function expertElement({ expert, share }) {
  const element = Object.assign(document.createElement("span"), { className: "expert" });
  element.append(strong(String(expert)));
  if (!Number.isNaN(share)) {
    element.append(` ${percentWords(share)}`);
    element.style.setProperty("--share", `${Math.round(100 * share)}%`);
  }
  return element;
}

/**
 * The matrix that was drawn into an element.
 * @param {HTMLElement} board
 * @returns {Model | null}
 */
function modelOn(board) {
  const root = board.querySelector('[data-part="root"]');
  for (const { heatmap } of pinRegistry().values()) if (heatmap && heatmap.parts.root === root) return heatmap.model;
  return null;
}
