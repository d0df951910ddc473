// Canvases, what draws on them, and the way of a picture to the reader's disk.

/**
 * What the painters ask of a context: the browser's own has it, and so has the one that writes SVG.
 * @typedef {Pick<CanvasRenderingContext2D, "fillStyle" | "strokeStyle" | "lineWidth" | "font" | "textAlign" | "textBaseline"
 *   | "imageSmoothingEnabled" | "save" | "restore" | "translate" | "rotate" | "beginPath" | "rect" | "clip" | "fillRect"
 *   | "strokeRect" | "fillText" | "measureText" | "createPattern"> & PaintsCanvas} Pen
 */
/** @typedef {{ drawImage(image: HTMLCanvasElement, x: number, y: number, width: number, height: number): void }} PaintsCanvas */

/**
 * A canvas of so many pixels that stands on no page.
 * @param {number} width
 * @param {number} height
 */
export function looseCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/**
 * The context that draws on a canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasRenderingContext2DSettings} [settings]
 */
export function contextOf(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error("this browser does not draw on canvases");
  return context;
}

/**
 * Several settings of a context at once.
 * @param {Pen} context
 * @param {Partial<Pen>} settings
 */
export function setUp(context, settings) {
  Object.assign(context, settings);
}

/**
 * A canvas of this size in CSS pixels, sharp on any screen.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 * @param {number} ratio
 */
export function prepare(canvas, width, height, ratio) {
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = contextOf(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}
