// Play: the cursor steps through the tokens, and text, heatmap and grid with it.

import { askFor } from "./asking.js";
import { showReadout } from "./draw.js";
import { setCursor } from "./moves.js";
import { isKnown } from "./routes.js";
import { isDrawn } from "./state.js";

/** @import { Heatmap, Drawn, Loaded } from "./state.js" */

export const PACES = [2, 3, 4, 6, 8, 12, 16, 20];
const SECONDS_AHEAD = 4;

/** @type {() => boolean} */
const wantsStill = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/**
 * Begin to play, or pause. A reader who asked for less motion takes one step each time instead.
 * @param {Drawn} heatmap
 */
export function togglePlay(heatmap) {
  if (heatmap.playing) return stopPlay(heatmap);
  const { cursor, pin, model } = heatmap, from = (cursor ?? pin)?.column ?? -1;
  const first = from + 1 >= model.columnCount ? 0 : from + 1;
  if (wantsStill()) return step(heatmap, first, false);
  heatmap.playing = { began: performance.now(), first, at: -1, frame: 0 };
  heatmap.parts.root.dataset.playing = "true";
  showButton(heatmap);
  frame(heatmap);
}

/**
 * Pause where it stands, and say where that is.
 * @param {Heatmap} heatmap
 */
export function stopPlay(heatmap) {
  if (!heatmap.playing) return;
  cancelAnimationFrame(heatmap.playing.frame);
  heatmap.playing = null;
  heatmap.parts.root.dataset.playing = "false";
  showButton(heatmap);
  if (isDrawn(heatmap)) showReadout(heatmap);
}

/**
 * Another pace, from the token that is shown on.
 * @param {Loaded} heatmap
 * @param {number} index of PACES
 */
export function setPace(heatmap, index) {
  const { playing } = heatmap;
  heatmap.pace = Math.max(0, Math.min(PACES.length - 1, index));
  if (playing) Object.assign(playing, { began: performance.now(), first: Math.max(playing.at, playing.first) });
  showButton(heatmap);
}

/**
 * The column that is due at this moment; the last one ends it.
 * @param {Drawn} heatmap
 */
function frame(heatmap) {
  const { playing, model } = heatmap;
  if (!playing || !heatmap.parts.root.isConnected) return stopPlay(heatmap);
  const due = playing.first + Math.floor(((performance.now() - playing.began) / 1000) * PACES[heatmap.pace]);
  const at = Math.min(due, model.columnCount - 1);
  if (at !== playing.at) step(heatmap, (playing.at = at), true);
  if (at >= model.columnCount - 1) return stopPlay(heatmap);
  playing.frame = requestAnimationFrame(() => frame(heatmap));
}

/**
 * Show one token; routes are asked for before they are due.
 * @param {Drawn} heatmap
 * @param {number} column
 * @param {boolean} isQuiet
 */
function step(heatmap, column, isQuiet) {
  setCursor(heatmap, { row: heatmap.pin?.row ?? heatmap.chosen?.layer ?? null, column }, { reveal: true, isQuiet });
  const ahead = Math.min(column + SECONDS_AHEAD * PACES[heatmap.pace], heatmap.model.columnCount - 1);
  if (!heatmap.routes || isKnown(heatmap.routes, column)) askFor(heatmap, ahead);
  else askFor(heatmap, column);
}

/**
 * What the button does now, and how fast it goes.
 * @param {Heatmap} heatmap
 */
export function showButton(heatmap) {
  const { playButton, pace, paceWords } = heatmap.parts, isPlaying = heatmap.playing !== null, isStill = wantsStill();
  playButton.textContent = isPlaying ? "❚❚ Pause" : isStill ? "▶ Next token" : "▶ Play";
  playButton.title = isStill ? "One token on (space)" : "Step through the tokens (space)";
  pace.hidden = paceWords.hidden = isStill;
  pace.value = String(heatmap.pace);
  paceWords.textContent = `${PACES[heatmap.pace]} tokens a second`;
  pace.setAttribute("aria-valuetext", paceWords.textContent);
}
