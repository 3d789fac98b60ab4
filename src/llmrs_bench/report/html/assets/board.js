// The board: one row for each run, sorted by its heads, filtered by words and kind.
function symbolMark(kind) {
  const { color, symbol } = kindLook(kind);
  const type = d3[`symbol${symbol[0].toUpperCase()}${symbol.slice(1)}`] ?? d3.symbolCircle;
  const lines = ["times", "plus"].includes(symbol);
  const svg = d3.create("svg").attr("width", 12).attr("height", 12).attr("viewBox", "-6 -6 12 12").attr("aria-hidden", "true");
  svg.append("path").attr("d", d3.symbol(type, 44)()).attr("fill", lines ? "none" : color).attr("stroke", lines ? color : "none").attr("stroke-width", 2);
  return svg.node();
}

function cellNodes(row, cell) {
  if (!cell) return "";
  const mean = `${cell.as_good_as_best ? "= " : ""}${cell.mean.toFixed(4)}`;
  const spread = isNumber(cell.spread) ? el("small", { title: "Standard deviation over seeds" }, `\u00b1${cell.spread.toFixed(4)}`) : "";
  return [mean, el("small", {}, intervalWords(row, cell)), spread];
}

function metricColumn({ name, sign }) {
  const title = sign > 0 ? "More is better" : sign < 0 ? "Less is better" : "Neither more nor less is better";
  return {
    name, title, numeric: true, first: sign < 0 ? "ascending" : "descending",
    value: (row) => row.cells[name]?.mean,
    cell: (row) => cellNodes(row, row.cells[name]),
    look: (row) => (row.cells[name]?.rank === 1 ? "best" : ""),
  };
}

function shareColumn([key, name]) {
  return { name, title: board.columns[name], numeric: true, value: (row) => row.shares[key], cell: (row) => (isNumber(row.shares[key]) ? percent(row.shares[key]) : "") };
}

// On a phone a long name is one that fits, with what sets the row apart; its details have the setting.
function shortNames(row) {
  if (row.slim === row.label) return [row.model];
  const parts = row.slim.split(/(?<=\.\.|_|=|, )|(?=\+| \()/);
  return [el("span", { class: "wide" }, row.model), el("span", { class: "slim" }, parts.flatMap((part) => [el("wbr"), part.length <= 12 ? el("span", { class: "part" }, part) : part]))];
}

function nameNodes(row) {
  const front = row.pareto ? el("span", { class: "badge", title: "On the Pareto front of quality and cost" }, "* Pareto")
    : row.ahead ? el("span", { class: "badge", title: "Better than all rows on the Pareto front; nobody measured its cost" }, "cost unknown") : "";
  const memory = row.memory ? el("span", { class: "badge", title: row.memory }, "‡ by heart") : "";
  const long = row.slim !== row.label;
  const button = el("button", { type: "button", class: "more", "aria-expanded": "false" }, shortNames(row));
  const apart = row.apart ? el("span", { class: long ? "apart wide" : "apart" }, `, ${row.apart}`) : "";
  const kind = el("span", { class: "kind" }, symbolMark(row.kind), el("span", { class: "word" }, ` ${row.kind}`), apart);
  return el("span", { class: "name" }, button, front, memory, kind, row.setting ? el("small", { class: "setting" }, row.setting) : "", row.answers ? el("small", { class: "answers", title: row.answers }, row.answers) : "");
}

function boardColumns() {
  const costs = board.costs.filter(({ name }) => board.rows.some((row) => isNumber(row.cost[name])));
  const found = differencesFrom(board.key, board.reference), against = labelOf(board.reference);
  // What all rows did is no column: a sentence below says it.
  const [shares, whole] = [false, true].map((all) => board.shares.filter(([key]) => board.rows.every((row) => row.shares[key] === 1) === all));
  byId("board-p").textContent = found.size ? `${board.p_words}.` : "";
  const shown = Object.entries(board.columns).filter(([head]) => head !== "history" || board.rows.some((row) => isNumber(row.history)))
    .filter(([head]) => !whole.some(([, name]) => name === head));
  byId("board-columns").replaceChildren(...shown.flatMap(([head, words]) => [el("b", {}, head[0].toUpperCase() + head.slice(1)), `: ${words}. `]));
  byId("board-front").textContent = board.front;
  byId("board-whole").textContent = whole.length ? `${whole.map(([, name]) => name).join(", ")}: 100 % in all rows.` : "";
  const told = board.rows.some((row) => isNumber(row.history));
  const key = board.metrics.filter(({ name }) => name === board.key), others = board.metrics.filter(({ name }) => name !== board.key);
  const compared = found.size ? [
    { name: `vs ${board.reference_name}`, title: `Difference in ${board.key} from ${against}, paired`, numeric: true, value: (row) => found.get(row.run)?.difference,
      cell: (row) => (found.has(row.run) ? [signed(found.get(row.run).difference), el("small", {}, shortEnds(found.get(row.run)))] : ""),
      look: (row) => (found.has(row.run) ? differenceLook(found.get(row.run), board.key) : "") },
    { name: "p", title: board.p_words, numeric: true, first: "ascending", value: (row) => found.get(row.run)?.corrected,
      cell: (row) => (found.has(row.run) ? pNodes(found.get(row.run)) : "") },
  ] : [];
  return [
    { name: "model", value: (row) => row.label, cell: nameNodes },
    ...key.map(metricColumn),
    ...compared,
    ...others.map(metricColumn),
    ...shares.map(shareColumn),
    ...(told ? [{ name: "history", title: board.columns.history, numeric: true, value: (row) => row.history, cell: (row) => row.history ?? "" }] : []),
    ...costs.map(({ name, head, words, better }) => ({
      name: head, title: words, first: better === "lower" ? "ascending" : "descending", numeric: true,
      value: (row) => row.cost[name], cell: (row) => amount(row.cost[name]),
    })),
  ].map((column) => ({ ...column, cell: (row) => [column.cell(row)].flat().map(asNode) }));
}

const asNode = (value) => (isNumber(value) ? String(value) : value);

function testsOf(row) {
  const rows = board.metrics.filter(({ name }) => row.cells[name]?.versus).map(({ name }) => {
    const v = row.cells[name].versus;
    return [name, v.against, `${v.difference > 0 ? "+" : ""}${v.difference.toFixed(4)}`, pValue(v.p, isLeast(v.p)), correctedWords(v),
      isNumber(v.effect) ? v.effect.toFixed(2) : "", `${v.wins}/${v.ties}/${v.losses}`, isNumber(v.needed) ? v.needed.toLocaleString("en") : ""];
  });
  if (!rows.length) return "";
  return plainTable(["metric", "against the best", "difference", "p", "corrected", "Cohen's d", "won/tied/lost", "users for 80 % power"], rows, "tests");
}

function rowDetail(row) {
  const shares = board.shares.map(([key, name]) => [name, percent(row.shares[key])]);
  const facts = [...(row.setting ? [["setting", row.setting]] : []), ["users", row.users.toLocaleString("en")], ...(row.answers ? [["answers", row.answers]] : []), ...shares, ...row.facts];
  return [testsOf(row), el("dl", {}, facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]))];
}

