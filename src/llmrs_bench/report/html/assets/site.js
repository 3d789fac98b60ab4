// The index of a site: its boards, what changed on them, and all of their rows.
const site = JSON.parse(byId("site-data").textContent);
const OUTCOMES = [
  ["", "all"],
  ["better", "language model is better"],
  ["worse", "language model is worse"],
  ["unsure", "cannot be told apart"],
  ["none", "no language model"],
];

function outcomeOf(board) {
  if (!board.gap) return "none";
  if (board.gap.corrected >= site.alpha) return "unsure";
  return board.gap.difference * board.sign > 0 ? "better" : "worse";
}

function signed(value, digits = 4) {
  const text = Math.abs(value).toFixed(digits);
  return `${value < 0 ? "\u2212" : "+"}${digits < 4 ? text.replace(/^0\./, ".") : text}`;
}

function named(row, none) {
  if (!row) return el("span", { class: "unsure" }, none);
  const ends = isNumber(row.low) && !row.exact ? ` (${short(row.low)}\u2013${short(row.high)})` : "";
  return el("span", {}, row.label, el("small", {}, `${row.mean.toFixed(4)}${ends}`));
}

function gapOf(board) {
  if (!board.gap) return "";
  const { difference, low, high, corrected, least } = board.gap;
  const ends = isNumber(low) ? `${signed(low, 3)} to ${signed(high, 3)}, ` : "";
  return el("span", { class: outcomeOf(board) }, signed(difference), el("small", {}, `${ends}p ${pValue(corrected, least)}`));
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Points of both lines stand as far apart as their times.
function trendOf({ trend, key }) {
  if (trend.length < 2) return "";
  const times = trend.map(([made]) => Date.parse(made)), values = trend.flatMap(([, ...means]) => means.filter(isNumber));
  const [width, height, edge] = [120, 34, 4], least = Math.min(...values), span = Math.max(...values) - least || 1;
  const length = times.at(-1) - times[0];
  const x = (at) => edge + (width - 2 * edge) * (length ? (times[at] - times[0]) / length : at / (times.length - 1));
  const y = (value) => height - edge - ((height - 2 * edge) * (value - least)) / span;
  const words = (name, at) => {
    const means = trend.map((point) => point[at]).filter(isNumber);
    return means.length ? `${name} ${means[0].toFixed(4)} to ${means.at(-1).toFixed(4)}` : "";
  };
  const said = [words("language model", 1), words("other", 2)].filter(Boolean).join(", ");
  const lines = [[1, "var(--lm)"], [2, "var(--rec)"]].flatMap(([which, color]) => {
    const spots = trend.map((point, at) => [at, point[which]]).filter(([, value]) => isNumber(value)).map(([at, value]) => [x(at), y(value)]);
    if (!spots.length) return [];
    return [
      svg("polyline", { points: spots.map((spot) => spot.join(",")).join(" "), fill: "none", stroke: color, "stroke-width": 2 }),
      svg("circle", { cx: spots.at(-1)[0], cy: spots.at(-1)[1], r: 3, fill: color }),
    ];
  });
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${key} over ${trend.length} times: ${said}` }, ...lines);
}

const day = (made) => made.slice(0, 10);
const ALL_COLUMNS = [
  {
    name: "board",
    value: (board) => board.name,
    cell: (board) => el("span", {}, el("a", { href: board.link }, board.name), el("small", {}, `${board.size}, ${board.key}`)),
  },
  { name: "language model", value: (board) => board.ours?.mean ?? null, first: "descending", cell: (board) => named(board.ours, board.stand_in ? "none: mock reads nothing" : "none") },
  { name: "other model", value: (board) => board.other?.mean ?? null, first: "descending", cell: (board) => named(board.other, "none") },
  { name: "difference", numeric: true, value: (board) => board.gap?.difference ?? null, cell: gapOf },
  { name: "warnings", numeric: false, value: (board) => board.cautions.length, first: "descending", cell: cautionsOf },
  { name: "cost of ranking", title: "Of 1,000 users, or rows of clicks and ratings, without training", numeric: true, value: (board) => board.ours?.seconds ?? null, first: "ascending", cell: costOf },
  { name: "trend", value: (board) => board.trend.length, first: "descending", cell: trendOf, leftOut: () => site.boards.every((board) => board.trend.length < 2) },
  { name: "results of", value: (board) => board.made, first: "descending", cell: (board) => day(board.made) },
];

const COLUMNS = ALL_COLUMNS.filter(({ leftOut }) => !leftOut?.());

// Why the place of the best model is doubtful: in a few words, and opened in whole sentences.
function cautionsOf({ cautions }) {
  if (!cautions.length) return "";
  const words = [...new Set(cautions.map(([word]) => word))].join(", ");
  return el("details", { class: "cautions" }, el("summary", {}, words), el("ul", {}, cautions.map(([, said]) => el("li", {}, said))));
}

// What both models cost, that of the language model first.
function costOf({ ours, other, unit }) {
  const words = (row) => [`${amount(row.seconds)} s`, ...(isNumber(row.price) ? [`${amount(row.price)} USD`] : [])].join(", ");
  const [first, second] = [ours, other].map((row) => (row && isNumber(row.seconds) ? words(row) : ""));
  const small = [second ? `other ${second}` : "", first || second ? `for 1,000 ${unit}` : ""].filter(Boolean);
  return el("span", {}, first, small.map((line) => el("small", {}, line)));
}

// On a phone a board is a card, whose fields say what they are.
function asCards(table, rows, columns) {
  table.table.className = "cards";
  table.table.setAttribute("role", "table");
  for (const row of rows) {
    const line = table.lineOf(row);
    line.setAttribute("role", "row");
    [...line.children].forEach((cell, place) => {
      cell.setAttribute("role", place ? "cell" : "rowheader");
      cell.dataset.head = columns[place].name;
    });
  }
}

function showSite() {
  byId("made").textContent = site.made;
  byId("notes").append(...site.notes.map((line) => el("li", {}, line)));
  fillSelect(byId("outcome"), OUTCOMES, "");
  const tasks = [...new Set(site.boards.map((board) => board.task))];
  fillSelect(byId("task"), [["", "all"], ...tasks.map((task) => [task, task])], "");
  byId("task").parentElement.hidden = tasks.length < 2;
  fillSelect(byId("order"), COLUMNS.map(({ name }) => [name, name]), "board");
  const boards = sortableTable({
    columns: COLUMNS, rows: site.boards, caption: "Boards", sorted: { column: "board" },
    onSort: (column) => { byId("order").value = column.name; },
  });
  byId("trend-key").hidden = !COLUMNS.some(({ name }) => name === "trend");
  asCards(boards, site.boards, COLUMNS);
  byId("boards-table").append(boards.table);
  const all = site.boards.flatMap((board) => board.rows.map((row) => ({ ...row, board })));
  const rows = sortableTable({
    columns: [
      { name: "model", value: (row) => row.label, cell: (row) => row.label },
      { name: "kind", value: (row) => row.kind, cell: (row) => row.kind },
      { name: "board", value: (row) => row.board.name, cell: (row) => el("a", { href: row.board.link }, row.board.name) },
      { name: "metric", value: (row) => row.board.key, cell: (row) => row.board.key },
      { name: "mean", numeric: true, value: (row) => row.mean, cell: (row) => row.mean.toFixed(4) },
      { name: "95 % interval", value: (row) => row.low, numeric: true, cell: (row) => (isNumber(row.low) && !row.exact ? `${short(row.low)}\u2013${short(row.high)}` : "exact") },
      { name: "place", numeric: true, first: "ascending", value: (row) => row.rank || null, cell: (row) => (row.rank ? `${row.rank} of ${row.board.rows.length}` : "") },
    ],
    rows: all, caption: "Rows of all boards", sorted: { column: "board" },
  });
  byId("rows-table").append(rows.table);
  const jumps = site.boards.flatMap((board) => board.jumps.map((jump) => [
    el("a", { href: board.link }, board.name), jump.row, `${day(jump.from)} to ${day(jump.to)}`, signed(jump.difference), isNumber(jump.p) ? pValue(jump.p) : "intervals apart",
  ]));
  if (jumps.length) {
    byId("changes").hidden = false;
    byId("changes-table").append(plainTable(["board", "row", "when", "change", "p"], jumps));
  }
  const filter = () => {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const holds = (text) => words.every((word) => text.toLowerCase().includes(word));
    const chosen = site.boards.filter((board) =>
      (!byId("outcome").value || outcomeOf(board) === byId("outcome").value) && (!byId("task").value || board.task === byId("task").value));
    const shown = chosen.filter((board) => holds(`${board.name} ${board.rows.map((row) => row.label).join(" ")}`));
    boards.show(shown);
    byId("boards-status").textContent = `${shown.length} of ${site.boards.length} ${site.boards.length === 1 ? "board" : "boards"}`;
    const lines = all.filter((row) => chosen.includes(row.board) && holds(`${row.board.name} ${row.label}`));
    rows.show(lines);
    byId("rows-status").textContent = `${lines.length} of ${all.length} rows`;
    const state = Object.fromEntries(["filter", "outcome", "task"].map((id) => [id, byId(id).value]).filter(([, value]) => value));
    history.replaceState(null, "", Object.keys(state).length ? `#boards?${new URLSearchParams(state)}` : location.pathname + location.search);
  };
  for (const id of ["filter", "outcome", "task"]) byId(id).addEventListener("input", filter);
  byId("order").addEventListener("change", () => {
    const place = COLUMNS.findIndex(({ name }) => name === byId("order").value);
    boards.table.querySelectorAll("thead button")[place].click();
  });
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  for (const [id, value] of new URLSearchParams(location.hash.split("?")[1] ?? "")) {
    if (["filter", "outcome", "task"].includes(id)) byId(id).value = value;
  }
  filter();
}

showTheme();
showSite();
fadeWhereCut();
document.documentElement.dataset.ready = "all";
