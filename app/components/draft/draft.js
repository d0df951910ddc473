// Says what is typed into the text area of a given label, once typing rests.

const REST_MS = 250;
const watched = new WeakMap();

/** Streamlit calls this at the first draw and again at every run. */
export default function ({ data, parentElement, setStateValue }) {
  const watch = watched.get(parentElement) ?? listen(parentElement);
  watch.label = data.label;
  watch.say = (text) => setStateValue("text", text);
  return () => stop(parentElement);
}

/** Listens to the document, for Streamlit may put another element in the area's place. */
function listen(parentElement) {
  const watch = { timer: 0 };
  watch.heard = ({ target }) => {
    if (target.tagName !== "TEXTAREA" || target.getAttribute("aria-label") !== watch.label) return;
    clearTimeout(watch.timer);
    watch.timer = setTimeout(() => watch.say(target.value), REST_MS);
  };
  watch.left = () => clearTimeout(watch.timer); // the area itself says its text then
  watch.key = ({ key, ctrlKey, metaKey }) => key === "Enter" && (ctrlKey || metaKey) && clearTimeout(watch.timer);
  document.addEventListener("input", watch.heard);
  document.addEventListener("focusout", watch.left);
  document.addEventListener("keydown", watch.key, true);
  watched.set(parentElement, watch);
  return watch;
}

function stop(parentElement) {
  const watch = watched.get(parentElement);
  clearTimeout(watch?.timer);
  document.removeEventListener("input", watch?.heard);
  document.removeEventListener("focusout", watch?.left);
  document.removeEventListener("keydown", watch?.key, true);
  watched.delete(parentElement);
}
