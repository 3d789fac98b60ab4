// Deep links: #SECTION?name=value says what a section shows, and follows what is chosen in it.
const linked = new Map();

function onLink(section, show) {
  linked.set(section, show);
}

function setLink(section, values) {
  history.replaceState(null, "", `#${section}?${new URLSearchParams(values)}`);
}

function followLink() {
  const [section, query] = location.hash.slice(1).split("?");
  if (!query || !linked.has(section) || byId(section)?.hidden) return;
  linked.get(section)(new URLSearchParams(query));
  byId(section).scrollIntoView();
}

window.addEventListener("hashchange", followLink);
