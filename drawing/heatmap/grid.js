// Layers by experts: which ran for the token that is looked at, or how often each ran in the whole text.

import { looseCanvas, contextOf, prepare, setUp } from "./canvas.js";
import { expertX, FOOT, gridBox, layerY, sharedCount, sharedX } from "./gridbox.js";
import { buildPalette, colourOf, css, expertTone, LAST, mix } from "./palette.js";
import { excludedGroups, loadRatio, slotsAt } from "./routes.js";
import { clamp, niceStep } from "./view.js";
import { nameOf } from "./words.js";

/** @import { Pen } from "./canvas.js" */
/** @import { GridBox } from "./gridbox.js" */
/** @import { Palette, Scale, Theme } from "./palette.js" */
/** @import { ExpertPlace, Routes, Slot } from "./routes.js" */
/** @import { Drawn, Loaded } from "./state.js" */

/**
 * What is drawn once and looked up at every move.
 * @typedef {object} Grid
 * @property {Routes} routes
 * @property {GridBox} box
 * @property {Theme} theme
 * @property {Palette} palette of experts
 * @property {number} ratio device pixels a CSS pixel
 * @property {HTMLCanvasElement} loads how often each ran
 * @property {HTMLCanvasElement} ground where each is
 * @property {Pen} pen
 */

const MOST = 2; // powers of two: a quarter and four times an even share are the ends

/** Loads are multiples of an even share, drawn by their logarithm. @type {Scale} */
const LOADS = { name: "load", low: -MOST, high: MOST, unit: "", null: 0, palette: "diverging", pool: "far", below: true, above: true };
/** @type {Scale} */
const EXPERTS = { ...LOADS, palette: "experts" };

/** The token whose experts are lit: under the cursor, else the pinned one. @type {(heatmap: Drawn) => number | null} */
export const litToken = ({ cursor, pin }) => cursor?.column ?? pin?.column ?? null;

/**
 * Draw all of the grid anew: after new routes, theme or size.
 * @param {Drawn} heatmap
 */
export function drawGrid(heatmap) {
  const { parts, scene, model, routes } = heatmap, { theme, ratio } = scene;
  const width = parts.gridStage.clientWidth;
  heatmap.gridWidth = width;
  if (!routes || width === 0) return;
  const measure = contextOf(parts.gridCells);
  measure.font = `12px ${theme.font}`;
  const names = [model.rows.noun, ...routes.layers.map((_, layer) => layerNumber(heatmap, layer))];
  const gutter = Math.ceil(Math.min(Math.max(...names.map((name) => measure.measureText(name).width)), width * 0.2)) + 10;
  const box = gridBox(routes, width, gutter), height = Math.ceil(box.y + box.height + FOOT);
  const pen = prepare(parts.gridCells, width, height, ratio);
  /** @param {(layer: Pen) => void} paint */
  const layerOf = (paint) => {
    const canvas = looseCanvas(1, 1);
    paint(prepare(canvas, width, height, ratio));
    return canvas;
  };
  const about = { routes, box, theme, ratio, pen, palette: buildPalette(EXPERTS, theme, model.hues) };
  heatmap.grid = {
    ...about,
    loads: layerOf((on) => (paintAxes(on, about, heatmap), paintLoads(on, about))),
    ground: layerOf((on) => (paintAxes(on, about, heatmap), paintGround(on, about))),
  };
  paintGrid(heatmap);
  Object.assign(parts.root.dataset, { grid: `${routes.layers.length}x${routes.experts}`, gridPlot: [box.x, box.y, box.width, box.height].join(" ") });
}

/** @typedef {Pick<Grid, "routes" | "box" | "theme" | "palette">} About */

/**
 * The name of a layer without its block, for which there is no room: "3 (block 6)" is 3.
 * @param {Drawn} heatmap
 * @param {number} layer
 */
const layerNumber = ({ model }, layer) => nameOf(model.rows, layer).replace(/ \(.*\)$/, "");

/**
 * Names of layers, numbers of experts, and the experts that are always on.
 * @param {Pen} pen
 * @param {About} about
 * @param {Drawn} heatmap
 */
