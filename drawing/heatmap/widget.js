// A trace as an anywidget: a choice of the reader's comes back to Python.

import { drawTrace } from "./trace.js";

/** @typedef {{ get: (name: string) => any, set: (name: string, value: number | null) => void, save_changes: () => void }} WidgetModel */

/** @type {(view: DataView<ArrayBuffer>) => Uint8Array<ArrayBuffer>} */
const bytesIn = (view) => new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

/**
 * @param {{ model: WidgetModel, el: HTMLElement }} host
 */
function render({ model, el }) {
  const root = el.shadowRoot ?? el.attachShadow({ mode: "open" }), sheet = new CSSStyleSheet();
  sheet.replaceSync(model.get("_style"));
  root.adoptedStyleSheets = [sheet];
  root.replaceChildren(new DOMParser().parseFromString(model.get("_markup"), "text/html").body);
  const { jpThemeLight } = document.body.dataset;
  if (jpThemeLight) el.dataset.theme = jpThemeLight === "false" ? "dark" : "light";
  const parts = model.get("_parts");
  const trace = { quantities: JSON.parse(model.get("_quantities")), bytesOf: (/** @type {string} */ slug) => bytesIn(parts[slug]), routes: bytesIn(parts.routes) };
  return drawTrace(trace, root, el, (name, value) => {
    if (name === "pick") {
      model.set("token", value.column);
      model.set("layer", value.row);
    } else if (name === "expert") {
      model.set("expert", value.expert);
      if (value.layer !== null) model.set("layer", value.layer);
    } else return;
    model.save_changes();
  });
}

export default { render };
