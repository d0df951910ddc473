// The state of one mounted component, and how far it has come: parts, then a matrix, then a drawing.

/** @import { Scene } from "./draw.js" */
/** @import { Grid } from "./grid.js" */
/** @import { Cell, Model, Span } from "./model.js" */
/** @import { ExpertPlace, Routes } from "./routes.js" */
/** @import { Line, Token } from "./text.js" */
/** @import { View } from "./view.js" */

/** @typedef {{ kind: "cells" | "names" | null, x: number, y: number, view: View, moved: boolean }} PanDrag */
/** @typedef {{ kind: "span", x: number, start: number, before: Span | null, moved: boolean }} SpanDrag */
/** @typedef {{ began: number, first: number, at: number, frame: number }} Playing When it began, at which column, and what is shown. */
/** @typedef {ReturnType<typeof findParts>} Parts */
/**
 * @typedef {object} Heatmap
 * @property {Parts} parts
 * @property {HTMLElement[]} buttons
 * @property {Uint8Array | null} bytes the message that is drawn, or being unpacked
 * @property {number} turn the number of the last message
 * @property {number} drawnTurn and of the one that is drawn
 * @property {Model | null} model
 * @property {View | null} view
 * @property {Scene | null} scene null until the component has a width
 * @property {number} width in CSS pixels, as it was drawn
 * @property {string} look what else the drawing depends on
 * @property {Token[]} tokens
 * @property {Line[]} lines
 * @property {Cell | null} pin
 * @property {Cell | null} cursor
 * @property {Span | null} span
 * @property {number | null} anchor the column where the range began
 * @property {number | null} hoveredRow the row whose name the mouse is on
 * @property {PanDrag | SpanDrag | null} drag
 * @property {Set<Heatmap> | null} members the matrices of its group
 * @property {Routes | null} routes the experts of each token, as far as they are here
 * @property {Grid | null} grid null until routes are drawn
 * @property {number} gridWidth in CSS pixels, as it was drawn
 * @property {((routes: Routes) => void) | null} takeRoutes hears of routes that come
 * @property {ExpertPlace | null} hovered the expert under the pointer or the keys
 * @property {ExpertPlace | null} chosen the expert whose tokens are lit
 * @property {Uint8Array | null} took a byte a token: whether the chosen expert took it
 * @property {Playing | null} playing
 * @property {number} pace index of PACES
 * @property {number} asked when routes were asked for last
 * @property {number} resting the timer that asks for more
 * @property {number} sent the number of the last choice
 * @property {(name: string, value: Record<string, number | null>) => void} send tells Python
 * @property {ResizeObserver} observer
 * @property {IntersectionObserver | null} sight sees which lines of the text are in sight
 */
/** @typedef {Heatmap & { model: Model, view: View }} Loaded It has a matrix. */
/** @typedef {Loaded & { scene: Scene }} Drawn The matrix is on screen. */

/**
 * @param {Heatmap} heatmap
 * @returns {heatmap is Loaded}
 */
export const isLoaded = (heatmap) => heatmap.model !== null;

/**
 * @param {Heatmap} heatmap
 * @returns {heatmap is Drawn}
 */
export const isDrawn = (heatmap) => heatmap.scene !== null;

/**
 * The elements of heatmap.html, by their names.
 * @param {ParentNode} root
 */
export function findParts(root) {
  /** @param {string} name */
  const part = (name) => partOf(root, name, HTMLElement);
  /** @param {string} name */
  const canvas = (name) => partOf(root, name, HTMLCanvasElement);
  return {
    root: part("root"),
    title: part("title"),
    legend: part("legend"),
    bar: canvas("bar"),
    low: part("low"),
    high: part("high"),
    null: part("null"),
    samples: part("samples"),
    pooled: part("pooled"),
    glyphs: part("glyphs"),
    caption: part("caption"),
    text: part("text"),
    stage: part("stage"),
    cells: canvas("cells"),
    marks: canvas("marks"),
    readout: part("readout"),
    help: part("help"),
    stops: part("stops"),
    experts: part("experts"),
    gridTitle: part("gridTitle"),
    gridStage: part("gridStage"),
    gridCells: canvas("gridCells"),
    gridReadout: part("gridReadout"),
    loadLegend: part("loadLegend"),
    loadBar: canvas("loadBar"),
    even: part("even"),
    litLegend: part("litLegend"),
    struckLegend: part("struckLegend"),
    sharedLegend: part("sharedLegend"),
    sharedWords: part("sharedWords"),
    open: part("open"),
    player: part("player"),
    playButton: part("playButton"),
    pace: partOf(root, "pace", HTMLInputElement),
    paceWords: part("paceWords"),
  };
}

/**
 * @template {Element} Kind
 * @param {ParentNode} root
 * @param {string} name
 * @param {new () => Kind} kind
 */
function partOf(root, name, kind) {
  const found = root.querySelector(`[data-part="${name}"]`);
  if (!(found instanceof kind)) throw new Error(`the component has no ${kind.name} ${name}`);
  return found;
}

/** @type {(a: Cell | null, b: Cell | null) => boolean} */
export const samePin = (a, b) => a === b || (a !== null && b !== null && a.row === b.row && a.column === b.column);

/**
 * Each choice has a later number than the one before, also than one made before a reload.
 * @param {Heatmap} heatmap
 */
export function nextSerial(heatmap) {
  return (heatmap.sent = Math.max(Date.now(), heatmap.sent + 1));
}
