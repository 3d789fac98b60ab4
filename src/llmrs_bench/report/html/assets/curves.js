// Curves: a metric against a number that rows differ in; what does not vary is a horizontal line.
// A kind has its colour; curves of one kind differ in the dashes of their lines, and from the fifth on in a darker one.
const CURVE_DASHES = [null, "8 4", "2 4", "10 3 2 3"];

function curvesOf(metric) {
  const places = new Map(board.curves.axis.map(([x, place]) => [x, place]));
  const kinds = new Map();
  const curves = board.curves.curves.filter((curve) => curve.metric === metric).map((curve) => {
    const before = kinds.get(curve.kind) ?? 0;
    kinds.set(curve.kind, before + 1);
    const color = kindLook(curve.kind).color, darker = before >= CURVE_DASHES.length;
    const look = { color: darker ? `color-mix(in oklab, ${color}, var(--ink))` : color, dash: CURVE_DASHES[before % CURVE_DASHES.length] };
    return { ...curve, ...look, points: curve.points.map((point) => ({ ...point, place: places.get(point.x), curve: curve.curve, kind: curve.kind })) };
  });
  return { curves, levels: board.curves.levels.filter((level) => level.metric === metric) };
}

function curveMark(color, dash) {
  const svg = d3.create("svg").attr("width", 34).attr("height", 12).attr("aria-hidden", "true");
  svg.append("line").attr("x1", 1).attr("x2", 33).attr("y1", 6).attr("y2", 6).attr("stroke", color).attr("stroke-width", 2).attr("stroke-dasharray", dash);
  return svg.node();
}

const curveAmount = (x) => board.curves.axis.find(([each]) => each === x)?.[2] ?? amount(x);
const placeWords = (point) => `${curveAmount(point.x)}${point.unseen ? " \u2020" : ""}`;
const curveEnds = (each) => (each.exact ? "exact" : isNumber(each.low) ? `${short(each.low)}\u2013${short(each.high)}` : "no interval");
const curveSeeds = (each) => (each.seeds > 1 ? `\n${each.seeds} seeds, spread ${each.spread.toFixed(4)}` : "");

function pointWords(point) {
  const versus = isNumber(point.difference) ? `\n${point.difference < 0 ? "\u2212" : "+"}${Math.abs(point.difference).toFixed(4)} to the first point, corrected p ${pValue(point.corrected)}` : "";
  return `${point.curve}\n${placeWords(point)} ${board.curves.name}: ${point.mean.toFixed(4)} (${curveEnds(point)})${curveSeeds(point)}${versus}`;
}

// The values below the axis that have room, the last of them first: it says how far the curves go.
function axisTicks(room) {
  const ends = [];
  return board.curves.axis.slice().reverse().filter(([, place, text]) => {
    const start = place * room - text.length * 3.6, end = place * room + text.length * 3.6;
    const free = !ends.some(([left, right]) => start < right + 6 && left < end + 6);
    if (free) ends.push([start, end]);
    return free;
  });
}

function curvesChart(metric, width) {
  const { curves, levels } = curvesOf(metric);
  const narrow = width < 560, left = 52;
  const names = [...levels.map((level) => level.row), ...curves.filter((curve) => curve.points.at(-1).place === 1).map((curve) => curve.curve)];
  const inside = curves.filter((curve) => curve.points.at(-1).place < 1);
  const right = narrow ? 16 : Math.min(230, 20 + 6.6 * d3.max(names, (name) => Math.min(name.length, 31)) || 16);
  const height = narrow ? 320 : Math.min(460, Math.max(320, width * 0.42));
  const points = curves.flatMap((curve) => curve.points), ticks = axisTicks(width - left - right);
  const texts = new Map(ticks.map(([, place, text]) => [place, text]));
  const zero = board.curves.logarithmic && board.curves.axis[0][0] === 0;
  const options = (labels) => ({
    ...BASE, width, height, marginLeft: left, marginRight: right, marginTop: 24, marginBottom: 44,
    ariaLabel: `${metric} over ${board.curves.name}: ${curves.length} curves and ${levels.length} lines; the table below holds the numbers`,
    x: { domain: [0, 1], label: `${board.curves.name}${board.curves.logarithmic ? ", logarithmic" : ""}`, labelAnchor: "center", labelArrow: "none", ticks: ticks.map(([, place]) => place), tickFormat: (place) => texts.get(place) ?? "" },
    y: { label: metric, labelArrow: "none", grid: true, nice: true, insetBottom: 10, ticks: Math.round(height / 60) },
    marks: [
      zero ? Plot.ruleX([board.curves.axis[1][1] / 2], { stroke: "var(--line)", strokeDasharray: "2 3" }) : null,
      ...levels.map((level) => Plot.ruleY([level.mean], { stroke: kindLook(level.kind).color, strokeWidth: 1.2, strokeOpacity: 0.75, strokeDasharray: "3 3" })),
      ...curves.map((curve) => Plot.areaY(curve.points.filter((point) => isNumber(point.low)), { x: "place", y1: "low", y2: "high", fill: curve.color, fillOpacity: 0.13 })),
      ...curves.map((curve) => Plot.line(curve.points, { x: "place", y: "mean", stroke: curve.color, strokeWidth: 2, strokeDasharray: curve.dash })),
      ...dots(points, { x: "place", y: "mean" }),
      ...labels.map(({ mean, name, color, y, at }) => Plot.text([mean], { x: [1], y: [mean], text: [name], textAnchor: "start", dx: 10, dy: at - y, fill: color, fontSize: 12, lineWidth: (right - 16) / 12, textOverflow: "ellipsis" })),
      ...(labels.length ? inside : []).map((curve) => Plot.text(curve.points.slice(-1), { x: "place", y: "mean", text: "curve", textAnchor: "start", dx: 9, fill: curve.color, stroke: "var(--ground)", strokeWidth: 4, fontSize: 12, lineWidth: 15, textOverflow: "ellipsis" })),
      Plot.tip(points, Plot.pointer({ x: "place", y: "mean", title: pointWords, ...tipStyle })),
    ],
  });
  if (narrow) return Plot.plot(options([]));
  const scale = Plot.plot(options([])).scale("y");
  const beside = [
    ...levels.map((level) => ({ mean: level.mean, name: level.row, color: kindLook(level.kind).color })),
    ...curves.filter((curve) => !inside.includes(curve)).map((curve) => ({ mean: curve.points.at(-1).mean, name: curve.curve, color: curve.color })),
  ];
  return Plot.plot(options(spreadLabels(beside.map((label) => ({ ...label, y: scale.apply(label.mean) })), 24, height - 50)));
}

