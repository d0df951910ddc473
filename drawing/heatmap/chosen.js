// The chosen expert: the tokens it took stand out in text and heatmap.

import { drawCells, drawText } from "./draw.js";
import { showGrid } from "./gridwords.js";
import { fadeOthers } from "./model.js";
import { setPin } from "./moves.js";
import { tookOf } from "./routes.js";
import { isDrawn, nextSerial } from "./state.js";

/** @import { ExpertPlace } from "./routes.js" */
/** @import { Drawn, Loaded } from "./state.js" */

/** @type {(a: ExpertPlace | null, b: ExpertPlace | null) => boolean} */
export const samePlace = (a, b) => a === b || (a !== null && b !== null && a.layer === b.layer && a.expert === b.expert);

/**
 * Show another expert as chosen. `took`: a byte a token, where Python has said which; else what is known here.
 * @param {Loaded} heatmap
 * @param {ExpertPlace | null} chosen
 * @param {Uint8Array | null} took
 */
export function setChosen(heatmap, chosen, took = null) {
  const { model, routes } = heatmap;
  const isSame = samePlace(chosen, heatmap.chosen);
  if (isSame && (heatmap.took !== null || took === null)) return;
  heatmap.chosen = chosen;
  heatmap.took = chosen && (took ?? (routes ? tookOf(routes, chosen) : null));
  heatmap.parts.root.dataset.chosen = chosen ? `${chosen.layer},${chosen.expert}` : "";
  fadeOthers(model, heatmap.took);
  if (!isDrawn(heatmap)) return;
  drawCells(heatmap);
  drawText(heatmap);
  showGrid(heatmap);
}

/**
 * Choose an expert on behalf of the reader, and tell Python. A pin goes to its layer: text and grid speak of the same.
 * @param {Drawn} heatmap
 * @param {ExpertPlace | null} place
 */
export function chooseExpert(heatmap, place) {
  setChosen(heatmap, place);
  if (place && heatmap.pin) setPin(heatmap, { row: place.layer, column: heatmap.pin.column });
  heatmap.send("expert", { layer: place?.layer ?? null, expert: place?.expert ?? null, serial: nextSerial(heatmap) });
}
