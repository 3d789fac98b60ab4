// What all charts share: they are drawn anew when their width changes, and take their colours from the style sheet.
const drawn = new Map();
const widths = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const chart = drawn.get(target);
    if (chart && Math.abs(chart.width - contentRect.width) > 1) draw(target, chart.render);
  }
});

function draw(place, render) {
  const width = place.clientWidth;
  drawn.set(place, { render, width });
  if (width) {
    const made = render(width);
    const svg = made.matches("svg") ? made : made.querySelector("svg");
    svg?.setAttribute("role", "img");  // its label says what it shows, and a table or the board has the numbers
    svg?.querySelectorAll("g").forEach((group) => group.setAttribute("aria-hidden", "true"));
    place.replaceChildren(made);
  }
  widths.observe(place);
}

function legend(place, entries) {
  place.replaceChildren(...entries.map(([mark, text]) => el("span", {}, mark, text)));
}

const kindLegend = (place, rows) => legend(place, [...new Set(rows.map((row) => row.kind))].map((kind) => [symbolMark(kind), kind]));

function swatch(color) {
  const svg = d3.create("svg").attr("width", 12).attr("height", 12).attr("aria-hidden", "true");
  svg.append("rect").attr("width", 12).attr("height", 12).attr("rx", 2).attr("fill", color);
  return svg.node();
}

// Marks of rows, one for each kind: shapes and colours are constants of a mark, so that the style sheet decides.
function dots(rows, options) {
  return d3.groups(rows, (row) => row.kind).map(([kind, own]) => {
    const { color, symbol } = kindLook(kind);
    const lines = ["times", "plus"].includes(symbol);
    return Plot.dot(own, { ...options, symbol, r: 4.5, fill: lines ? "none" : color, stroke: lines ? color : "var(--ground)", strokeWidth: lines ? 2 : 1 });
  });
}

const tipStyle = { fill: "var(--raised)", stroke: "var(--faint)", fontSize: 12, lineWidth: 26, textPadding: 8 };
const BASE = { style: { background: "none", color: "inherit", fontFamily: "inherit", fontSize: "12px" } };

// Names of rows: beside the chart, or where it is narrow above each row, whose marks then go down by `shift`.
function rowNames(rows, width) {
  const options = { fontSize: 12, textOverflow: "ellipsis-middle" };
  if (width < 560) {
    const names = Plot.text(rows, { ...options, y: "run", text: "short", frameAnchor: "left", textAnchor: "start", dy: -11, lineWidth: (width - 24) / 12, fill: "var(--ink)", stroke: "var(--ground)", strokeWidth: 4 });
    return { room: 8, step: 40, shift: 7, names: [Plot.axisY({ ticks: [], label: null }), names] };
  }
  const room = Math.min(300, Math.max(104, width * 0.36));
  const labels = new Map(rows.map((row) => [row.run, row.beside]));
  const axis = Plot.axisY({ ...options, lineWidth: (room - 14) / 12, tickSize: 0, tickPadding: 8, label: null, tickFormat: (run) => labels.get(run) });
  return { room, step: 22, shift: 0, names: [axis] };
}

// Each label goes to a side of its point where it covers no point and no label; where there is none, a number stands there.
// Points are [{x, y, text, front}] in pixels, the most important first. Returned are those with a place: their label is
// `words`, and `number` is what a key below the chart explains; numbers without a place are in that key alone.
function placeLabels(points, left, width) {
  const placed = points.map(({ x, y }) => ({ left: x - 4, right: x + 4, top: y - 4, bottom: y + 4 }));
  const place = (point, words, reach) => {
    const size = Math.min(words.length * 6.4, 0.5 * width);
    const sides = [[false, -9], [true, -9], [false, 11], [true, 11]].map(([end, dy]) => {
      const start = end ? point.x - reach - size : point.x + reach;
      return { end, dy, left: start, right: start + size, top: point.y + dy - 7, bottom: point.y + dy + 7 };
    });
    const free = sides.find((side) => side.left >= left && side.right <= width
      && !placed.some((other) => side.left < other.right && other.left < side.right && side.top < other.bottom && other.top < side.bottom));
    if (free) placed.push(free);
    Object.assign(point, free && { end: free.end, dy: free.dy, words, reach });
    return Boolean(free);
  };
  const rest = points.filter((point) => !place(point, point.text, 12));
  rest.forEach((point, at) => {
    point.number = at + 1;
    place(point, String(at + 1), 7);
  });
  return points;
}