// Moves names apart that would cover each other, each as little as the others allow.
function spreadLabels(labels, top, bottom) {
  const placed = labels.sort((a, b) => a.y - b.y).map((label) => ({ ...label, at: label.y }));
  for (let round = 0; round < 60; round += 1) {
    for (let place = 1; place < placed.length; place += 1) {
      const lack = 14 - (placed[place].at - placed[place - 1].at);
      if (lack > 0) {
        placed[place].at += lack / 2;
        placed[place - 1].at -= lack / 2;
      }
    }
    for (const label of placed) label.at = Math.min(bottom, Math.max(top, label.at));
  }
  return placed;
}

function curvesTable(metric) {
  const { curves, levels } = curvesOf(metric);
  const rows = [
    ...curves.flatMap((curve) => curve.points.map((point) => [curve.curve, placeWords(point), point])),
    ...levels.map((level) => [level.row, "\u2013", level]),
  ];
  const tests = ["window", "known_events"].includes(board.curves.over) ? [] : ["difference", "p", "corrected p"];
  return plainTable(["curve", board.curves.name, metric, "interval", "seeds", "users", ...tests], rows.map(([name, x, each]) => [
    name, x, each.mean.toFixed(4), curveEnds(each), each.seeds > 1 ? `${each.seeds} (\u00b1${each.spread.toFixed(4)})` : "1", each.users.toLocaleString("en"),
    ...(isNumber(each.difference) ? [each.difference.toFixed(4), pValue(each.p), pValue(each.corrected)] : tests.map(() => "")),
  ]));
}

// Over time: how each row changes, and which rows change differently, the clearest first.
function slopeTables(metric) {
  const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(4)}`;
  const cells = (each) => [signed(each.slope), isNumber(each.low) ? `${signed(each.low)} to ${signed(each.high)}` : "", pValue(each.p), pValue(each.corrected)];
  const own = (all) => all.filter((each) => each.metric === metric);
  const shown = (label, heads, rows) => el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, plainTable(heads, rows));
  const slopes = own(board.curves.slopes), contrasts = own(board.curves.contrasts).sort((a, b) => a.p - b.p);
  return [
    slopes.length ? shown("Slopes", ["curve", "slope", "95 % interval", "p", "corrected p"], slopes.map((each) => [each.curve, ...cells(each)])) : "",
    contrasts.length ? shown("Differences of slopes", ["slopes", "difference", "95 % interval", "p", "corrected p"], contrasts.map((each) => [`${each.curve} less ${each.other}`, ...cells(each)])) : "",
  ];
}

function showCurves() {
  if (!board.curves) return;
  const { name, metrics, logarithmic, axis } = board.curves;
  const select = byId("curves-metric");
  byId("curves").hidden = false;
  byId("curves-head").textContent = `Curves over ${name}`;
  fillSelect(select, metrics.map((metric) => [metric, metric]), metrics.includes(board.key) ? board.key : metrics[0]);
  const zero = logarithmic && axis[0][0] === 0 ? " 0 stands apart, left of the logarithmic axis." : "";
  byId("curves-key").textContent = `Bands: 95 % intervals over users; seeds of a point are averaged. Dashed across: rows that do not vary.${zero} Where a curve reaches another is interpolated between points.`;
  const show = () => {
    const { curves, levels } = curvesOf(select.value);
    legend(byId("curves-legend"), [
      ...curves.map((curve) => [curveMark(curve.color, curve.dash), curve.curve]),
      ...levels.map((level) => [curveMark(kindLook(level.kind).color, "3 3"), `${level.row} ${level.mean.toFixed(4)}`]),
    ]);
    const reached = board.curves.crossings.filter((each) => each.metric === select.value);
    byId("curves-crossings").replaceChildren(reached.length ? el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Where curves reach each other" },
      plainTable(["curve", `at ${name}`, "95 % interval"], reached.map((each) => [`${each.curve} reaches ${each.other}`, each.at_words, each.interval_words]))) : "", ...slopeTables(select.value));
    byId("curves-crossings").append(...board.curves.notes.filter((note) => !board.notes.includes(note)).map((note) => el("p", { class: "key" }, note)));
    draw(byId("curves-chart"), (width) => curvesChart(select.value, width));
    byId("curves-table").replaceChildren(curvesTable(select.value));
  };
  select.addEventListener("change", show);
  show();
}
