// Saves the chart that Plotly has drawn: its layers joined to one SVG, and that SVG painted for a PNG.

const SPACE = "http://www.w3.org/2000/svg";
const LINE = 18;

/** @typedef {{ container: string, name: string, caption: string }} Order Which chart, the file's name, the words below. */
/** @typedef {{ paper: string, ink: string, font: string }} Look */

/**
 * Streamlit calls this at the first draw and again at every run.
 * @param {{ data: Order, parentElement: HTMLElement | ShadowRoot }} component
 */
export default function ({ data, parentElement }) {
  const host = parentElement instanceof ShadowRoot ? parentElement.host : parentElement;
  for (const button of parentElement.querySelectorAll("button")) {
    button.onclick = () => save(data, button.dataset.kind === "svg" ? "svg" : "png", getComputedStyle(host));
  }
}

/**
 * Find the chart and hand it to the browser as a file.
 * @param {Order} order
 * @param {"png" | "svg"} kind
 * @param {CSSStyleDeclaration} style
 */
async function save({ container, name, caption }, kind, style) {
  const chart = document.querySelector(`.st-key-${CSS.escape(container)} .js-plotly-plot`);
  if (!chart) return;
  const paper = style.getPropertyValue("--st-background-color").trim() || "#ffffff";
  const ink = style.getPropertyValue("--st-text-color").trim() || "#000000";
  const svg = joined(chart, caption, { paper, ink, font: style.getPropertyValue("--st-font").trim() || "sans-serif" });
  const text = new XMLSerializer().serializeToString(svg);
  const source = new Blob([text], { type: "image/svg+xml" });
  hand(kind === "svg" ? source : await painted(source, svg), `${name}.${kind}`);
}

/**
 * Plotly draws in layers of one size; below them the caption.
 * @param {Element} chart
 * @param {string} caption
 * @param {Look} look
 */
function joined(chart, caption, { paper, ink, font }) {
  /** @type {NodeListOf<SVGSVGElement>} */
  const layers = chart.querySelectorAll("svg.main-svg");
  const { width, height } = chart.getBoundingClientRect();
  const lines = wrapped(caption, Math.max(20, Math.floor(width / 6.6)));
  const svg = element("svg", { width, height: height + LINE * lines.length + 8 });
  svg.append(element("rect", { width: "100%", height: "100%", fill: paper }));
  for (const layer of layers) {
    const copy = /** @type {SVGSVGElement} */ (layer.cloneNode(true));
    copy.style.background = "none";
    for (const part of copy.querySelectorAll(".modebar-container, .hoverlayer")) part.remove();
    svg.append(copy);
  }
  lines.forEach((line, number) => {
    const text = element("text", { x: 12, y: height + LINE * (number + 0.7), fill: ink, "font-size": 12, "font-family": font });
    text.textContent = line;
    svg.append(text);
  });
  return svg;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function element(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

/**
 * A caption in lines of at most so many characters.
 * @param {string} caption
 * @param {number} most
 */
function wrapped(caption, most) {
  /** @type {string[]} */
  const lines = [];
  for (const word of caption.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/**
 * The same, twice as sharp as the screen.
 * @param {Blob} source
 * @param {Element} svg
 * @returns {Promise<Blob>}
 */
async function painted(source, svg) {
  const image = new Image(), url = URL.createObjectURL(source);
  image.src = url;
  await image.decode();
  const [width, height] = ["width", "height"].map((side) => Number(svg.getAttribute(side)) * 2);
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser does not draw on canvases");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(url);
  return new Promise((done, fail) => {
    const failed = new Error(`the browser makes no picture of ${canvas.width} x ${canvas.height} pixels`);
    canvas.toBlob((blob) => (blob ? done(blob) : fail(failed)));
  });
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
function hand(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
