// Means with intervals, quality against cost, and kinds of answers.
const tipWords = (row, metric) => {
  const cell = row.cells[metric];
  const mark = cell.as_good_as_best ? "\nnot distinguishable from the best" : "";
  return `${row.label}\n${metric} ${cell.mean.toFixed(4)} (${intervalWords(row, cell)})${mark}`;
};

function intervalChart(metric, width) {
  const sign = signOf(metric) || 1;
  const rows = board.rows.filter((row) => row.cells[metric]).sort((a, b) => sign * (b.cells[metric].mean - a.cells[metric].mean));
  const { room, step, shift, names } = rowNames(rows, width);
  const mean = (row) => row.cells[metric].mean;
  const chance = rows.find((row) => row.exact);
  const ends = rows.filter((row) => !row.exact && isNumber(row.cells[metric].low));
  return Plot.plot({
    ...BASE, width, height: rows.length * step + 54, marginLeft: room, marginRight: 24, marginTop: 8, marginBottom: 40,
    ariaLabel: `${metric} of ${rows.length} rows with 95 % intervals; the board holds the numbers`,
    x: { label: metric, labelAnchor: "center", labelArrow: "none", grid: true, nice: true, ticks: Math.max(3, Math.round((width - room) / 90)) },
    y: { domain: rows.map((row) => row.run) },
    marks: [
      ...names,
      chance ? Plot.ruleX([mean(chance)], { stroke: "var(--base)", strokeDasharray: "3 3" }) : null,
      ...d3.groups(ends, (row) => row.kind).map(([kind, own]) =>
        Plot.ruleY(own, { y: "run", x1: (row) => row.cells[metric].low, x2: (row) => row.cells[metric].high, stroke: kindLook(kind).color, strokeWidth: 2, dy: shift })),
      ...dots(rows, { x: mean, y: "run", dy: shift }),
      Plot.text(rows.filter((row) => row.cells[metric].as_good_as_best), { x: (row) => row.cells[metric].high ?? mean(row), y: "run", text: () => "=", dx: 10, dy: shift, fontWeight: 600, fill: "var(--ink)" }),
      Plot.tip(rows, Plot.pointerY({ x: mean, y: "run", title: (row) => tipWords(row, metric), ...tipStyle })),
    ],
  });
}

function costChart(width) {
  const key = board.key, cost = (row) => row.cost[board.cost.name], mean = (row) => row.cells[key].mean;
  const rows = board.rows.filter((row) => isNumber(cost(row)) && row.cells[key]);
  const front = rows.filter((row) => row.pareto).sort((a, b) => cost(a) - cost(b));
  const log = rows.every((row) => cost(row) > 0);
  const ends = rows.filter((row) => isNumber(row.cells[key].low));
  const options = (labels) => ({
    ...BASE, width, height: Math.min(440, Math.max(300, width * 0.55)), marginLeft: 52, marginRight: 28, marginBottom: 44, marginTop: 26,
    ariaLabel: `${key} against ${board.cost.words} of ${rows.length} rows; the board holds the numbers`,
    x: { type: log ? "log" : "linear", label: board.cost.words, labelAnchor: "center", labelArrow: "none", nice: true, ticks: Math.max(3, Math.round(width / 110)), tickFormat: amount },
    y: { label: key, labelArrow: "none", grid: true, nice: true },
    marks: [
      Plot.line(front, { x: cost, y: mean, curve: signOf(key) < 0 ? "step-before" : "step-after", stroke: "var(--soft)", strokeWidth: 1.5, strokeDasharray: "5 4" }),
      ...d3.groups(ends, (row) => row.kind).map(([kind, own]) =>
        Plot.ruleX(own, { x: cost, y1: (row) => row.cells[key].low, y2: (row) => row.cells[key].high, stroke: kindLook(kind).color, strokeOpacity: 0.55 })),
      Plot.dot(front, { x: cost, y: mean, r: 8.5, fill: "none", stroke: "var(--ink)", strokeWidth: 1.2 }),
      ...dots(rows, { x: cost, y: mean }),
      ...labels.filter(({ words }) => words).map(({ row, end, dy, words, reach }) => Plot.text([row], { x: cost, y: mean, text: () => words, textAnchor: end ? "end" : "start", dx: end ? -reach : reach, dy, fill: "var(--ink)", stroke: "var(--ground)", strokeWidth: 4, lineWidth: 0.045 * width, textOverflow: "ellipsis-middle", fontSize: 12 })),
      Plot.tip(rows, Plot.pointer({ x: cost, y: mean, title: (row) => `${tipWords(row, key)}\n${amount(cost(row))} ${board.cost.words}`, ...tipStyle })),
    ],
  });
  const probe = Plot.plot(options([]));
  const x = probe.scale("x"), y = probe.scale("y");
  const order = [...front.slice().reverse(), ...rows.filter((row) => !row.pareto)];
  const points = order.map((row) => ({ row, front: row.pareto, text: row.short, x: x.apply(cost(row)), y: y.apply(mean(row)) }));
  const labels = placeLabels(points, 52, width);
  byId("cost-numbers").replaceChildren(...labels.filter(({ number }) => number).map(({ number, text }) => el("li", { value: number }, text)));
  return Plot.plot(options(labels));
}

