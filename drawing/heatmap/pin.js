// Carries pin and range from Python to the matrix of the same name.

import { pinRegistry } from "./pins.js";

/** @import { PinMessage } from "./pins.js" */

/**
 * Streamlit calls this at the first draw and whenever pin or range change.
 * @param {{ data: PinMessage }} component
 */
export default function ({ data }) {
  const pins = pinRegistry();
  const place = pins.get(data.channel) ?? {};
  place.message = data;
  pins.set(data.channel, place);
  place.apply?.(data);
}
