// The difference of every row from a chosen one: a forest plot and the same values as a table.
const signed = (value) => `${value < 0 ? "\u2212" : value > 0 ? "+" : ""}${Math.abs(value).toFixed(4)}`;

// By run: the difference of a row from the one of `against`, as the board was computed; nothing is computed here but a sign.
function differencesFrom(metric, against) {
  const place = board.rows.findIndex((row) => row.run === against), found = new Map();
  for (const [i, j, difference, low, high, p, corrected, primary] of board.differences[metric] ?? []) {
    const shared = { p, corrected, primary: Boolean(primary) };
    if (j === place) found.set(board.rows[i].run, { difference, low, high, ...shared });
    else if (i === place) found.set(board.rows[j].run, { difference: -difference, low: isNumber(high) ? -high : high, high: isNumber(low) ? -low : low, ...shared });
  }
  return found;
}

const signedShort = (value) => signed(value).replace(/0\.(\d{4})$/, (_, digits) => short(Number(`0.${digits}`)));
const shortEnds = (found) => (isNumber(found.low) ? `${signedShort(found.low)} to ${signedShort(found.high)}` : "no interval");
const isCertain = (found) => found.corrected < board.alpha;
const differenceEnds = (found) => (isNumber(found.low) ? `${signed(found.low)} to ${signed(found.high)}` : "no interval");
const differenceLook = (found, metric) => (!isCertain(found) ? "unsure" : found.difference * (signOf(metric) || 1) > 0 ? "better" : "worse");
const isLeast = (p) => board.permutations > 0 && p * (board.permutations + 1) < 1.5;
const correctedWords = (found) => pValue(found.corrected, isLeast(found.p));
const pNodes = (found) => [correctedWords(found), found.primary || !board.family ? "" : el("small", {}, "exploratory")];

function forestChart(metric, against, width) {
  const found = differencesFrom(metric, against), sign = signOf(metric) || 1;
  const rows = board.rows.filter((row) => found.has(row.run)).sort((a, b) => sign * (found.get(b.run).difference - found.get(a.run).difference));
  const { room, step, shift, names } = rowNames(rows, width);
  const of = (row) => found.get(row.run), ends = rows.filter((row) => isNumber(of(row).low));
  const label = `difference in ${metric} from ${labelOf(against)}`;
  return Plot.plot({
    ...BASE, width, height: rows.length * step + 54, marginLeft: room, marginRight: 24, marginTop: 8, marginBottom: 40,
    ariaLabel: `${label} of ${rows.length} rows with 95 % intervals; the numbers are in the table`,
    x: { label: width < 560 ? `difference in ${metric}` : label, labelAnchor: "center", labelArrow: "none", grid: true, nice: true, ticks: Math.max(3, Math.round((width - room) / 90)), domain: d3.extent([0, ...rows.flatMap((row) => [of(row).difference, of(row).low ?? 0, of(row).high ?? 0])]) },
    y: { domain: rows.map((row) => row.run) },
    marks: [
      ...names,
      Plot.ruleX([0], { stroke: "var(--ink)", strokeWidth: 1.2 }),
      ...d3.groups(ends, (row) => `${row.kind}|${isCertain(of(row))}`).map(([, own]) =>
        Plot.ruleY(own, { y: "run", x1: (row) => of(row).low, x2: (row) => of(row).high, stroke: kindLook(own[0].kind).color, strokeWidth: 2, strokeOpacity: isCertain(of(own[0])) ? 1 : 0.5, dy: shift })),
      ...dots(rows, { x: (row) => of(row).difference, y: "run", dy: shift }),
      Plot.tip(rows, Plot.pointerY({ x: (row) => of(row).difference, y: "run", title: (row) => `${row.label}\n${signed(of(row).difference)} (${differenceEnds(of(row))})\np ${correctedWords(of(row))}, ${of(row).primary ? "primary" : "exploratory"}`, ...tipStyle })),
    ],
  });
}

function differenceTable(metric, against) {
  const found = differencesFrom(metric, against), rows = board.rows.filter((row) => found.has(row.run));
  const of = (row) => found.get(row.run), sign = signOf(metric) || 1;
  return sortableTable({
    columns: [
      { name: "model", value: (row) => row.label, cell: (row) => el("span", { class: "name" }, shortNames(row), row.apart ? el("small", { class: row.slim === row.label ? "flush" : "flush wide" }, row.apart) : "") },
      { name: "difference", numeric: true, value: (row) => of(row).difference, cell: (row) => [signed(of(row).difference), el("small", {}, differenceEnds(of(row)))], look: (row) => differenceLook(of(row), metric) },
      { name: "corrected p", title: "Corrected over its family", numeric: true, first: "ascending", value: (row) => of(row).corrected, cell: (row) => [correctedWords(of(row))] },
      { name: "p", title: "Of the paired test, by itself", numeric: true, first: "ascending", value: (row) => of(row).p, cell: (row) => [pValue(of(row).p, isLeast(of(row).p))] },
      ...(board.family ? [{ name: "family", value: (row) => (of(row).primary ? "primary" : "exploratory"), cell: (row) => [of(row).primary ? "primary" : "exploratory"] }] : []),
    ],
    rows, caption: `Differences in ${metric} from ${labelOf(against)}`, sorted: { column: "difference", direction: sign < 0 ? "ascending" : "descending" },
  }).table;
}

function showDifferences() {
  const metrics = board.metrics.map(({ name }) => name).filter((name) => board.differences[name]?.length);
  if (!metrics.length) return;
  const metric = byId("differences-metric"), against = byId("differences-against");
  byId("differences").hidden = false;
  fillSelect(metric, metrics.map((name) => [name, name]), metrics.includes(board.key) ? board.key : metrics[0]);
  fillSelect(against, board.rows.map((row) => [row.run, row.label]), board.reference);
  const least = board.p_words.includes("\u2264") ? ` \u2264: the least that ${board.permutations.toLocaleString("en")} permutations can show.` : "";
  byId("differences-key").textContent = (board.family ? `Primary: ${board.family}. Every other comparison is exploratory.` : "") + least;
  const show = () => {
    const rows = board.rows.filter((row) => differencesFrom(metric.value, against.value).has(row.run));
    kindLegend(byId("differences-legend"), rows);
    draw(byId("differences-chart"), (width) => forestChart(metric.value, against.value, width));
    byId("differences-table").replaceChildren(differenceTable(metric.value, against.value));
  };
  const change = () => {
    show();
    setLink("differences", { metric: metric.value, against: against.value });
  };
  metric.addEventListener("change", change);
  against.addEventListener("change", change);
  onLink("differences", (asked) => {
    if (metrics.includes(asked.get("metric"))) metric.value = asked.get("metric");
    if (rowsByRun.has(asked.get("against"))) against.value = asked.get("against");
    show();
  });
  show();
}
