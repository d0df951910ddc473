// HTML whose links Python follows, so that a change of page keeps the session.

const drawn = new WeakMap();

/** Streamlit calls this at the first draw and again at every run. */
export default function ({ data, parentElement, setTriggerValue }) {
  const body = parentElement.querySelector('[data-part="body"]');
  if (drawn.get(body) !== data) body.innerHTML = data;
  drawn.set(body, data);
  body.onclick = (event) => follow(event, setTriggerValue);
}

/** A plain click on a link is ours; with a modifier it is the browser's. */
function follow(event, setTriggerValue) {
  const link = event.target.closest("a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  setTriggerValue("follow", link.getAttribute("href"));
}
