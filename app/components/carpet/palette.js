// Colours: the theme of the page, the palettes, and ink that can be read on them.

const UNDEFINED = 255;
const LAST = 254;

/** Cividis as the polynomial published in d3-scale-chromatic (ISC licence): lightness rises evenly for every kind of sight. */
function cividis(t) {
  return [
    -4.54 - t * (35.34 - t * (2381.73 - t * (6402.7 - t * (7024.72 - t * 2710.57)))),
    32.49 + t * (170.73 + t * (52.82 - t * (131.46 - t * (176.58 - t * 67.37)))),
    81.24 + t * (442.36 - t * (2482.43 - t * (6167.24 - t * (6614.94 - t * 2475.67)))),
  ].map((channel) => Math.max(0, Math.min(255, Math.round(channel))));
}

/** Blue, grey, orange: the blue and vermillion of Okabe and Ito, darkened at the ends. */
const DIVERGING = [[0, 68, 120], [0, 114, 178], [142, 186, 214], [228, 228, 228], [236, 178, 136], [213, 94, 0], [128, 50, 0]];

/** The colour at t (0 to 1) between evenly spaced stops. */
function ramp(stops, t) {
  const place = Math.max(0, Math.min(1, t)) * (stops.length - 1);
  const left = Math.min(stops.length - 2, Math.floor(place));
  return stops[left].map((channel, i) => Math.round(channel + (stops[left + 1][i] - channel) * (place - left)));
}

/** Relative luminance of WCAG 2. */
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast ratio of two colours, 1 to 21. */
function contrast(a, b) {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

const WHITE = [255, 255, 255];
const INK = [17, 17, 17];

/** Near-black or white, whichever reads better: never below 4.5 to 1 on these palettes. */
function inkOn(rgb) {
  return contrast(rgb, WHITE) >= 4.5 || contrast(rgb, WHITE) > contrast(rgb, INK) ? WHITE : INK;
}

const css = (rgb) => `rgb(${rgb.join(",")})`;
const mix = (a, b, share) => a.map((channel, i) => Math.round(channel * share + b[i] * (1 - share)));

/** Any CSS colour as [r, g, b]. */
function parseColour(text) {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  context.fillStyle = text || "#888";
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

/** The colours and fonts of the page, read anew at every draw since the reader may switch between light and dark. */
function readTheme(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  const text = parseColour(read("--st-text-color"));
  const paper = parseColour(read("--st-background-color"));
  const accent = parseColour(read("--st-primary-color"));
  const panel = mix(text, paper, 0.1);
  const font = read("--st-font") || "sans-serif";
  return { text, paper, accent, panel, muted: mix(text, paper, 0.74), faint: mix(text, paper, 0.22), font };
}

/** Position of a code on the palette, 0 to 1: for the diverging palette 0.5 is the null value. */
function placeOf(code, scale) {
  if (scale.palette !== "diverging") return code / LAST;
  const value = scale.low + (code / LAST) * (scale.high - scale.low);
  const reach = Math.max(scale.high - scale.null, scale.null - scale.low);
  return 0.5 + (value - scale.null) / reach / 2;
}

/** Colour of one code. */
function colourOf(code, scale, theme) {
  if (scale.palette === "neutral") return theme.panel;
  const place = placeOf(code, scale);
  return scale.palette === "diverging" ? ramp(DIVERGING, place) : cividis(place);
}

/** Everything a painter looks up by code: packed pixels, CSS colours and inks. Undefined cells are transparent: hatching shows through. */
function buildPalette(scale, theme) {
  const pixels = new Uint32Array(256);
  const bytes = new Uint8ClampedArray(pixels.buffer);
  const fills = [], inks = [];
  for (let code = 0; code <= LAST; code++) {
    const rgb = colourOf(code, scale, theme);
    bytes.set([...rgb, 255], code * 4);
    fills.push(css(rgb));
    inks.push(css(inkOn(rgb)));
  }
  return { pixels, fills: [...fills, "transparent"], inks: [...inks, css(theme.text)] };
}
