// Mouse, touch and keys on the grid of experts.

import { chooseExpert, samePlace } from "./chosen.js";
import { expertUnder } from "./gridbox.js";
import { showGrid } from "./gridwords.js";
import { pressKey } from "./keyboard.js";
import { isDrawn } from "./state.js";
import { clamp } from "./view.js";

/** @import { ExpertPlace } from "./routes.js" */
/** @import { Drawn, Loaded } from "./state.js" */

/**
 * Assign the handlers of the grid; assigning twice does no harm.
 * @param {Loaded} heatmap
 */
export function listenGrid(heatmap) {
  const { gridCells, gridStage, open } = heatmap.parts;
  gridCells.onpointermove = (event) => isDrawn(heatmap) && point(heatmap, expertOf(heatmap, event));
  gridCells.onpointerleave = () => isDrawn(heatmap) && point(heatmap, null);
  gridCells.onclick = (event) => {
    if (!isDrawn(heatmap)) return;
    const place = expertOf(heatmap, event);
    if (place) chooseExpert(heatmap, samePlace(place, heatmap.chosen) ? null : place);
    gridStage.focus({ preventScroll: true });
  };
  gridStage.onkeydown = (event) => isDrawn(heatmap) && pressGridKey(heatmap, event);
  gridStage.onblur = () => isDrawn(heatmap) && point(heatmap, null);
  open.onclick = () => heatmap.chosen && openExpert(heatmap, heatmap.chosen);
}

/**
 * The expert under the pointer.
 * @param {Drawn} heatmap
 * @param {MouseEvent} event
 */
function expertOf({ grid, parts }, event) {
  if (!grid) return null;
  const { left, top } = parts.gridCells.getBoundingClientRect();
  return expertUnder(grid.box, grid.routes, event.clientX - left, event.clientY - top);
}

/**
 * Look at an expert; the server hears nothing of it.
 * @param {Drawn} heatmap
 * @param {ExpertPlace | null} place
 * @param {{ isSpoken?: boolean }} how
 */
function point(heatmap, place, how = {}) {
  if (samePlace(place, heatmap.hovered)) return;
  heatmap.hovered = place;
  showGrid(heatmap, how);
}

/**
 * Tell Python whose page is wanted.
 * @param {Loaded} heatmap
 * @param {ExpertPlace} place
 */
function openExpert(heatmap, { layer, expert }) {
  heatmap.send("opened", { layer, expert, serial: Date.now() });
}

/**
 * Move by so many experts and layers, from the chosen one or the first.
 * @param {Drawn} heatmap
 * @param {number} experts
 * @param {number} layers
 */
function move(heatmap, experts, layers) {
  const { routes, hovered, chosen } = heatmap, from = hovered ?? chosen;
  if (!routes) return;
  const layer = clamp((from?.layer ?? 0) + (from ? layers : 0), 0, routes.layers.length - 1);
  const expert = clamp((from?.expert ?? 0) + (from ? experts : 0), 0, routes.layers[layer].experts - 1);
  point(heatmap, { layer, expert }, { isSpoken: true });
}

/**
 * Enter chooses; on the expert that is chosen it opens the expert's page, or lets go where there is none.
 * @param {Drawn} heatmap
 */
function enter(heatmap) {
  const place = heatmap.hovered ?? heatmap.chosen;
  if (!place) return;
  const isChosen = samePlace(place, heatmap.chosen);
  if (isChosen && heatmap.model.can_open_experts) openExpert(heatmap, place);
  else chooseExpert(heatmap, isChosen ? null : place);
  showGrid(heatmap, { isSpoken: true });
}

/** @type {Record<string, (heatmap: Drawn) => void>} */
const GRID_KEYS = {
  ArrowLeft: (heatmap) => move(heatmap, -1, 0),
  ArrowRight: (heatmap) => move(heatmap, 1, 0),
  ArrowUp: (heatmap) => move(heatmap, 0, -1),
  ArrowDown: (heatmap) => move(heatmap, 0, 1),
  Home: (heatmap) => move(heatmap, -Infinity, 0),
  End: (heatmap) => move(heatmap, Infinity, 0),
  Enter: enter,
};

/**
 * A key that means something on the grid; the others mean what they do on the matrix.
 * @param {Drawn} heatmap
 * @param {KeyboardEvent} event
 */
function pressGridKey(heatmap, event) {
  const action = GRID_KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return pressKey(heatmap, event);
  event.preventDefault();
  event.stopPropagation();
  action(heatmap);
}
