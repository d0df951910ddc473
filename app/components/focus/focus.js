// Puts the cursor into the first field of the dialog around it, once: a later draw leaves it where the reader put it.

/** @type {WeakSet<Element>} */
const seen = new WeakSet();

/**
 * Streamlit calls this at the first draw and at every later one.
 * @param {{ parentElement: ShadowRoot | HTMLElement }} component
 */
export default function ({ parentElement }) {
  const root = parentElement.getRootNode();
  const host = root instanceof ShadowRoot ? root.host : parentElement instanceof Element ? parentElement : null;
  const dialog = host?.closest("[role=dialog]");
  const field = dialog?.querySelector("input");
  if (!dialog || !field || seen.has(dialog)) return;
  seen.add(dialog);
  requestAnimationFrame(() => field.focus());
}
