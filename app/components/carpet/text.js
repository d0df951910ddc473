// The tokens as running text, each on the colour of its value.

/** One token. Its text enters as text, never as markup. */
function tokenElement(model, column) {
  const element = document.createElement("span");
  const words = flagWords(model, column);
  element.className = ["token", ...words].join(" ");
  element.dataset.column = column;
  if (RIGHT_TO_LEFT.test(model.pieces[column])) element.dir = "auto";
  for (const [text, isFaint] of visibleRuns(model.pieces[column])) {
    if (isFaint) element.appendChild(document.createElement("i")).textContent = text;
    else element.append(text);
  }
  return element;
}

const SHORT_TEXT = 1024;
const CHUNK = 200;

/** All tokens; a new line begins where the text does. Long texts also break at every chunk, so that the browser can skip what is out of sight. */
function buildText(container, model) {
  const limit = model.columnCount > SHORT_TEXT ? CHUNK : SHORT_TEXT + 1;
  const lines = [], tokens = [];
  for (let column = 0, inLine = limit; column < model.columnCount; column++, inLine++) {
    if (inLine >= limit) {
      lines.push(Object.assign(document.createElement("div"), { className: "line" }));
      inLine = 0;
    }
    tokens.push(lines[lines.length - 1].appendChild(tokenElement(model, column)));
    if (model.pieces[column].includes("\n")) inLine = limit;
  }
  container.replaceChildren(...lines);
  return tokens;
}

/** The tone a token is coloured by: its value in the pinned row, else the extreme of its column. */
function tokenTone(model, column, pinnedRow) {
  return toneAt(model, pinnedRow ?? model.extremeRows[column], column);
}

/** Colour every token whose tone changed. */
function colourText(tokens, model, palette, pinnedRow) {
  tokens.forEach((element, column) => {
    const tone = tokenTone(model, column, pinnedRow);
    const fill = palette.fills[tone];
    if (element.fill === fill) return;
    element.fill = fill;
    element.style.setProperty("--fill", fill);
    element.style.setProperty("--ink", palette.inks[tone]);
    element.classList.toggle("undefined", tone === UNDEFINED);
  });
}

/** Where colour says nothing, the label of the pinned row stands behind each token. */
function labelText(tokens, model, pinnedRow) {
  const isShown = model.labels && model.scale.palette === "neutral" && pinnedRow !== null;
  tokens.forEach((element, column) => {
    const label = isShown ? labelAt(model, pinnedRow, column) : null;
    if (label !== null) element.dataset.label = label;
    else if (element.dataset.label) delete element.dataset.label;
  });
}

/** Tokens outside the window of the matrix keep only an underline of their colour. */
function markWindow(tokens, view) {
  const [first, end] = [Math.floor(view.left), Math.ceil(view.right)];
  tokens.forEach((element, column) => {
    const outside = column < first || column >= end;
    if (element.outside === outside) return;
    element.outside = outside;
    element.classList.toggle("outside", outside);
  });
}

/** Tokens of the selected range are outlined. */
function markSpan(tokens, span) {
  tokens.forEach((element, column) => {
    const inside = span !== null && column >= span.first && column <= span.last;
    if (Boolean(element.inSpan) === inside) return;
    element.inSpan = inside;
    element.classList.toggle("selected", inside);
  });
}

/** Move a mark ("hovered", "pinned") to another token. */
function moveMark(tokens, mark, from, to) {
  if (from !== null && tokens[from]) tokens[from].classList.remove(mark);
  if (to !== null && tokens[to]) tokens[to].classList.add(mark);
}

/** Scroll the text, not the page, just so far that the token can be seen; again when lines that were skipped turn out higher. */
function revealToken(container, element, tries = 4) {
  if (!element) return;
  const box = container.getBoundingClientRect(), token = element.getBoundingClientRect();
  const above = token.top - box.top - 8, below = token.bottom - box.top - container.clientHeight + 8;
  if (above < 0) container.scrollTop += above;
  else if (below > 0) container.scrollTop += below;
  else return;
  if (tries > 1) requestAnimationFrame(() => revealToken(container, element, tries - 1));
}

/** What the colours of the text show, in words. */
function textCaption(model, pinnedRow) {
  const { name, palette } = model.scale;
  const place = pinnedRow === null ? null : `in ${model.rows.noun} ${nameOf(model.rows, pinnedRow)}`;
  if (palette === "neutral") return place ? `The number behind each token: ${name} ${place}` : `Pin a cell to see its ${model.rows.noun} in the text`;
  if (place || model.rowCount === 1) return `Text coloured by ${name} ${place ?? ""}`;
  return `Text coloured by the ${extremeWord(model)} ${name} over all ${model.rows.noun}s`;
}
