// The experts of each token, as routes.py sends them: counts over the whole text, and windows of its tokens.

/**
 * What a layer's rule says of its experts.
 * @typedef {object} LayerRule
 * @property {number} experts routed ones
 * @property {number} k experts a token
 * @property {number} groups
 * @property {number} kept groups a token may choose from
 * @property {number} shared experts that are always on
 * @property {number} idle the last experts, that hand a token on unchanged
 */
/**
 * The header of a message.
 * @typedef {object} RouteHeader
 * @property {number} tokens
 * @property {number} slots
 * @property {number} first
 * @property {number} end
 * @property {number} size tokens of a window; the last one of a text may have fewer
 * @property {string} channel
 * @property {1 | 2} id_bytes
 * @property {number | null} empty
 * @property {boolean} has_weights
 * @property {LayerRule[]} layers
 */
/** @typedef {{ first: number, end: number, ids: Uint8Array | Uint16Array, shares: Uint8Array | null }} RouteWindow Tokens whose experts are known. */
/**
 * What is known of a text's routes; `counts` by layer and expert, `passed` by layer.
 * @typedef {object} Routes
 * @property {number} tokens
 * @property {number} slots
 * @property {number} experts most of any layer
 * @property {number | null} empty the id of a slot without an expert
 * @property {LayerRule[]} layers
 * @property {Uint32Array} counts
 * @property {Uint32Array} passed
 * @property {number} size tokens of a window
 * @property {Map<number, RouteWindow>} windows by their number
 */
/** @typedef {{ channel: string, routes: Routes, read: RouteWindow }} RouteMessage */
/** @typedef {{ expert: number, share: number }} Slot An expert, and its share of the weight (NaN: not recorded). */
/** @typedef {{ layer: number, expert: number }} ExpertPlace */

/**
 * Read one message; the layout is at the head of routes.py.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {RouteMessage}
 */
export function decodeRoutes(bytes) {
  const headed = 4 + new DataView(bytes.buffer).getUint32(0, true);
  /** @type {RouteHeader} */
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, headed)));
  const { layers, first, end, slots } = header, experts = Math.max(...layers.map((rule) => rule.experts));
  const cells = layers.length * experts, numbers = (end - first) * layers.length * slots;
  const afterCounts = headed + 4 * (cells + layers.length), afterIds = afterCounts + numbers * header.id_bytes;
  const ids = bytes.slice(afterCounts, afterIds);
  const read = {
    first,
    end,
    ids: header.id_bytes === 1 ? ids : new Uint16Array(ids.buffer),
    shares: header.has_weights ? bytes.slice(afterIds, afterIds + numbers) : null,
  };
  const routes = {
    tokens: header.tokens,
    slots,
    experts,
    empty: header.empty,
    layers,
    counts: new Uint32Array(bytes.slice(headed, headed + 4 * cells).buffer),
    passed: new Uint32Array(bytes.slice(headed + 4 * cells, afterCounts).buffer),
    size: header.size,
    windows: new Map(),
  };
  return { channel: header.channel, routes, read };
}

/**
 * Add what a message says to what is known of the same text.
 * @param {Routes | undefined} known
 * @param {RouteMessage} message
 */
export function addRoutes(known, { routes, read }) {
  const all = known && known.tokens === routes.tokens && known.size === routes.size ? known : routes;
  all.windows.set(Math.floor(read.first / all.size), read);
  return all;
}

/** @type {(routes: Routes, token: number) => boolean} */
export const isKnown = (routes, token) => routes.windows.has(Math.floor(token / routes.size));
/** @type {(routes: Routes) => boolean} */
export const isWhole = (routes) => routes.windows.size * routes.size >= routes.tokens;

/**
 * The experts of one token at one layer by decreasing weight; none where they are not known here.
 * @param {Routes} routes
 * @param {number} token
 * @param {number} layer
 * @returns {Slot[]}
 */
export function slotsAt(routes, token, layer) {
  const found = routes.windows.get(Math.floor(token / routes.size));
  if (!found) return [];
  const at = ((token - found.first) * routes.layers.length + layer) * routes.slots;
  /** @type {Slot[]} */
  const slots = [];
  for (let slot = at; slot < at + routes.slots; slot++) {
    if (found.ids[slot] !== routes.empty) slots.push({ expert: found.ids[slot], share: found.shares ? found.shares[slot] / 255 : NaN });
  }
  return slots;
}

/**
 * Which tokens an expert took, a byte each; null where not all are known here.
 * @param {Routes} routes
 * @param {ExpertPlace} place
 */
export function tookOf(routes, { layer, expert }) {
  if (!isWhole(routes)) return null;
  const took = new Uint8Array(routes.tokens);
  for (let token = 0; token < routes.tokens; token++) {
    if (slotsAt(routes, token, layer).some((slot) => slot.expert === expert)) took[token] = 1;
  }
  return took;
}

/**
 * The groups that a token could not choose from: known where its experts fill all groups that may be kept.
 * @param {LayerRule} rule
 * @param {Slot[]} slots
 */
export function excludedGroups({ experts, groups, kept }, slots) {
  if (groups < 2 || kept >= groups) return [];
  const size = experts / groups, used = new Set(slots.map(({ expert }) => Math.floor(expert / size)));
  if (used.size !== kept) return [];
  return Array.from({ length: groups }, (_, group) => group).filter((group) => !used.has(group));
}

/**
 * How often an expert ran, as a multiple of its even share: 1 where all of a layer's run alike, NaN where none ran.
 * @param {Routes} routes
 * @param {ExpertPlace} place
 */
export function loadRatio(routes, { layer, expert }) {
  const rule = routes.layers[layer];
  return (routes.counts[layer * routes.experts + expert] * rule.experts) / (routes.passed[layer] * rule.k);
}