function showBoard() {
  const kinds = [...new Set(board.rows.map((row) => row.kind))];
  const status = byId("board-status");
  let order = "";
  const made = sortableTable({
    columns: boardColumns(), rows: board.rows, caption: `Board of ${board.title}`, detail: rowDetail,
    sorted: { column: board.key, direction: signOf(board.key) < 0 ? "ascending" : "descending" },
    onSort: (column, direction) => {
      order = `, sorted by ${column.name}, ${direction}`;
      tell();
    },
  });
  byId("board-table").append(made.table);
  byId("kinds-filter").append(...kinds.map((kind) => el("label", {}, el("input", { type: "checkbox", value: kind, checked: true }), symbolMark(kind), kind)));
  const boxes = [...byId("kinds-filter").querySelectorAll("input")];
  let shown = board.rows;

  function tell() {
    status.textContent = `${shown.length} of ${board.rows.length} rows${order}`;
  }

  function filter() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    shown = board.rows.filter((row) => {
      const text = `${row.label} ${row.run} ${row.kind}`.toLowerCase();
      return wanted.has(row.kind) && words.every((word) => text.includes(word));
    });
    made.show(shown);
    tell();
  }

  onLink("board", (asked) => {
    const place = board.rows.findIndex((row) => row.run === asked.get("row"));
    const more = made.table.querySelectorAll(".more")[place];
    if (more?.getAttribute("aria-expanded") === "false") more.click();
  });
  made.table.addEventListener("click", (event) => {
    const more = event.target.closest(".more");
    const row = more && board.rows.find((each) => made.lineOf(each) === more.closest("tr"));
    if (row && more.getAttribute("aria-expanded") === "true") setLink("board", { row: row.run });
  });
  byId("filter").addEventListener("input", filter);
  boxes.forEach((box) => box.addEventListener("change", filter));
  byId("board-controls").addEventListener("submit", (event) => event.preventDefault());
  tell();
}
