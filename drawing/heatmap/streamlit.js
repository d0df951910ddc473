// The heatmap as a Streamlit component.

import { draw } from "./heatmap.js";

/** @import { Heatmap } from "./state.js" */

/**
 * Streamlit calls this at the first draw and again whenever data or theme change.
 * @param {{ data: Uint8Array<ArrayBuffer>, parentElement: ParentNode, setTriggerValue: Heatmap["send"] }} component
 */
export default function ({ data, parentElement, setTriggerValue }) {
  return draw({ data, parentElement, send: (name, value) => setTriggerValue(name, value) });
}