function paintAxes(pen, { routes, box, theme }, heatmap) {
  const { model } = heatmap;
  const shared = sharedCount(routes), left = shared ? sharedX(box, shared, 0) : box.x;
  setUp(pen, { font: `12px ${theme.font}`, fillStyle: css(theme.muted), textBaseline: "middle", textAlign: "right" });
  const step = box.row >= 12 ? 1 : niceStep(14 / box.row);
  for (let layer = 0; layer < routes.layers.length; layer += step) {
    pen.fillText(layerNumber(heatmap, layer), left - 6, clamp(layerY(box, layer + 0.5), box.y + 5, box.y + box.height - 5) + 1);
  }
  pen.textBaseline = "top";
  pen.fillText(model.rows.noun, left - 6, 1);
  pen.textAlign = "center";
  const every = niceStep(26 / box.cell);
  for (let expert = 0; expert < routes.experts; expert += every) {
    const x = expertX(box, expert + 0.5);
    pen.fillText(String(expert), x, box.y + box.height + 5);
    pen.fillRect(Math.round(x) - 0.5, box.y + box.height + 1, 1, 3);
  }
  pen.textAlign = "left";
  pen.fillText("expert", box.x, 1);
  routes.layers.forEach((rule, layer) => {
    for (let at = 0; at < rule.shared; at++) paintShared(pen, { box, theme }, sharedX(box, shared, at), layer);
  });
}

/**
 * An expert that is always on: filled, whatever the token is.
 * @param {Pen} pen
 * @param {Pick<Grid, "box" | "theme">} about
 * @param {number} x
 * @param {number} layer
 */
function paintShared(pen, { box, theme }, x, layer) {
  pen.fillStyle = css(mix(theme.text, theme.paper, 0.62));
  pen.fillRect(x, layerY(box, layer), box.always - 1, Math.max(1, box.row - (box.row >= 4 ? 1 : 0)));
}

/**
 * One cell, at least so wide that it is seen, never as wide as to touch its neighbours where there is room.
 * @param {Pen} pen
 * @param {GridBox} box
 * @param {ExpertPlace} place
 * @param {number} least
 */
function fillCell(pen, box, { layer, expert }, least) {
  const gap = box.cell >= 5 ? 1 : 0, width = Math.max(least, box.cell - gap);
  pen.fillRect(expertX(box, expert + 0.5) - width / 2, layerY(box, layer), width, Math.max(1, box.row - (box.row >= 4 ? 1 : 0)));
}

/**
 * How often each expert ran in the text, over an even share; what is furthest from it is drawn last, so that no pixel hides it.
 * @param {Pen} pen
 * @param {About} about
 */
function paintLoads(pen, { routes, box, theme }) {
  for (let layer = 0; layer < routes.layers.length; layer++) {
    const ratios = Array.from({ length: routes.layers[layer].experts }, (_, expert) => ({ expert, power: Math.log2(loadRatio(routes, { layer, expert })) }));
    ratios.sort((a, b) => Math.abs(a.power) - Math.abs(b.power));
    for (const { expert, power } of ratios) {
      if (Number.isNaN(power)) continue;
      pen.fillStyle = power === -Infinity ? css(theme.paper) : loadColour(power, theme);
      fillCell(pen, box, { layer, expert }, 1);
    }
    paintEdge(pen, { routes, box, theme }, layer);
  }
}

/** @type {(power: number, theme: Theme) => string} */
const loadColour = (power, theme) => css(colourOf(Math.round(((clamp(power, -MOST, MOST) + MOST) / (2 * MOST)) * LAST), LOADS, theme));

/**
 * The line under a layer, as far as it has experts: where one never ran, only that is seen.
 * @param {Pen} pen
 * @param {Pick<Grid, "routes" | "box" | "theme">} about
 * @param {number} layer
 */
function paintEdge(pen, { routes, box, theme }, layer) {
  if (box.row < 4) return;
  pen.fillStyle = css(theme.faint);
  pen.fillRect(box.x, layerY(box, layer + 1) - 1, routes.layers[layer].experts * box.cell, 0.5);
}

/**
 * Every expert at rest.
 * @param {Pen} pen
 * @param {About} about
 */
function paintGround(pen, { routes, box, theme }) {
  for (let layer = 0; layer < routes.layers.length; layer++) {
    pen.fillStyle = css(theme.panel);
    for (let expert = 0; expert < routes.layers[layer].experts; expert++) fillCell(pen, box, { layer, expert }, box.cell);
  }
}

/**
 * What is lit, and what is chosen or under the pointer: after every move, so nothing else is touched.
 * @param {Drawn} heatmap
 */
export function paintGrid(heatmap) {
  const { grid, parts, chosen, hovered } = heatmap;
  if (!grid) return;
  const token = litToken(heatmap), { pen, box, ratio } = grid;
  const { width, height } = grid.ground;
  setUp(pen, { fillStyle: css(grid.theme.paper) });
  pen.fillRect(0, 0, width / ratio, height / ratio);
  pen.drawImage(token === null ? grid.loads : grid.ground, 0, 0, width / ratio, height / ratio);
  if (token !== null) paintToken(grid, heatmap, token);
  if (chosen) ringCell(grid, chosen, css(grid.theme.accent), 2.5);
  if (hovered) ringCell(grid, hovered, css(grid.theme.text), 1.5);
  Object.assign(parts.root.dataset, { lit: token === null ? "" : String(token), box: `${box.cell}` });
}

