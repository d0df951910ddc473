// A trace as a page of its own: everything it needs stands in the file.

import { drawTrace } from "./trace.js";

/** @param {string} id */
const textOf = (id) => document.getElementById(id)?.textContent ?? "";
/** @param {string} id */
const bytesOf = (id) => Uint8Array.from(atob(textOf(id).trim()), (character) => character.charCodeAt(0));

drawTrace({ quantities: JSON.parse(textOf("about")).quantities, bytesOf, routes: bytesOf("routes") }, document, document.documentElement);
