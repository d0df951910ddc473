// Drawing: cells, labels and axes on one canvas, cursor and pin on another above it.

/** The code shown by each pixel of one line: the most interesting of the cells under it. */
function poolLine(model, edges, firstRow, endRow, line) {
  const { codes, rank, columnCount } = model;
  for (let pixel = 0; pixel < line.length; pixel++) {
    const from = edges[pixel * 2], to = Math.min(columnCount, edges[pixel * 2 + 1]);
    let best = -2, shown = UNDEFINED;
    for (let row = firstRow; row < endRow; row++) {
      for (let at = row * columnCount + from, stop = row * columnCount + to; at < stop; at++) {
        if (rank[codes[at]] > best) best = rank[(shown = codes[at])];
      }
    }
    line[pixel] = shown;
  }
}

/** The cells as an image of device pixels. */
function cellImage(model, view, palette, width, height) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const columns = pixelEdges(view.left, view.right, width);
  const rows = pixelEdges(view.top, view.bottom, height);
  const line = new Uint8Array(width);
  for (let y = 0; y < height; y++) {
    const [first, end] = [rows[y * 2], Math.min(model.rowCount, rows[y * 2 + 1])];
    if (y > 0 && first === rows[y * 2 - 2] && rows[y * 2 + 1] === rows[y * 2 - 1]) {
      pixels.copyWithin(y * width, (y - 1) * width, y * width);
      continue;
    }
    poolLine(model, columns, first, end, line);
    for (let x = 0; x < width; x++) pixels[y * width + x] = palette.pixels[line[x]];
  }
  return image;
}