const ANSWER_KINDS = ["complete", "partial", "duplicates", "off-list", "history", "format", "empty", "truncated", "refused"];
const answerColor = (kind) => `var(--k${Math.max(0, ANSWER_KINDS.indexOf(kind))})`;

function answersChart(rows, kinds, width) {
  const { room, step, shift, names } = rowNames(rows, width);
  const parts = rows.flatMap((row) => kinds.map((kind) => ({ run: row.run, kind, share: row.kinds[kind] ?? 0 })).filter((part) => part.share > 0));
  return Plot.plot({
    ...BASE, width, height: rows.length * (step + 4) + 50, marginLeft: room, marginRight: 24, marginTop: 8, marginBottom: 40,
    ariaLabel: `Kinds of answers of ${rows.length} rows; the numbers are in the table below`,
    x: { domain: [0, 1], label: "share of the responses", labelAnchor: "center", labelArrow: "none", tickFormat: percent, ticks: Math.max(2, Math.round((width - room) / 110)) },
    y: { domain: rows.map((row) => row.run), padding: shift ? 0.6 : 0.25 },
    marks: [
      ...names,
      ...kinds.map((kind) => Plot.barX(parts.filter((part) => part.kind === kind), { x1: (part) => startOf(part, kinds), x2: (part) => startOf(part, kinds) + part.share, y: "run", fill: answerColor(kind), stroke: "var(--ground)", strokeWidth: 0.7, dy: shift })),
      Plot.tip(parts, Plot.pointer({ x: (part) => startOf(part, kinds) + part.share / 2, y: "run", title: (part) => `${labelOf(part.run)}\n${part.kind} ${percent(part.share)}`, ...tipStyle })),
    ],
  });
}

function startOf(part, kinds) {
  const shares = rowsByRun.get(part.run).kinds;
  return kinds.slice(0, kinds.indexOf(part.kind)).reduce((sum, kind) => sum + (shares[kind] ?? 0), 0);
}

function metricSelect(select, change) {
  fillSelect(select, board.metrics.map(({ name }) => [name, name]), board.key || board.metrics[0].name);
  select.addEventListener("change", change);
}

function showCharts() {
  const select = byId("intervals-metric");
  const intervals = () => draw(byId("intervals-chart"), (width) => intervalChart(select.value, width));
  metricSelect(select, intervals);
  byId("intervals").hidden = false;
  kindLegend(byId("intervals-legend"), board.rows);
  intervals();

  const costed = board.rows.filter((row) => isNumber(row.cost[board.cost.name]) && row.cells[board.key]);
  if (costed.length) {
    byId("cost").hidden = false;
    kindLegend(byId("cost-legend"), costed);
    const left = board.rows.length - costed.length;
    const ahead = board.rows.filter((row) => row.ahead).map((row) => row.short).join(", ");
    const more = left ? ` ${left} ${left === 1 ? "row" : "rows"} without a known cost ${left === 1 ? "is" : "are"} not shown${ahead ? `; better than all that are shown: ${ahead}` : ""}.` : "";
    byId("cost-key").textContent = `Ringed and joined by the dashed line: the Pareto front, rows that no other beats at their cost. Lines: 95 % intervals.${more}`;
    draw(byId("cost-chart"), costChart);
  }

  const answered = board.rows.filter((row) => Object.keys(row.kinds).length);
  if (answered.length) {
    const kinds = ANSWER_KINDS.filter((kind) => answered.some((row) => row.kinds[kind]));
    byId("answers").hidden = false;
    byId("answers-key").textContent = `Complete: all candidates are ranked. ${board.kinds ? `${board.kinds[0].toUpperCase()}${board.kinds.slice(1)}.` : ""}`;
    legend(byId("answers-legend"), kinds.map((kind) => [swatch(answerColor(kind)), kind]));
    byId("answers-table").append(plainTable(["model", ...kinds], answered.map((row) => [row.short, ...kinds.map((kind) => (row.kinds[kind] ? percent(row.kinds[kind]) : "\u2013"))])));
    draw(byId("answers-chart"), (width) => answersChart(answered, kinds, width));
  }
}
