// The page as a whole: head, theme, sections.
function showHead() {
  const look = (line, verdict) => (line.startsWith("Be careful") ? "careful" : verdict ? "verdict" : null);
  byId("headline").append(...board.headline.map(([line, verdict]) => el("li", { class: look(line, verdict) }, line)));
  byId("made").textContent = board.made;
  byId("protocol-lines").append(...board.protocol.map((line) => el("li", {}, line)));
  byId("notes").append(...board.notes.map((line) => el("li", {}, line)));
}

function showPublished() {
  if (!board.published.length) return;
  byId("published").hidden = false;
  byId("published-tables").append(...board.published.flatMap(({ title, source, protocol, metrics, rows, matched }) => [
    el("h3", {}, title),
    el("p", { class: "key" }, `${source}. ${protocol}`),
    ...matched.flatMap((found) => [
      el("h4", {}, "Beside rows of the same models"),
      el("p", { class: "key" }, found.note),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title}, ${source}: rows of the same models` }, plainTable(found.heads, found.rows)),
      el("h4", {}, "All printed rows"),
    ]),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title}, ${source}` }, plainTable(["model", ...metrics],
      rows.map((row) => [row.setting ? `${row.model} (${row.setting})` : row.model, ...row.values.map((value) => (isNumber(value) ? value.toFixed(4) : ""))]))),
  ]));
}

function showVariance() {
  if (!board.variance.length) return;
  byId("variance").hidden = false;
  byId("variance-tables").append(...board.variance.flatMap(({ title, heads, rows }) => [
    el("h3", {}, title),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, plainTable(heads, rows)),
  ]));
}

function showSections() {
  const shown = [...document.querySelectorAll("main > section")].filter((section) => !section.hidden);
  byId("sections").append(...shown.map((section) => el("li", {}, el("a", { href: `#${section.id}` }, section.querySelector("h2").textContent))));
}

showTheme();
showHead();
showBoard();
showDifferences();
showVariance();
showCharts();
showGroups();
showCurves();
showBias();
showReliability();
showData();
showPublished();
const sampled = showRequests();
showSections();
byId("filters").open = innerWidth > 760;
followLink();
fadeWhereCut();
document.documentElement.dataset.ready = "board";
performance.mark("interactive");
sampled.then(() => {
  if (location.hash.startsWith("#requests?")) followLink();
  performance.mark("sampled");
  document.documentElement.dataset.ready = "all";
});
