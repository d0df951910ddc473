// As much of a canvas' context as the painters use, written as SVG.

import { css, mix } from "./palette.js";

const SVG_SPACE = "http://www.w3.org/2000/svg";
const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
const ANCHORS = { left: "start", center: "middle", right: "end" };
const BASELINES = { top: 0.82, middle: 0.35 };
const STATE = ["fillStyle", "strokeStyle", "lineWidth", "font", "textAlign", "textBaseline", "place"];

/** Text for the inside of an element or attribute. */
function escapeXml(text) {
  const names = { "&": "amp", "<": "lt", ">": "gt", '"': "quot" };
  return String(text).replace(NOT_XML, "\ufffd").replace(/[&<>"]/g, (sign) => `&${names[sign]};`);
}

const short = (number) => String(Math.round(number * 100) / 100);

export class SvgContext {
  constructor(width, height, theme) {
    Object.assign(this, { width, height, theme, parts: [], states: [], place: "" });
    this.pen = document.createElement("canvas").getContext("2d");
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, font: "12px sans-serif", textAlign: "left", textBaseline: "top" });
  }

  save() {
    this.states.push(STATE.map((name) => this[name]));
  }

  restore() {
    const state = this.states.pop();
    STATE.forEach((name, at) => (this[name] = state[at]));
  }

  translate(x, y) {
    this.place += ` translate(${short(x)} ${short(y)})`;
  }

  rotate(angle) {
    this.place += ` rotate(${short((angle * 180) / Math.PI)})`;
  }

  // Nothing leaves the plot by more than the width of a ring, so a picture needs no clipping.
  beginPath() {}
  rect() {}
  clip() {}

  measureText(text) {
    this.pen.font = this.font;
    return this.pen.measureText(text);
  }

  /** A pattern, the only fill that is no colour, is the hatching of undefined cells. */
  createPattern(tile) {
    return { hatch: tile };
  }

  add(name, attributes, content = "") {
    const given = { ...attributes, transform: this.place.trim() || null };
    const written = Object.entries(given).filter(([, value]) => value !== null).map(([key, value]) => ` ${key}="${escapeXml(value)}"`);
    this.parts.push(`<${name}${written.join("")}${content ? `>${content}</${name}>` : "/>"}`);
  }

  box(x, y, width, height) {
    return { x: short(x), y: short(y), width: short(width), height: short(height) };
  }

  fillRect(x, y, width, height) {
    this.add("rect", { ...this.box(x, y, width, height), fill: this.fillStyle.hatch ? "url(#hatch)" : this.fillStyle });
  }

  strokeRect(x, y, width, height) {
    this.add("rect", { ...this.box(x, y, width, height), fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth });
  }

  drawImage(canvas, x, y, width, height) {
    this.add("image", { ...this.box(x, y, width, height), preserveAspectRatio: "none", href: canvas.toDataURL("image/png") });
  }

  /** Text as wide as it is on screen, also where the file is opened without the page's font. */
  fillText(text, x, y) {
    const [, weight, size, family] = /^(\d+ )?([\d.]+)px (.*)$/.exec(this.font);
    const down = Number(size) * BASELINES[this.textBaseline];
    const look = { "font-size": size, "font-weight": weight?.trim() ?? null, "font-family": family, "text-anchor": ANCHORS[this.textAlign] };
    const width = this.measureText(text).width;
    const fit = width > 0 ? { textLength: short(width), lengthAdjust: "spacingAndGlyphs" } : {};
    this.add("text", { x: short(x), y: short(y + down), ...look, ...fit, fill: this.fillStyle, "xml:space": "preserve" }, escapeXml(text));
  }

  /** The file. */
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
