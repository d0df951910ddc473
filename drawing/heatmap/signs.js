// The characters of tokens and names, made visible.

/** @type {Record<string, string>} */
const MARKS = { " ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u00a0": "⍽", "\u007f": "␡" };
const HIDDEN = /[\p{C}\p{Z}\u00ad\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u;
export const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const COMBINING = /^(?!\p{Variation_Selector})\p{M}/u;

/**
 * One character as it is shown: white space as a sign, anything else that would not be seen, or would move its neighbours, as its code.
 * @param {string} character
 */
function signOfCharacter(character) {
  if (MARKS[character] || !HIDDEN.test(character)) return MARKS[character] ?? character;
  const code = character.codePointAt(0) ?? 0;
  return code < 32 ? String.fromCodePoint(0x2400 + code) : `‹${code.toString(16).toUpperCase().padStart(4, "0")}›`;
}

/**
 * A token as [text, isFaint] runs: the signs of white space are faint, everything else is not.
 * @param {string} piece
 * @returns {[text: string, isFaint: boolean][]}
 */
export function visibleRuns(piece) {
  if (/^[!-~]+$/.test(piece)) return [[piece, false]];
  /** @type {[string, boolean][]} */
  const runs = piece === "" ? [["∅", true]] : COMBINING.test(piece) ? [["◌", false]] : [];
  for (const character of piece) {
    const isFaint = character in MARKS, last = runs[runs.length - 1];
    if (last && last[1] === isFaint) last[0] += signOfCharacter(character);
    else runs.push([signOfCharacter(character), isFaint]);
  }
  return runs;
}

/** @type {(piece: string) => string} */
export const visible = (piece) => visibleRuns(piece).map(([text]) => text).join("");

/**
 * A name of a row or column: its blanks stay blanks, hidden characters are shown.
 * @param {string} name
 */
export const plainSigns = (name) => [...name].map((character) => (character === " " ? " " : signOfCharacter(character))).join("");
