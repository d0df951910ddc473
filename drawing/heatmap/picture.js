// The matrix as a file: one page with its name, legend, takeaway and source, painted as PNG or written as SVG.

import { paintMatrix, sceneHeight } from "./axes.js";
import { contextOf, looseCanvas, prepare, setUp } from "./canvas.js";
import { glyphSamples, sceneOf } from "./draw.js";
import { cut, paintLegend } from "./paint.js";
import { css, readTheme } from "./palette.js";
import { paintMarks } from "./rings.js";
import { SvgContext } from "./svg.js";
import { RIGHT_MARGIN } from "./view.js";
import { highOf, lowOf, nullOf, poolingWords } from "./words.js";

/** @import { Pen } from "./canvas.js" */
/** @import { Scene } from "./draw.js" */
/** @import { Model } from "./model.js" */
/** @import { Drawn } from "./state.js" */

const LINE = 17;

/**
 * A text in lines that fit.
 * @param {Pen} context
 * @param {string} text
 * @param {number} width
 */
function wrapped(context, text, width) {
  /** @type {string[]} */
  const lines = [];
  for (const word of text.split(" ").filter(Boolean)) {
    const longer = lines.length ? `${lines[lines.length - 1]} ${word}` : word;
    if (lines.length && context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/**
 * Lines of text from y on; returns where the next may begin.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {string} text
 * @param {number} y
 * @param {number} width
 */
function paintLines(context, { theme, box }, text, y, width, font = "12px", colour = theme.muted) {
  setUp(context, { font: `${font} ${theme.font}`, fillStyle: css(colour), textAlign: "left", textBaseline: "top" });
  const lines = wrapped(context, text, width);
  lines.forEach((line, number) => context.fillText(cut(context, line, width), box.x, y + number * LINE));
  return y + lines.length * LINE;
}

/**
 * The bar of the palette between its ends, with unit and null value.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {number} y
 */
function paintLegendLine(context, scene, y) {
  const { theme, box, model: { scale } } = scene;
  if (scale.palette === "neutral") return y;
  setUp(context, { font: `12px ${theme.font}`, fillStyle: css(theme.muted), textAlign: "left", textBaseline: "top" });
  const low = lowOf(scale), start = box.x + context.measureText(low).width + 8;
  context.fillText(low, box.x, y);
  context.fillText([highOf(scale), nullOf(scale)].filter(Boolean).join("   "), start + 156, y);
  context.save();
  context.translate(start, y + 1);
  paintLegend(context, scene, 148, 10);
  context.restore();
  return y + LINE + 2;
}

/**
 * What the glyphs, hatching, faintness and pooling of this picture mean, in words.
 * @param {Scene} scene
 */
function keyWords(scene) {
  const { model } = scene;
  const words = glyphSamples(model).map(({ glyph, words: says }) => [glyph, says].filter(Boolean).join(" "));
  if (model.hasUndefined) words.push("hatched: undefined");
  return [...words, poolingWords(scene)].filter(Boolean).join(" · ");
}

/**
 * The whole page; returns its height.
 * @param {Pen} context
 * @param {Scene} scene
 * @param {Drawn} heatmap
 */
function paintPage(context, scene, heatmap) {
  const { model, box, theme } = scene, width = heatmap.width - box.x - RIGHT_MARGIN;
  const title = model.scale.name.charAt(0).toUpperCase() + model.scale.name.slice(1);
  let y = paintLines(context, scene, title, 10, width, "600 14px", theme.text) + 4;
  y = paintLegendLine(context, scene, y);
  y = paintLines(context, scene, keyWords(scene), y, width);
  context.save();
  context.translate(0, y + 2);
  paintMatrix(context, scene);
  paintMarks(context, scene, { span: heatmap.span, pin: heatmap.pin, cursor: null, hoveredRow: null });
  context.restore();
  y = paintLines(context, scene, model.description, y + sceneHeight(scene) + 12, width, "12px", theme.text);
  return paintLines(context, scene, model.attribution, y + 2, width, "11px") + 10;
}

/** @type {(model: Model, ending: string) => string} */
const fileName = (model, ending) => `${model.scale.name.replace(/[^\p{L}\p{N}]+/gu, "-")}.${ending}`;

/**
 * A page on paper: measured once to know its height, then painted.
 * @template {Pen} Paper
 * @param {Drawn} heatmap
 * @param {Pen} measure
 * @param {(height: number) => Paper} unroll
 */
function writePage(heatmap, measure, unroll) {
  const scene = sceneOf(heatmap, 2);
  const height = Math.ceil(paintPage(measure, scene, heatmap));
  const context = unroll(height);
  context.fillStyle = css(scene.theme.paper);
  context.fillRect(0, 0, heatmap.width, height);
  paintPage(context, scene, heatmap);
  return context;
}

/**
 * Twice as sharp as the screen, as a PNG file.
 * @param {Drawn} heatmap
 */
export function savePng(heatmap) {
  const canvas = looseCanvas(1, 1);
  writePage(heatmap, contextOf(looseCanvas(1, 1)), (height) => prepare(canvas, heatmap.width, height, 2));
  canvas.toBlob((blob) => {
    if (!blob) throw new Error(`the browser makes no picture of ${canvas.width} x ${canvas.height} pixels`);
    download(blob, fileName(heatmap.model, "png"));
  });
}

/**
 * Text as text and lines as lines, the cells as one picture without loss.
 * @param {Drawn} heatmap
 */
export function saveSvg(heatmap) {
  const { model } = heatmap, theme = readTheme(heatmap.parts.root);
  /** @param {number} height */
  const unroll = (height) => new SvgContext(heatmap.width, height, theme);
  const page = writePage(heatmap, unroll(0), unroll);
  const title = heatmap.parts.stage.getAttribute("aria-label") ?? model.scale.name;
  const text = page.toText(title, [model.description, model.attribution].filter(Boolean).join(" "));
  download(new Blob([text], { type: "image/svg+xml" }), fileName(model, "svg"));
}

/**
 * Hand a file to the browser.
 * @param {Blob} blob
 * @param {string} name
 */
function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