/** A diagonal hatch for cells that have no value. */
function hatch(context, theme) {
  const tile = Object.assign(document.createElement("canvas"), { width: 6, height: 6 });
  const pen = tile.getContext("2d");
  pen.fillStyle = css(mix(theme.text, theme.paper, 0.07));
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = css(mix(theme.text, theme.paper, 0.5));
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift - 1, 7);
    pen.lineTo(shift + 7, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

/** Cells, then gaps between them where they are large enough to afford one. */
function paintCells(context, scene) {
  const { model, view, box, palette, theme, ratio } = scene;
  const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
  const buffer = Object.assign(document.createElement("canvas"), { width, height });
  buffer.getContext("2d").putImageData(cellImage(model, view, palette, width, height), 0, 0);
  if (model.hasUndefined) {
    context.fillStyle = hatch(context, theme);
    context.fillRect(box.x, box.y, box.width, box.height);
  }
  context.imageSmoothingEnabled = false;
  context.drawImage(buffer, box.x, box.y, width / ratio, height / ratio);
  paintGaps(context, scene);
  if (model.labels) paintCellLabels(context, scene);
}

/** Hairlines in the colour of the paper between rows and between columns, each exactly on a pixel. */
function paintGaps(context, { model, view, box, theme, ratio }) {
  const snap = (place) => Math.round(place * ratio) / ratio;
  context.fillStyle = css(theme.paper);
  if (cellHeight(box, view) >= 10) {
    for (let row = Math.floor(view.top) + 1; row < view.bottom; row++) context.fillRect(box.x, snap(yOf(box, view, row)), box.width, 1);
  }
  if (cellWidth(box, view) >= 10 && model.scale.palette !== "neutral") {
    for (let column = Math.floor(view.left) + 1; column < view.right; column++) context.fillRect(snap(xOf(box, view, column)), box.y, 1, box.height);
  }
}

/** Runs of cells of one row that share a label, as [first, end, label]; every cell by itself when asked. */
function labelRuns(model, view, row, isEachAlone) {
  const runs = [];
  for (let column = Math.floor(view.left); column < Math.min(model.columnCount, view.right); column++) {
    const label = labelAt(model, row, column), last = runs[runs.length - 1];
    if (last && last[2] === label && !isEachAlone) last[1] = column + 1;
    else runs.push([column, column + 1, label]);
  }
  return runs;
}

/** The labels that have room. On a neutral ground a run of equal labels is named once, between hairlines; on colours each cell is. */
function paintCellLabels(context, scene) {
  const { model, view, box, theme } = scene;
  const isNeutral = model.scale.palette === "neutral";
  if (cellWidth(box, view) < (isNeutral ? 1.5 : 10) || cellHeight(box, view) < 6) return;
  Object.assign(context, { font: `11px ${theme.font}`, textAlign: "center", textBaseline: "middle" });
  for (let row = Math.floor(view.top); row < Math.min(model.rowCount, view.bottom); row++) {
    for (const run of labelRuns(model, view, row, !isNeutral)) paintRun(context, scene, row, run, isNeutral);
  }
}

/** One label in the middle of the part of its run that is on screen. */
function paintRun(context, { model, view, box, palette, theme }, row, [first, end, label], isNeutral) {
  const start = Math.max(box.x, xOf(box, view, first)), stop = Math.min(box.x + box.width, xOf(box, view, end));
  const height = cellHeight(box, view), text = label === null ? "" : String(label);
  if (isNeutral && start > box.x) {
    context.fillStyle = css(theme.muted);
    context.fillRect(Math.round(start), yOf(box, view, row) + 1, 1, height - 1);
  }
  if (height < 11 || context.measureText(text).width + 3 > stop - start) return;
  context.fillStyle = isNeutral ? css(theme.text) : palette.inks[codeAt(model, row, first)];
  context.fillText(text, (start + stop) / 2 + 0.5, yOf(box, view, row + 0.5) + 1);
}

/** Shorten a text to a width in pixels. */
function cut(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = [...text];
  while (kept.length > 1 && context.measureText(kept.join("") + "…").width > width) kept = kept.slice(0, -1);
  return kept.join("") + "…";
}

/** Width of the longest row name, within reason. */
function gutterWidth(context, model, theme, width) {
  context.font = `12px ${theme.font}`;
  const longest = Array.from({ length: model.rowCount }, (_, row) => nameOf(model.rows, row)).reduce((a, b) => (b.length > a.length ? b : a), "");
  const needed = Math.max(...[longest, model.rows.noun, model.columns.noun].map((text) => context.measureText(text).width));
  return Math.ceil(Math.min(needed, width * 0.28)) + 10;
}

/** Names of the rows, as many as fit without touching. */
function paintRowNames(context, { model, view, box, theme }) {
  Object.assign(context, { font: `12px ${theme.font}`, textAlign: "right", textBaseline: "middle", fillStyle: css(theme.muted) });
  const height = cellHeight(box, view);
  const step = height >= 12.5 ? 1 : niceStep(20 / height);
  for (let row = Math.ceil(view.top / step) * step; row < Math.min(model.rowCount, view.bottom); row += step) {
    const y = clamp(yOf(box, view, row + 0.5), box.y + 5, box.y + box.height - 5);
    context.fillText(cut(context, nameOf(model.rows, row), box.x - 8), box.x - 8, y + 0.5);
  }
  context.textBaseline = "top";
  context.fillText(cut(context, model.rows.noun, box.x - 8), box.x - 8, 1);
}

/** Ticks below the columns: the tokens themselves where they have room, else their numbers. */
function paintTicks(context, { model, view, box, theme }) {
  Object.assign(context, { font: `12px ${theme.font}`, textBaseline: "top", fillStyle: css(theme.muted), strokeStyle: css(theme.faint) });
  const width = cellWidth(box, view), y = box.y + box.height;
  const inWords = Boolean(model.pieces || model.columns.labels) && width >= 34;
  const step = inWords ? 1 : niceStep(tickRoom(context, model) / width);
  context.textAlign = "center";
  for (let column = Math.ceil(view.left / step) * step; column < Math.min(model.columnCount, view.right); column += step) {
    const x = xOf(box, view, column + 0.5);
    if (x > box.x + box.width) break;
    context.fillRect(Math.round(x) - 0.5, y + 1, 1, 4);
    const text = model.pieces && inWords ? visible(model.pieces[column]) : nameOf(model.columns, column);
    const beyond = x + context.measureText(text).width / 2 - (box.x + box.width);
    if (inWords) context.fillText(cut(context, text, width - 4), x, y + 8);
    else if (beyond < 16) context.fillText(text, x - Math.max(0, beyond), y + 8);
  }
  context.textAlign = "right";
  context.fillText(cut(context, model.columns.noun, box.x - 8), box.x - 8, y + 8);
}

/** Pixels one tick needs: the longest column name and some air. */
function tickRoom(context, model) {
  const last = nameOf(model.columns, model.columnCount - 1);
  const longest = model.columns.labels ? model.columns.labels.reduce((a, b) => (b.length > a.length ? b : a), "") : last;
  return Math.min(120, context.measureText(longest).width + 22);
}

/** A line below the cells whose heavy part is what the window shows of all columns. */
function paintWindow(context, { model, view, box, theme }) {
  if (view.right - view.left > model.columnCount - 0.01) return;
  const y = box.y + box.height + AXIS_HEIGHT;
  context.fillStyle = css(theme.faint);
  context.fillRect(box.x, y, box.width, 2);
  context.fillStyle = css(theme.accent);
  const start = (view.left / model.columnCount) * box.width, span = ((view.right - view.left) / model.columnCount) * box.width;
  context.fillRect(box.x + start, y - 1, Math.max(6, span), 4);
}

/** The whole matrix. */
function paintMatrix(context, scene) {
  paintCells(context, scene);
  paintRowNames(context, scene);
  paintTicks(context, scene);
  paintWindow(context, scene);
}

/** The rectangle of a cell on screen, at least so large that a ring around it can be seen; the whole column when row is null. */
function cellRectangle({ view, box }, cell, least) {
  const width = Math.max(least, cellWidth(box, view)), height = Math.max(least, cellHeight(box, view));
  const x = xOf(box, view, cell.column + 0.5) - width / 2;
  if (cell.row === null) return [x, box.y, width, box.height];
  return [x, yOf(box, view, cell.row + 0.5) - height / 2, width, height];
}

const inView = (view, cell) => cell.column + 1 > view.left && cell.column < view.right && (cell.row === null || (cell.row + 1 > view.top && cell.row < view.bottom));

/** One ring, outside of a rectangle by so many pixels. */
function ring(context, [x, y, width, height], out, thickness, colour) {
  Object.assign(context, { strokeStyle: colour, lineWidth: thickness });
  context.strokeRect(x - out, y - out, width + 2 * out, height + 2 * out);
}

/** Bars at both axes beside the row and the column of a cell. */
function paintAxisMarks(context, { box }, [x, y, width, height], colour) {
  context.fillStyle = colour;
  context.fillRect(box.x - 5, y, 3, height);
  context.fillRect(x, box.y + box.height + 2, width, 3);
}

/** The pinned cell: white inside accent inside paper, so that it stands out on any colour and in any theme. */
function paintPin(context, scene, pin) {
  if (!pin || !inView(scene.view, pin)) return;
  const rectangle = cellRectangle(scene, pin, 5);
  ring(context, rectangle, 5, 1, css(scene.theme.paper));
  ring(context, rectangle, 3.5, 2.5, css(scene.theme.accent));
  ring(context, rectangle, 1.25, 2.5, "#fff");
  if (pin.row !== null) paintAxisMarks(context, scene, rectangle, css(scene.theme.accent));
}

/** The cursor: hairlines along its row and column, bars at the axes and a ring around the cell. */
function paintCursor(context, scene, cursor) {
  if (!cursor || !inView(scene.view, cursor)) return;
  const { box, theme } = scene;
  const [x, y, width, height] = cellRectangle(scene, cursor, 4);
  if (cursor.row !== null) {
    paintAxisMarks(context, scene, [x, y, width, height], css(theme.text));
    ring(context, [x, box.y - 4, width, box.height + 6], 0, 1, `rgba(${theme.paper.join(",")},0.75)`);
    ring(context, [box.x - 2, y, box.width + 6, height], 0, 1, `rgba(${theme.paper.join(",")},0.75)`);
  }
  ring(context, [x, y, width, height], 1.5, 1.5, css(theme.paper));
  ring(context, [x, y, width, height], 0, 1.5, css(theme.text));
}

/** Cursor and pin, kept inside the plot. */
function paintMarks(context, scene, pin, cursor) {
  const { box } = scene;
  context.save();
  context.beginPath();
  context.rect(box.x - 6, 0, box.width + 12, box.y + box.height + 6);
  context.clip();
  paintCursor(context, scene, cursor);
  paintPin(context, scene, pin);
  context.restore();
}

/** The palette as a bar, a notch at the null value. */
function paintLegend(context, scene, width, height) {
  const { model: { scale }, palette, theme } = scene;
  for (let x = 0; x < width; x++) {
    context.fillStyle = palette.fills[Math.round((x / Math.max(1, width - 1)) * LAST)];
    context.fillRect(x, 0, 1, height);
  }
  if (scale.null === null || scale.null < scale.low || scale.null > scale.high) return;
  const x = ((scale.null - scale.low) / (scale.high - scale.low)) * width;
  context.fillStyle = css(theme.paper);
  context.fillRect(x - 2.5, 0, 5, height);
  context.fillStyle = css(theme.text);
  context.fillRect(x - 1, 0, 2, height);
}
