// HTML whose links Python follows, so that a change of page keeps the session.

/** @typedef {(name: string, value: string) => void} Send */

/** @type {WeakMap<Element, Uint8Array>} */
const drawn = new WeakMap();

/**
 * Streamlit calls this at the first draw and again at every run.
 * @param {{ data: Uint8Array<ArrayBuffer>, parentElement: ParentNode, setTriggerValue: Send }} component
 */
export default function ({ data, parentElement, setTriggerValue }) {
  /** @type {HTMLElement | null} */
  const body = parentElement.querySelector('[data-part="body"]');
  if (!body) return;
  body.onclick = (event) => follow(event, setTriggerValue);
  draw(body, data);
}

/**
 * Draw the HTML, unless it stands there already, or something newer came while it was unpacked.
 * @param {Element} body
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
async function draw(body, bytes) {
  const before = drawn.get(body);
  if (before && before.length === bytes.length && before.every((byte, at) => byte === bytes[at])) return;
  drawn.set(body, bytes);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const html = await new Response(stream).text();
  if (drawn.get(body) === bytes) body.innerHTML = html;
}

/**
 * A plain click on a link is ours; with a modifier it is the browser's.
 * @param {MouseEvent} event
 * @param {Send} send
 */
function follow(event, send) {
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  send("follow", link.getAttribute("href") ?? "");
}
