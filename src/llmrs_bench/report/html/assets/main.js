// The page as a whole: head, theme, sections.
function showHead() {
  const careful = (line) => (line.startsWith("Be careful") ? "careful" : null);
  byId("headline").append(...board.headline.map((line) => el("li", { class: careful(line) }, line)));
  byId("made").textContent = board.made;
  byId("protocol-lines").append(...board.protocol.map((line) => el("li", {}, line)));
  byId("notes").append(...board.notes.map((line) => el("li", {}, line)));
}

function showTheme() {
  const button = byId("theme"), root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    tell();
  });
  system.addEventListener("change", tell);
  tell();
}

function showPublished() {
  if (!board.published.length) return;
  byId("published").hidden = false;
  byId("published-tables").append(...board.published.flatMap(({ title, source, protocol, metrics, rows }) => [
    el("h3", {}, title),
    el("p", { class: "key" }, `${source}. ${protocol}`),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, plainTable(["model", ...metrics],
      rows.map((row) => [row.setting ? `${row.model} (${row.setting})` : row.model, ...row.values.map((value) => (isNumber(value) ? value.toFixed(4) : ""))]))),
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
document.documentElement.dataset.ready = "board";
performance.mark("interactive");
sampled.then(() => {
  if (location.hash.startsWith("#requests?")) followLink();
  performance.mark("sampled");
  document.documentElement.dataset.ready = "all";
});
