// Groups of requests: how each row does in each of them.
function groupsOf(metric) {
  return board.groups.map(({ group, users, rows }) => ({ group, users, cells: new Map(rows.filter((row) => row.cells[metric]).map((row) => [row.run, row.cells[metric]])) }));
}

function groupsChart(metric, run, width) {
  const groups = groupsOf(metric);
  const points = groups.flatMap(({ group, cells }) => [...cells].map(([name, cell]) => ({ group, run: name, ...cell })));
  const own = points.filter((point) => point.run === run);
  const row = rowsByRun.get(run);
  const tilted = groups.length * 90 > width;
  return Plot.plot({
    ...BASE, width, height: 340, marginLeft: 52, marginRight: 28, marginTop: 26, marginBottom: tilted ? 90 : 44,
    ariaLabel: `${metric} by ${board.groups[0].by}; the table below holds the numbers`,
    x: { type: "point", domain: groups.map(({ group }) => group), label: tilted ? null : board.groups[0].by, labelAnchor: "center", labelArrow: "none", tickRotate: tilted ? -35 : 0 },
    y: { label: metric, labelArrow: "none", grid: true, nice: true },
    marks: [
      Plot.line(points, { x: "group", y: "mean", z: "run", stroke: "var(--faint)", strokeWidth: 1 }),
      Plot.dot(points.filter((point) => point.run !== run), { x: "group", y: "mean", r: 2.2, fill: "var(--faint)" }),
      Plot.ruleX(own.filter((point) => !row.exact && isNumber(point.low)), { x: "group", y1: "low", y2: "high", stroke: kindLook(row.kind).color, strokeWidth: 2 }),
      Plot.line(own, { x: "group", y: "mean", stroke: kindLook(row.kind).color, strokeWidth: 2.2 }),
      ...dots(own.map((point) => ({ ...point, kind: row.kind })), { x: "group", y: "mean" }),
      Plot.tip(points, Plot.pointer({ x: "group", y: "mean", title: (point) => `${labelOf(point.run)}\n${point.group}: ${metric} ${point.mean.toFixed(4)} (${intervalWords(rowsByRun.get(point.run), point)})`, ...tipStyle })),
    ],
  });
}

function groupsTable(metric) {
  const sign = signOf(metric);
  const columns = groupsOf(metric).map(({ group, users, cells }) => ({
    name: `${group} (${users.toLocaleString("en")})`, numeric: true, first: sign < 0 ? "ascending" : "descending",
    value: (row) => cells.get(row.run)?.mean,
    cell: (row) => [cellNodes(row, cells.get(row.run))].flat(),
    look: (row) => (cells.get(row.run)?.rank === 1 ? "best" : ""),
  }));
  const name = { name: "model", value: (row) => row.label, cell: (row) => el("span", { class: "name" }, row.model, row.apart ? el("small", { class: "flush" }, row.apart) : "") };
  const rows = board.rows.filter((row) => board.groups.some((group) => group.rows.some((each) => each.run === row.run)));
  return sortableTable({ columns: [name, ...columns], rows, caption: `${metric} by ${board.groups[0].by}` }).table;
}

function showGroups() {
  if (!board.groups.length) return;
  const metric = byId("groups-metric"), run = byId("groups-run");
  byId("groups").hidden = false;
  byId("groups-head").textContent = `Groups by ${board.groups[0].by}`;
  fillSelect(run, board.rows.map((row) => [row.run, row.short]), board.rows[0].run);
  const chart = () => {
    const row = rowsByRun.get(run.value);
    legend(byId("groups-legend"), [[symbolMark(row.kind), row.short], [swatch("var(--faint)"), "other rows"]]);
    draw(byId("groups-chart"), (width) => groupsChart(metric.value, run.value, width));
  };
  const all = () => {
    byId("groups-table").replaceChildren(groupsTable(metric.value));
    chart();
  };
  metricSelect(metric, all);
  run.addEventListener("change", chart);
  all();
}
