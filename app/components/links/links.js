// HTML whose links Python follows, so that a change of page keeps the session.

const drawn = new WeakMap();

/** Streamlit calls this at the first draw and again at every run. */
export default function ({ data, parentElement, setTriggerValue }) {
  const body = parentElement.querySelector('[data-part="body"]');
  body.onclick = (event) => follow(event, setTriggerValue);
  draw(body, data);
}

/** Draw the HTML, unless it stands there already, or something newer came while it was unpacked. */
async function draw(body, bytes) {
  const before = drawn.get(body);
  if (before && before.length === bytes.length && before.every((byte, at) => byte === bytes[at])) return;
  drawn.set(body, bytes);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const html = await new Response(stream).text();
  if (drawn.get(body) === bytes) body.innerHTML = html;
}

/** A plain click on a link is ours; with a modifier it is the browser's. */
function follow(event, setTriggerValue) {
  const link = event.target.closest("a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  setTriggerValue("follow", link.getAttribute("href"));
}
