// The board of the page, and how its rows are found.
const board = JSON.parse(byId("board-data").textContent);
const rowsByRun = new Map(board.rows.map((row) => [row.run, row]));
const labelOf = (run) => rowsByRun.get(run)?.short ?? run;
const signOf = (metric) => board.metrics.find((each) => each.name === metric)?.sign ?? 1;
