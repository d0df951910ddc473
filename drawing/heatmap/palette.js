// Colours: the theme of the page, the palettes, and ink that can be read on them.

import { contextOf, looseCanvas } from "./canvas.js";

/** @typedef {number[]} Rgb Red, green and blue, 0 to 255 each. */
/**
 * What the colours mean (scale.py), and whether values lie beyond the ends.
 * @typedef {object} Scale
 * @property {string} name
 * @property {number} low
 * @property {number} high
 * @property {string} unit
 * @property {number | null} null
 * @property {"cividis" | "diverging" | "experts" | "neutral"} palette
 * @property {"max" | "min" | "far"} pool
 * @property {boolean} below
 * @property {boolean} above
 */
/**
 * The colours and the font of the page.
 * @typedef {object} Theme
 * @property {Rgb} text
 * @property {Rgb} paper
 * @property {Rgb} accent
 * @property {Rgb} panel
 * @property {Rgb} muted
 * @property {Rgb} faint
 * @property {string} font
 */
/** @typedef {{ pixels: Uint32Array, fills: string[], inks: string[] }} Palette Packed pixels, CSS colours and inks by tone. */

export const UNDEFINED = 255;
export const LAST = 254;
export const FADED = 256;
const FAINT = 0.24;
export const LEVELS = 15; // strengths of the colour of an expert: hues times levels are tones
const PALEST = 0.36;
const LIGHTENED = 0.82; // what stays of a hue on dark paper, white the rest

/** Ten stops of cividis (Nuñez, Anderton and Renslow 2018): lightness rises evenly, for colour-blind readers too. */
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"].map(fromHex);

/** Blue, grey, orange: the diverging colours of the theme. */
const DIVERGING = ["#0b4f8a", "#3b76ad", "#6f9ccb", "#a3c1de", "#d2dae2", "#e2d8cf", "#e3bd94", "#d99b59", "#c3762a", "#94510f"].map(fromHex);

/** The same on dark paper: what is at the null recedes, what is far from it shines. */
const DIVERGING_ON_DARK = ["#9fd0ff", "#6fabe6", "#4784c0", "#315e8c", "#28374a", "#463829", "#7a5729", "#ad7730", "#dc9a45", "#ffc67a"].map(fromHex);

/**
 * "#00224e" as [0, 34, 78].
 * @param {string} text
 */
