// Carries routes from Python to the matrix of the same name, and asks for those of other tokens.

import { routeRegistry, spread } from "./feeds.js";
import { inflate } from "./inflate.js";
import { decodeRoutes } from "./routes.js";

/** @typedef {(name: string, value: Record<string, number>) => void} Send */

/** @typedef {{ bytes: Uint8Array, channel: string, send: Send }} Feed What one element was given last, and how it speaks to Python. */

/** @type {WeakMap<ParentNode, Feed>} */
const feeds = new WeakMap();

/**
 * Streamlit calls this at the first draw, and at every run.
 * @param {{ data: Uint8Array<ArrayBuffer>, parentElement: ParentNode, setTriggerValue: Send }} component
 */
export default function ({ data, parentElement, setTriggerValue }) {
  const before = feeds.get(parentElement);
  const isSame = before !== undefined && before.bytes.length === data.length && before.bytes.every((byte, at) => byte === data[at]);
  const feed = { bytes: data, channel: before?.channel ?? "", send: setTriggerValue };
  feeds.set(parentElement, feed);
  if (!isSame) take(feed, data);
  else offer(feed);
}

/**
 * Add a message to what is known, and say so.
 * @param {Feed} feed
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
async function take(feed, bytes) {
  const message = decodeRoutes(await inflate(bytes));
  feed.channel = message.channel;
  offer(feed);
  spread(message);
}

/**
 * Take the questions of the matrix to Python.
 * @param {Feed} feed
 */
function offer({ channel, send }) {
  const place = routeRegistry().get(channel) ?? {};
  routeRegistry().set(channel, place);
  place.ask = (token) => send("window", { token, serial: Date.now() });
}
