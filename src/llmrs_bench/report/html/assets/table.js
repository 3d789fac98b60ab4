// A table that is sorted by the buttons in its head; values that are missing stay at the end.
//
// A column: {name, title, value(row), cell(row), numeric, first: "ascending" or "descending"}. The first column heads the rows.
function sortableTable({ columns, rows, caption, sorted, detail, rowClass, onSort }) {
  const state = { column: sorted?.column ?? null, direction: sorted?.direction ?? "ascending", rows };
  const heads = columns.map((column) => {
    const button = el("button", { type: "button", title: column.title, onclick: () => sortBy(column) }, column.name);
    return el("th", { scope: "col", class: column.numeric ? "num" : null }, button);
  });
  const body = el("tbody");
  const lines = new Map(rows.map((row) => [row, line(row)]));
  const table = el("table", { class: "sticky" }, el("caption", { hidden: true }, caption), el("thead", {}, el("tr", {}, heads)), body);

  function line(row) {
    const cells = columns.map((column, place) => {
      const attributes = { class: column.numeric ? `num ${column.look?.(row) ?? ""}`.trim() : (column.look?.(row) ?? null) };
      return el(place ? "td" : "th", place ? attributes : { ...attributes, scope: "row" }, column.cell(row));
    });
    const made = [el("tr", { class: rowClass?.(row) || null }, cells)];
    const more = cells[0].querySelector(".more");
    if (detail && more) {
      more.addEventListener("click", () => {
        const open = more.getAttribute("aria-expanded") === "true";
        more.setAttribute("aria-expanded", String(!open));
        if (open) made.pop().remove();
        else {
          made.push(el("tr", { class: "detail" }, el("td", { colspan: columns.length }, el("div", { class: "inside", tabindex: 0, role: "region", "aria-label": `More of ${row.label}` }, detail(row)))));
          made[0].after(made[1]);
        }
      });
    }
    return made;
  }

  function sortBy(column) {
    const again = state.column === column.name;
    const first = column.first ?? (column.numeric ? "descending" : "ascending");
    const other = first === "ascending" ? "descending" : "ascending";
    state.direction = again && state.direction === first ? other : first;
    state.column = column.name;
    show();
    onSort?.(column, state.direction);
  }

  function compare(column, one, two) {
    const a = column.value(one), b = column.value(two);
    const none = (value) => value === null || value === undefined;
    if (none(a) || none(b)) return none(a) - none(b);
    const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return state.direction === "ascending" ? order : -order;
  }

  function show(filtered) {
    if (filtered) state.rows = filtered;
    const column = columns.find((each) => each.name === state.column);
    const ordered = column ? [...state.rows].sort((one, two) => compare(column, one, two)) : state.rows;
    body.replaceChildren(...ordered.flatMap((row) => lines.get(row)));
    columns.forEach((each, place) => {
      if (each === column) heads[place].setAttribute("aria-sort", state.direction);
      else heads[place].removeAttribute("aria-sort");
    });
  }

  show();
  return { table, show, lineOf: (row) => lines.get(row)[0] };
}

function plainTable(heads, rows, look = "sticky") {
  const head = heads.map((name, place) => el("th", { scope: "col", class: place ? "plain num" : "plain" }, name));
  const body = rows.map((cells) =>
    el("tr", {}, cells.map((cell, place) => el(place ? "td" : "th", { class: place ? "num" : null, scope: place ? null : "row" }, cell))));
  return el("table", { class: look }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
}

// Tables that go on beyond the right edge of their place fade there.
function fadeWhereCut() {
  for (const place of document.querySelectorAll(".scroll[id]")) {
    const mark = () => place.classList.toggle("cut", place.scrollWidth - place.clientWidth - place.scrollLeft > 4);
    place.addEventListener("scroll", mark, { passive: true });
    new ResizeObserver(mark).observe(place);
    new MutationObserver(mark).observe(place, { childList: true });
  }
}
