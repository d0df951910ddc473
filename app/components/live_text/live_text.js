// Says what is typed into the text area of a given label, once typing rests.

/** @typedef {(text: string) => void} Say */
/**
 * What listens for one element, and whom it tells.
 * @typedef {object} Watch
 * @property {string} label
 * @property {Say} say
 * @property {number} timer
 * @property {(event: Event) => void} heard
 * @property {() => void} left
 * @property {(event: KeyboardEvent) => void} key
 */

const REST_MS = 250;

/** @type {WeakMap<Node, Watch>} */
const watched = new WeakMap();

/**
 * Streamlit calls this at the first draw and again at every run.
 * @param {{ data: { label: string }, parentElement: Node, setStateValue: (name: string, value: string) => void }} component
 */
export default function ({ data, parentElement, setStateValue }) {
  const watch = watched.get(parentElement) ?? listen(parentElement);
  watch.label = data.label;
  watch.say = (text) => setStateValue("text", text);
  return () => forget(parentElement);
}

/**
 * Listens to the document, for Streamlit may put another element in the area's place.
 * @param {Node} parentElement
 */
function listen(parentElement) {
  /** @type {Watch} */
  const watch = {
    label: "",
    say: () => {},
    timer: 0,
    heard: ({ target }) => {
      if (!(target instanceof HTMLTextAreaElement) || target.getAttribute("aria-label") !== watch.label) return;
      clearTimeout(watch.timer);
      watch.timer = setTimeout(() => watch.say(target.value), REST_MS);
    },
    left: () => clearTimeout(watch.timer), // the area itself says its text then
    key: ({ key, ctrlKey, metaKey }) => {
      if (key === "Enter" && (ctrlKey || metaKey)) clearTimeout(watch.timer);
    },
  };
  document.addEventListener("input", watch.heard);
  document.addEventListener("focusout", watch.left);
  document.addEventListener("keydown", watch.key, true);
  watched.set(parentElement, watch);
  return watch;
}

/** @param {Node} parentElement */
function forget(parentElement) {
  const watch = watched.get(parentElement);
  if (!watch) return;
  clearTimeout(watch.timer);
  document.removeEventListener("input", watch.heard);
  document.removeEventListener("focusout", watch.left);
  document.removeEventListener("keydown", watch.key, true);
  watched.delete(parentElement);
}
