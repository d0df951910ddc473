// The tokens as running text, each on the colour of its value.

/** One token. Its text enters as text, never as markup. */
function tokenElement(model, column) {
  const element = document.createElement("span");
  const words = flagWords(model, column);
  element.className = ["token", ...words].join(" ");
  element.dataset.column = column;
  for (const [text, isMark] of visibleRuns(model.pieces[column])) {
    if (isMark) element.appendChild(document.createElement("i")).textContent = text;
    else element.append(text);
  }
  return element;
}

/** All tokens; the line breaks where the text does. */
function buildText(container, model) {
  const fragment = document.createDocumentFragment();
  const tokens = [];
  for (let column = 0; column < model.columnCount; column++) {
    tokens.push(fragment.appendChild(tokenElement(model, column)));
    if (model.pieces[column].includes("\n")) fragment.append(document.createElement("br"));
  }
  container.replaceChildren(fragment);
  return tokens;
}

/** The code a token is coloured by: its value in the pinned row, else the extreme of its column. */
function tokenCode(model, column, pinnedRow) {
  const row = pinnedRow ?? extremeRow(model, column);
  return row === null ? UNDEFINED : codeAt(model, row, column);
}

/** Colour every token whose code changed. */
function colourText(tokens, model, palette, pinnedRow) {
  tokens.forEach((element, column) => {
    const code = tokenCode(model, column, pinnedRow);
    const fill = palette.fills[code];
    if (element.fill === fill) return;
    element.fill = fill;
    element.style.setProperty("--fill", fill);
    element.style.setProperty("--ink", palette.inks[code]);
    element.classList.toggle("undefined", code === UNDEFINED);
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

/** Move a mark ("hovered", "pinned") to another token. */
function moveMark(tokens, mark, from, to) {
  if (from !== null && tokens[from]) tokens[from].classList.remove(mark);
  if (to !== null && tokens[to]) tokens[to].classList.add(mark);
}

/** Scroll the text, not the page, just so far that the token can be seen. */
function revealToken(container, element) {
  if (!element) return;
  const top = element.offsetTop - container.offsetTop, bottom = top + element.offsetHeight;
  if (top < container.scrollTop) container.scrollTop = top - 8;
  else if (bottom > container.scrollTop + container.clientHeight) container.scrollTop = bottom - container.clientHeight + 8;
}

/** What the colours of the text show, in words. */
function textCaption(model, pinnedRow) {
  const { name, pool } = model.scale;
  if (pinnedRow !== null) return `${name} in ${model.rows.noun} ${nameOf(model.rows, pinnedRow)}`;
  const extreme = { max: "largest", min: "smallest", far: "most unusual" }[pool];
  return model.rowCount === 1 ? name : `${extreme} ${name} over all ${model.rows.noun}s`;
}