/**
 * The experts of one token, by weight; those of groups that it could not choose from are struck out.
 * @param {Grid} grid
 * @param {Drawn} heatmap
 * @param {number} token
 */
function paintToken(grid, heatmap, token) {
  for (let layer = 0; layer < grid.routes.layers.length; layer++) {
    const slots = knownSlots(heatmap, token, layer);
    for (const group of excludedGroups(grid.routes.layers[layer], slots)) strikeGroup(grid, layer, group);
    const most = Math.max(...slots.map(({ share }) => share));
    for (const { expert, share } of slots) lightCell(grid, heatmap, { layer, expert }, most > 0 ? share / most : 1);
  }
}

/**
 * A token's experts at a layer; of one whose routes are still to come the first, where the matrix names it.
 * @param {Loaded} heatmap
 * @param {number} token
 * @param {number} layer
 * @returns {Slot[]}
 */
export function knownSlots({ routes, model }, token, layer) {
  const slots = routes ? slotsAt(routes, token, layer) : [];
  if (slots.length || model.scale.palette !== "experts" || !model.labels) return slots;
  const expert = model.labels[layer * model.columnCount + token];
  return expert < (routes?.layers[layer].experts ?? 0) ? [{ expert, share: NaN }] : [];
}

/**
 * A group without a choice: its cells give way to a thin line.
 * @param {Grid} grid
 * @param {number} layer
 * @param {number} group
 */
function strikeGroup({ pen, box, theme, routes }, layer, group) {
  const rule = routes.layers[layer], size = rule.experts / rule.groups;
  const x = expertX(box, group * size), width = size * box.cell, y = layerY(box, layer);
  pen.fillStyle = css(theme.paper);
  pen.fillRect(x, y, width, box.row);
  pen.fillStyle = css(mix(theme.text, theme.paper, 0.4));
  pen.fillRect(x + 1, y + box.row / 2 - 0.5, width - 2, 1);
}

const LEAST_LIT = 3.5;
const WEAKEST = 0.35;

/**
 * An expert that ran, in its colour, stronger with more of the weight; its number where that has room.
 * @param {Grid} grid
 * @param {Drawn} heatmap
 * @param {ExpertPlace} place
 * @param {number} strength
 */
function lightCell({ pen, box, theme, palette }, { model }, place, strength) {
  const tone = expertTone(model.hues, place.expert, WEAKEST + (1 - WEAKEST) * strength), x = expertX(box, place.expert + 0.5);
  pen.fillStyle = palette.fills[tone];
  fillCell(pen, box, place, LEAST_LIT);
  if (box.row < 11 || box.cell < 10) return;
  setUp(pen, { font: `600 ${box.cell < 14 ? 9 : 10}px ${theme.font}`, fillStyle: palette.inks[tone], textAlign: "center", textBaseline: "middle" });
  if (pen.measureText(String(place.expert)).width > box.cell - 1) return;
  pen.fillText(String(place.expert), x, layerY(box, place.layer + 0.5) + 0.5);
}

/**
 * A ring around an expert.
 * @param {Grid} grid
 * @param {ExpertPlace} place
 * @param {string} colour
 * @param {number} thickness
 */
function ringCell({ pen, box, theme }, { layer, expert }, colour, thickness) {
  const width = Math.max(5, box.cell), height = Math.max(5, box.row);
  const x = expertX(box, expert + 0.5) - width / 2, y = layerY(box, layer + 0.5) - height / 2;
  setUp(pen, { strokeStyle: css(theme.paper), lineWidth: thickness + 2 });
  pen.strokeRect(x - 1, y - 1, width + 2, height + 2);
  setUp(pen, { strokeStyle: colour, lineWidth: thickness });
  pen.strokeRect(x - 1, y - 1, width + 2, height + 2);
}

/**
 * The colours of loads as a bar.
 * @param {HTMLCanvasElement} canvas
 * @param {Grid} grid
 */
export function paintLoadBar(canvas, { theme, ratio }) {
  const pen = prepare(canvas, 90, 10, ratio);
  for (let at = 0; at < 90; at++) {
    pen.fillStyle = loadColour(-MOST + (2 * MOST * at) / 89, theme);
    pen.fillRect(at, 0, 1, 10);
  }
}