function fromHex(text) {
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

/**
 * The colour at t (0 to 1) between evenly spaced stops.
 * @param {Rgb[]} stops
 * @param {number} t
 */
function ramp(stops, t) {
  const place = Math.max(0, Math.min(1, t)) * (stops.length - 1);
  const left = Math.min(stops.length - 2, Math.floor(place));
  return stops[left].map((channel, i) => Math.round(channel + (stops[left + 1][i] - channel) * (place - left)));
}

/**
 * Relative luminance of WCAG 2.
 * @param {Rgb} rgb
 */
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/**
 * Contrast ratio of two colours, 1 to 21.
 * @param {Rgb} a
 * @param {Rgb} b
 */
function contrast(a, b) {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

const WHITE = [255, 255, 255];
const INK = [0, 0, 0];

/**
 * Black or white, whichever reads better: on any colour one of them has 4.58 to 1 or more.
 * @param {Rgb} rgb
 */
function inkOn(rgb) {
  return contrast(rgb, WHITE) >= 4.6 || contrast(rgb, WHITE) > contrast(rgb, INK) ? WHITE : INK;
}

/** @type {(rgb: Rgb) => string} */
export const css = (rgb) => `rgb(${rgb.join(",")})`;
/** @type {(a: Rgb, b: Rgb, share: number) => Rgb} */
export const mix = (a, b, share) => a.map((channel, i) => Math.round(channel * share + b[i] * (1 - share)));

/**
 * Any CSS colour as [r, g, b].
 * @param {string} text
 * @returns {Rgb}
 */
function parseColour(text) {
  const context = contextOf(looseCanvas(1, 1), { willReadFrequently: true });
  context.fillStyle = text || "#888";
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

/**
 * The colours and fonts of the page, read anew at every draw since the reader may switch between light and dark.
 * @param {Element} element
 * @returns {Theme}
 */
export function readTheme(element) {
  const style = getComputedStyle(element);
  /** @param {string} name */
  const read = (name) => style.getPropertyValue(name).trim();
  const text = parseColour(read("--st-text-color"));
  const paper = parseColour(read("--st-background-color"));
  const accent = parseColour(read("--st-primary-color"));
  const panel = mix(text, paper, 0.1);
  const font = read("--st-font") || "sans-serif";
  return { text, paper, accent, panel, muted: mix(text, paper, 0.74), faint: mix(text, paper, 0.22), font };
}

/**
 * Position of a code on the palette, 0 to 1: for the diverging palette 0.5 is the null value.
 * @param {number} code
 * @param {Scale} scale
 */
function placeOf(code, scale) {
  if (scale.palette !== "diverging" || scale.null === null) return code / LAST;
  const value = scale.low + (code / LAST) * (scale.high - scale.low);
  const reach = Math.max(scale.high - scale.null, scale.null - scale.low);
  return 0.5 + (value - scale.null) / reach / 2;
}

/**
 * The diverging colours that suit the paper.
 * @param {Rgb} paper
 */
const divergingOn = (paper) => (luminance(paper) < 0.18 ? DIVERGING_ON_DARK : DIVERGING);

/**
 * Colour of one code.
 * @param {number} code
 * @param {Scale} scale
 * @param {Theme} theme
 */
export function colourOf(code, scale, theme) {
  if (scale.palette === "neutral") return theme.panel;
  return ramp(scale.palette === "diverging" ? divergingOn(theme.paper) : CIVIDIS, placeOf(code, scale));
}

/**
 * The tone of an expert's colour: which hue, and how strong from 0 to 1.
 * @param {string[]} hues
 * @param {number} expert
 * @param {number} strength
 */
export const expertTone = (hues, expert, strength) => (expert % hues.length) * LEVELS + Math.round(strength * (LEVELS - 1));

/**
 * How strong the colour of a tone is, 0 to LEVELS - 1.
 * @param {number} tone
 */
export const levelOf = (tone) => tone % LEVELS;

/**
 * The colours of experts by tone: paler where an expert has less of the weight.
 * @param {string[]} hues
 * @param {Theme} theme
 */
function expertColours(hues, theme) {
  const isDark = luminance(theme.paper) < 0.18;
  return hues.map(fromHex).flatMap((plain) => {
    const hue = isDark ? mix(plain, WHITE, LIGHTENED) : plain;
    return Array.from({ length: LEVELS }, (_, level) => mix(hue, theme.paper, PALEST + ((1 - PALEST) * level) / (LEVELS - 1)));
  });
}

/**
 * Everything a painter looks up by tone: packed pixels, CSS colours and inks. Undefined cells are transparent: hatching shows through.
 * @param {Scale} scale
 * @param {Theme} theme
 * @param {string[]} hues of experts, for the palette that shows them
 * @returns {Palette}
 */
export function buildPalette(scale, theme, hues) {
  const pixels = new Uint32Array(2 * FADED);
  const bytes = new Uint8ClampedArray(pixels.buffer);
  const fills = new Array(2 * FADED).fill("transparent"), inks = new Array(2 * FADED).fill(css(theme.text));
  /** @type {(tone: number, rgb: Rgb) => void} */
  const enter = (tone, rgb) => {
    bytes.set([...rgb, 255], tone * 4);
    [fills[tone], inks[tone]] = [css(rgb), css(inkOn(rgb))];
  };
  const colours = scale.palette === "experts" ? expertColours(hues, theme) : Array.from({ length: LAST + 1 }, (_, code) => colourOf(code, scale, theme));
  colours.forEach((rgb, tone) => {
    enter(tone, rgb);
    enter(tone + FADED, mix(rgb, theme.paper, FAINT));
  });
  return { pixels, fills, inks };
}
