// The data set as it was read: what was counted, and pictures of events.
function barsChart(bars, whose, width) {
  const label = `number of ${whose}`;
  return Plot.plot({
    ...BASE, width, height: 24 * bars.length + 42, marginLeft: 104, marginRight: 56, ariaLabel: `${label}: ${bars.map(([name, count]) => `${name}: ${count.toLocaleString("en")}`).join("; ")}`,
    x: { label: null, ticks: [], insetRight: 4 },
    y: { type: "band", domain: bars.map(([name]) => name), label: null, tickSize: 0 },
    marks: [
      Plot.barX(bars, { x: ([, count]) => count, y: ([name]) => name, fill: "var(--rec)" }),
      Plot.text(bars, { x: ([, count]) => count, y: ([name]) => name, text: ([, count]) => count.toLocaleString("en"), textAnchor: "start", dx: 5, fill: "var(--soft)" }),
    ],
  });
}

function timesChart({ first, last, bins }, width) {
  const day = (text) => text.slice(0, 10);
  return Plot.plot({
    ...BASE, width, height: 150, marginLeft: 60, marginRight: 44, marginBottom: 30, ariaLabel: `events over time, from ${first} to ${last} UTC`,
    x: { label: null, domain: [0, bins.length], ticks: [0, bins.length], tickFormat: (place) => (place ? day(last) : day(first)), insetRight: 8, insetLeft: 8 },
    y: { label: null, ticks: 3, grid: true },
    marks: [Plot.rectY(bins, { x1: (_, place) => place, x2: (_, place) => place + 1, y: (count) => count, fill: "var(--rec)", insetLeft: 0.5 }), Plot.ruleY([0], { stroke: "var(--line)" })],
  });
}

function showData() {
  const { data } = board;
  if (!data) return;
  byId("data").hidden = false;
  byId("data-warnings").append(...data.warnings.map((line) => el("li", {}, line)));
  byId("data-rows").append(...data.rows.flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, words)]));
  const charts = [];
  for (const [bars, title, whose] of [[data.per_user, "Users by their number of events", "users"], [data.per_item, "Items by their number of events", "items"], [data.ratings, "Ratings", "events"]])
    if (bars?.length) charts.push([title, (width) => barsChart(bars.slice(bars.findIndex(([, count]) => count)), whose, width)]);
  if (data.times?.bins.length) charts.push(["Events over time", (width) => timesChart(data.times, width)]);
  for (const [title, render] of charts) {
    const place = el("div", { class: "chart" });
    byId("data-charts").append(el("figure", {}, el("figcaption", {}, title), place));
    draw(place, render);
  }
}
