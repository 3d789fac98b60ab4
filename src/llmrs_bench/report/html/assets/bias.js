// Slot bias: what the place of a candidate does to its rank. A slot with the targets of one user has no interval.
function slotWords(slot, name) {
  const [low, high] = [slot[`${name}_low`], slot[`${name}_high`]];
  return `${slot[name].toFixed(4)} (${isNumber(low) && isNumber(high) ? `${short(low)}\u2013${short(high)}` : "no interval"})`;
}

function biasChart(chosen, name, words, width) {
  const slots = chosen.slots.filter((slot) => isNumber(slot[name]));
  const others = board.biases.filter((bias) => bias !== chosen).flatMap((bias) => bias.slots.map((slot) => ({ ...slot, run: bias.run })));
  const last = d3.max(board.biases, (bias) => bias.slots.length - 1);
  const even = name === "chosen" ? [1 / chosen.slots.length] : [chosen.single].filter(isNumber);
  const x = "slot", y = name;
  return Plot.plot({
    ...BASE, width, height: 280, marginLeft: 44, marginRight: 16, marginTop: 16, marginBottom: 40,
    ariaLabel: `${words} for ${labelOf(chosen.run)}; the numbers are in the table below`,
    x: { domain: [0, last], label: "slot", labelAnchor: "center", labelArrow: "none", ticks: d3.range(0, last + 1, Math.max(1, Math.ceil(last / (width / 48)))), tickFormat: (slot) => String(slot) },
    y: { label: null, grid: true, nice: true, zero: true },
    marks: [
      Plot.ruleY(even, { stroke: "var(--base)", strokeDasharray: "3 3" }),
      Plot.line(others.filter((slot) => isNumber(slot[name])), { x, y, z: "run", stroke: "var(--faint)" }),
      Plot.areaY(slots.filter((slot) => isNumber(slot[`${name}_low`])), { x, y1: `${name}_low`, y2: `${name}_high`, fill: "var(--lm)", fillOpacity: 0.18 }),
      Plot.line(slots, { x, y, stroke: "var(--lm)", strokeWidth: 2 }),
      Plot.dot(slots, { x, y, r: 3, fill: "var(--lm)" }),
      Plot.tip(slots, Plot.pointerX({ x, y, title: (slot) => `slot ${slot.slot}: ${slotWords(slot, name)}`, ...tipStyle })),
    ],
  });
}

function biasTable(bias) {
  const ends = (slot, name) => (isNumber(slot[name]) ? slotWords(slot, name) : "\u2013");
  return plainTable(["slot", "targets", "NDCG@10", "chosen first"], bias.slots.map((slot) => [String(slot.slot), String(slot.targets), ends(slot, "ndcg"), ends(slot, "chosen")]));
}

function showBias() {
  if (!board.biases.length) return;
  const select = byId("bias-run");
  byId("bias").hidden = false;
  fillSelect(select, board.biases.map((bias) => [bias.run, labelOf(bias.run)]), d3.greatest(board.biases, (bias) => bias.views).run);
  const show = () => {
    const bias = board.biases.find((each) => each.run === select.value);
    const tau = isNumber(bias.kendall_tau) ? ` Kendall\u2019s tau between two views of a request: ${bias.kendall_tau.toFixed(3)}.` : "";
    const joined = bias.views > bias.requests ? `, of all views together ${bias.joined?.toFixed(4)}` : "";
    byId("bias-words").textContent = `${labelOf(bias.run)}: ${bias.views.toLocaleString("en")} views of ${bias.requests.toLocaleString("en")} requests. NDCG@10 of one view ${bias.single?.toFixed(4)}${joined}.${tau} Dashed: the mean over all slots, and an even choice.`;
    draw(byId("bias-quality"), (width) => biasChart(bias, "ndcg", "NDCG@10 by the slot of the target", width));
    draw(byId("bias-chosen"), (width) => biasChart(bias, "chosen", "Share of views whose first choice stood in a slot", width));
    byId("bias-table").replaceChildren(biasTable(bias));
  };
  select.addEventListener("change", show);
  show();
}
