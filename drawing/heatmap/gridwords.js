// The grid and what it shows, in words.

import { paintGrid, paintLoadBar, knownSlots, litToken } from "./grid.js";
import { sharedCount } from "./gridbox.js";
import { excludedGroups, isKnown, loadRatio } from "./routes.js";
import { visible } from "./signs.js";
import { expertWords, nameOf, percentWords, strong } from "./words.js";

/** @import { ExpertPlace, Routes } from "./routes.js" */
/** @import { Drawn } from "./state.js" */
/** @import { Words } from "./words.js" */

/**
 * Paint the grid and say what it shows; only what the keyboard caused is spoken.
 * @param {Drawn} heatmap
 * @param {{ isSpoken?: boolean }} how
 */
export function showGrid(heatmap, { isSpoken = false } = {}) {
  if (!heatmap.grid) return;
  paintGrid(heatmap);
  const { parts } = heatmap, token = litToken(heatmap);
  parts.gridTitle.textContent = token === null ? `How often each expert ran, over ${counted(heatmap, heatmap.model.columnCount)}` : `Experts that ran for ${tokenWords(heatmap, token)}`;
  showLegend(heatmap, token === null);
  parts.gridReadout.setAttribute("aria-live", isSpoken ? "polite" : "off");
  parts.gridReadout.replaceChildren(...readoutWords(heatmap, token));
  parts.open.hidden = heatmap.chosen === null || !heatmap.model.can_open_experts;
  if (heatmap.chosen) parts.open.textContent = `Open expert ${heatmap.chosen.expert} of ${layerName(heatmap, heatmap.chosen.layer)}`;
}

/** @type {(heatmap: Drawn, count: number) => string} */
const counted = ({ model }, count) => `${count.toLocaleString("en")} ${model.columns.noun}${count === 1 ? "" : "s"}`;
/** @type {(heatmap: Drawn, layer: number) => string} */
const layerName = ({ model }, layer) => `${model.rows.noun} ${nameOf(model.rows, layer)}`;
/** @type {(heatmap: Drawn, token: number) => string} */
const tokenWords = ({ model }, token) => `${model.columns.noun} ${token}${model.pieces ? ` “${visible(model.pieces[token])}”` : ""}`;

/**
 * What the colours mean: of loads, or of the experts of one token.
 * @param {Drawn} heatmap
 * @param {boolean} isLoad
 */
function showLegend(heatmap, isLoad) {
  const { parts, routes, grid } = heatmap;
  if (!routes || !grid) return;
  const shared = sharedCount(routes), limited = routes.layers.some(({ groups, kept }) => kept < groups);
  parts.loadLegend.hidden = !isLoad;
  parts.litLegend.hidden = isLoad;
  parts.sharedLegend.hidden = !shared;
  parts.struckLegend.hidden = isLoad || !limited;
  parts.sharedWords.textContent = `shared, always on (${shared} a layer)`;
  if (isLoad && parts.loadBar.dataset.theme !== heatmap.look) {
    parts.loadBar.dataset.theme = heatmap.look;
    paintLoadBar(parts.loadBar, grid);
    parts.even.textContent = `grey: an even share, ${evenWords(routes)}`;
  }
}

/**
 * The even share of the layers' rules: k of E.
 * @param {Routes} routes
 */
function evenWords({ layers }) {
  const rules = new Set(layers.map((rule) => `${rule.k} of ${rule.experts}`)), { k, experts } = layers[0];
  if (rules.size > 1) return "k of all experts of its layer";
  return `${k} of ${experts} = ${((100 * k) / experts).toFixed(1).replace(".0", "")} % of tokens`;
}

/**
 * One sentence about the expert under the pointer, else the chosen one, else the token that is lit.
 * @param {Drawn} heatmap
 * @param {number | null} token
 * @returns {Words}
 */
function readoutWords(heatmap, token) {
  const { hovered, chosen, routes } = heatmap;
  if (!routes) return [];
  if (hovered) return placeWords(heatmap, routes, hovered, token);
  if (chosen) return chosenWords(heatmap, routes, chosen);
  if (token === null) return ["Point at a token to light its experts, or at an expert to read how often it ran; click one to light its tokens."];
  return litWords(heatmap, routes, token);
}

/**
 * How often an expert ran, and whether it did for the token that is lit.
 * @param {Drawn} heatmap
 * @param {Routes} routes
 * @param {ExpertPlace} place
 * @param {number | null} token
 * @returns {Words}
 */
function placeWords(heatmap, routes, place, token) {
  const { layer, expert } = place, rule = routes.layers[layer], count = routes.counts[layer * routes.experts + expert];
  /** @type {Words} */
  const words = [strong(layerName(heatmap, layer)), " · ", strong(`expert ${expert}`), ` · ran for ${count.toLocaleString("en")} of ${counted(heatmap, routes.passed[layer])}`];
  const times = loadRatio(routes, place);
  if (count && Number.isFinite(times)) words.push(`, ${times.toPrecision(2)} times an even share`);
  if (expert >= rule.experts - rule.idle) words.push(" · hands the token on unchanged");
  if (token !== null) words.push(` · ${besideToken(heatmap, place, token)}`);
  return words;
}

/**
 * What an expert had to do with the token that is lit.
 * @param {Drawn} heatmap
 * @param {ExpertPlace} place
 * @param {number} token
 */
function besideToken(heatmap, { layer, expert }, token) {
  const { routes, model } = heatmap, slots = knownSlots(heatmap, token, layer);
  const slot = slots.find((each) => each.expert === expert), which = `${model.columns.noun} ${token}`;
  if (slot) return Number.isNaN(slot.share) ? `ran for ${which}` : `${percentWords(slot.share)} of the weight of ${which}`;
  if (!routes || !isKnown(routes, token)) return `${which}: still on its way`;
  const rule = routes.layers[layer], group = Math.floor((expert * rule.groups) / rule.experts);
  return excludedGroups(rule, slots).includes(group) ? `outside the groups chosen for ${which}` : `did not run for ${which}`;
}

/**
 * @param {Drawn} heatmap
 * @param {Routes} routes
 * @param {ExpertPlace} chosen
 * @returns {Words}
 */
function chosenWords(heatmap, routes, { layer, expert }) {
  const count = routes.counts[layer * routes.experts + expert];
  return [strong(`Expert ${expert} of ${layerName(heatmap, layer)}`), ` took ${counted(heatmap, count)}: lit in text and heatmap. ${heatmap.model.can_open_experts ? "Enter opens its page, Esc" : "Esc"} lets go.`];
}

/**
 * How many experts ran, and which at the layer that is looked at.
 * @param {Drawn} heatmap
 * @param {Routes} routes
 * @param {number} token
 * @returns {Words}
 */
function litWords(heatmap, routes, token) {
  const layer = heatmap.cursor?.row ?? heatmap.pin?.row ?? 0, slots = knownSlots(heatmap, token, layer);
  const here = slots.length ? `${layerName(heatmap, layer)}: ${expertWords(slots)}` : `${layerName(heatmap, layer)}: no expert`;
  if (!isKnown(routes, token)) return [here, " · the others are on their way"];
  const ran = routes.layers.reduce((sum, _, each) => sum + knownSlots(heatmap, token, each).length, 0);
  return [strong(`${ran} experts`), ` ran in ${routes.layers.length} ${heatmap.model.rows.noun}${routes.layers.length === 1 ? "" : "s"} · ${here}`];
}
