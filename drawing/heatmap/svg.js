// As much of a canvas' context as the painters use, written as SVG.

import { contextOf, looseCanvas } from "./canvas.js";
import { css, mix } from "./palette.js";

/** @import { Pen } from "./canvas.js" */
/** @import { Theme } from "./palette.js" */

const SVG_SPACE = "http://www.w3.org/2000/svg";
const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
/** @type {Record<string, string>} */
const ANCHORS = { left: "start", center: "middle", right: "end" };
/** @type {Record<string, number>} */
const BASELINES = { top: 0.82, middle: 0.35 };
const FONT = /^(\d+ )?([\d.]+)px (.*)$/;

/** @typedef {Record<string, string | number | null>} Attributes */

/**
 * Text for the inside of an element or attribute.
 * @param {string} text
 */
function escapeXml(text) {
  /** @type {Record<string, string>} */
  const names = { "&": "amp", "<": "lt", ">": "gt", '"': "quot" };
  return text.replace(NOT_XML, "\ufffd").replace(/[&<>"]/g, (sign) => `&${names[sign]};`);
}

/** @type {(number: number) => string} */
const short = (number) => String(Math.round(number * 100) / 100);

/** @implements {Pen} */
export class SvgContext {
  /** @type {Pen["fillStyle"]} */
  fillStyle = "#000";
  /** @type {Pen["strokeStyle"]} */
  strokeStyle = "#000";
  /** @type {CanvasTextAlign} */
  textAlign = "left";
  /** @type {CanvasTextBaseline} */
  textBaseline = "top";
  lineWidth = 1;
  font = "12px sans-serif";
  imageSmoothingEnabled = false;
  place = "";
  pen = contextOf(looseCanvas(1, 1));
  /** @type {string[]} */
  parts = [];
  /** @type {Partial<SvgContext>[]} */
  states = [];

  /**
   * @param {number} width
   * @param {number} height
   * @param {Theme} theme
   */
  constructor(width, height, theme) {
    this.width = width;
    this.height = height;
    this.theme = theme;
  }

  save() {
    const { fillStyle, strokeStyle, lineWidth, font, textAlign, textBaseline, place } = this;
    this.states.push({ fillStyle, strokeStyle, lineWidth, font, textAlign, textBaseline, place });
  }

  restore() {
    Object.assign(this, this.states.pop());
  }

  /** @type {Pen["translate"]} */
  translate(x, y) {
    this.place += ` translate(${short(x)} ${short(y)})`;
  }

  /** @type {Pen["rotate"]} */
  rotate(angle) {
    this.place += ` rotate(${short((angle * 180) / Math.PI)})`;
  }

  // Nothing leaves the plot by more than the width of a ring, so a picture needs no clipping.
  beginPath() {}
  rect() {}
  clip() {}

  /** @param {string} text */
  measureText(text) {
    this.pen.font = this.font;
    return this.pen.measureText(text);
  }

  /** @type {Pen["createPattern"]} */
  createPattern(tile, repetition) {
    return this.pen.createPattern(tile, repetition);
  }

  /**
   * @param {string} name
   * @param {Attributes} attributes
   */
  add(name, attributes, content = "") {
    const given = { ...attributes, transform: this.place.trim() || null };
    const written = Object.entries(given).filter(([, value]) => value !== null).map(([key, value]) => ` ${key}="${escapeXml(String(value))}"`);
    this.parts.push(`<${name}${written.join("")}${content ? `>${content}</${name}>` : "/>"}`);
  }

  /** @type {(x: number, y: number, width: number, height: number) => Attributes} */
  box(x, y, width, height) {
    return { x: short(x), y: short(y), width: short(width), height: short(height) };
  }

  /**
   * A pattern, the only fill that is no colour, is the hatching of undefined cells.
   * @type {Pen["fillRect"]}
   */
  fillRect(x, y, width, height) {
    this.add("rect", { ...this.box(x, y, width, height), fill: typeof this.fillStyle === "string" ? this.fillStyle : "url(#hatch)" });
  }

  /** @type {Pen["strokeRect"]} */
  strokeRect(x, y, width, height) {
    this.add("rect", { ...this.box(x, y, width, height), fill: "none", stroke: String(this.strokeStyle), "stroke-width": this.lineWidth });
  }

  /** @type {Pen["drawImage"]} */
  drawImage(canvas, x, y, width, height) {
    this.add("image", { ...this.box(x, y, width, height), preserveAspectRatio: "none", href: canvas.toDataURL("image/png") });
  }

  /**
   * Text as wide as it is on screen, also where the file is opened without the page's font.
   * @param {string} text
   * @param {number} x
   * @param {number} y
   */
  fillText(text, x, y) {
    const font = FONT.exec(this.font);
    if (!font) throw new Error(`a font in pixels was expected: ${this.font}`);
    const [, weight, size, family] = font;
    const down = Number(size) * BASELINES[this.textBaseline];
    const look = { "font-size": size, "font-weight": weight?.trim() ?? null, "font-family": family, "text-anchor": ANCHORS[this.textAlign] };
    const width = this.measureText(text).width;
    /** @type {Attributes} */
    const fit = width > 0 ? { textLength: short(width), lengthAdjust: "spacingAndGlyphs" } : {};
    this.add("text", { x: short(x), y: short(y + down), ...look, ...fit, fill: String(this.fillStyle), "xml:space": "preserve" }, escapeXml(text));
  }

  /**
   * The file.
   * @param {string} title
   * @param {string} description
   */
  toText(title, description) {
    const line = css(mix(this.theme.text, this.theme.paper, 0.5)), ground = css(mix(this.theme.text, this.theme.paper, 0.07));
    const hatching = `<rect width="6" height="6" fill="${ground}"/><path d="M-1 1L1 -1M0 6L6 0M5 7L7 5" stroke="${line}"/>`;
    return [
      `<svg xmlns="${SVG_SPACE}" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}" role="img">`,
      `<title>${escapeXml(title)}</title><desc>${escapeXml(description)}</desc>`,
      `<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">${hatching}</pattern></defs>`,
      ...this.parts,
      "</svg>",
    ].join("\n");
  }
}
