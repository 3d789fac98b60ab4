// Reliability of click probabilities: the share of liked rows in each bin of them.
const PROBABILITIES = [["raw", "as the model has it", "var(--base)"], ["calibrated", "calibrated", "var(--lm)"]];

function reliabilityChart(row, width) {
  const kinds = PROBABILITIES.filter(([name]) => row.reliability[name]);
  const size = Math.min(width, 460), x = "probability", y = "liked";
  const all = kinds.flatMap(([name, words]) => row.reliability[name].map((bin) => ({ ...bin, words })));
  return Plot.plot({
    ...BASE, width: size, height: size, marginLeft: 48, marginRight: 20, marginTop: 22, marginBottom: 42,
    ariaLabel: `Reliability of ${row.label}: share of liked rows by probability; the numbers are in the table below`,
    x: { domain: [0, 1], label: "mean probability", labelAnchor: "center", labelArrow: "none", ticks: 5, grid: true },
    y: { domain: [0, 1], label: "share liked", labelArrow: "none", ticks: 5, grid: true },
    r: { range: [0, 11] },
    marks: [
      Plot.line([[0, 0], [1, 1]], { stroke: "var(--soft)", strokeDasharray: "4 4" }),
      ...kinds.flatMap(([name, , color]) => [
        Plot.line(row.reliability[name], { x, y, stroke: color, strokeWidth: 2 }),
        Plot.dot(row.reliability[name], { x, y, r: "rows", fill: color, fillOpacity: 0.75, stroke: "var(--ground)" }),
      ]),
      Plot.tip(all, Plot.pointer({ x, y, title: (bin) => `${bin.words}\n${short(bin.low)} to ${short(bin.high)}: ${bin.rows.toLocaleString("en")} rows\nmean ${bin.probability.toFixed(3)}, ${percent(bin.liked)} liked`, ...tipStyle })),
    ],
  });
}

function reliabilityTable(row) {
  const lines = PROBABILITIES.flatMap(([name, words]) => (row.reliability[name] ?? []).map((bin) => [words, `${short(bin.low)}\u2013${short(bin.high)}`, bin.rows.toLocaleString("en"), bin.probability.toFixed(4), bin.liked.toFixed(4)]));
  return plainTable(["probability", "bin", "rows", "mean", "share liked"], lines);
}

function showReliability() {
  const rows = board.rows.filter((row) => Object.keys(row.reliability).length);
  if (!rows.length) return;
  const select = byId("reliability-run");
  byId("reliability").hidden = false;
  fillSelect(select, rows.map((row) => [row.run, row.short]), rows[0].run);
  const show = () => {
    const row = rowsByRun.get(select.value);
    const errors = [["raw", "ece"], ["calibrated", "ece-calibrated"]].filter(([name, metric]) => row.reliability[name] && row.cells[metric]);
    byId("reliability-words").textContent = errors.map(([, metric]) => `${metric} ${row.cells[metric].mean.toFixed(4)} (${intervalWords(row, row.cells[metric])})`).join(", ");
    legend(byId("reliability-legend"), PROBABILITIES.filter(([name]) => row.reliability[name]).map(([, words, color]) => [swatch(color), words]));
    draw(byId("reliability-chart"), (width) => reliabilityChart(row, width));
    byId("reliability-table").replaceChildren(reliabilityTable(row));
  };
  select.addEventListener("change", show);
  show();
}
