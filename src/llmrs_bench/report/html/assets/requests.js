// A sample of requests: what was known, asked, answered and read.
async function unpacked(text) {
  const signs = atob(text), bytes = new Uint8Array(signs.length);
  for (let at = 0; at < signs.length; at += 1) bytes[at] = signs.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const sample = JSON.parse(await new Response(stream).text());
  sample.texts = sample.calls.flatMap(([, texts]) => texts);
  sample.requests.forEach((request, at) => (request.calls = sample.calls[at]?.[0] ?? {}));
  return sample;
}

// Places of a request's items and steps between scores are characters (`html/sample.py`).
const FIRST = 48;
const placesOf = (request) => (request.places ??= [...new Set([...request.candidates, ...request.targets, ...request.history])]);

function scoresOf([decimals, ...scores]) {
  if (decimals === null) return scores;
  let units = scores[0];
  const score = (sign) => (units -= sign.charCodeAt(0) - FIRST) / 10 ** decimals;
  return [...scores[1]].map((sign) => (sign.charCodeAt(0) < FIRST ? null : score(sign)));
}

// What a run made of a request; it is read when it is looked at. Calls stand by themselves.
function rankingOf(request, run) {
  const packed = request.rankings[run];
  if (!Array.isArray(packed)) return packed;
  const [items, scores, targets, asked, label] = packed;
  return (request.rankings[run] = {
    items: typeof items === "string" ? [...items].map((sign) => placesOf(request)[sign.charCodeAt(0) - FIRST]) : items,
    scores: scoresOf(scores), targets, asked, label,
    calls: (request.calls[run] ?? []).map(([name, messages, text, choices, tokens, finish, n_truncated]) => ({ name, messages, text, choices, tokens, finish, n_truncated })),
  });
}

const titleOf = (sample, request, sign) => sample.items[placesOf(request)[sign.charCodeAt(0) - FIRST]][1];

// A text of a call, in which each private character stands for the next of its titles; without titles it is as it was.
function told(sample, request, [text, titles]) {
  let at = 0;
  return titles === null ? sample.texts[text] : sample.texts[text].replace(/\ue000/g, () => titleOf(sample, request, titles[at++]));
}

function toldCall(sample, request, call) {
  const name = (coded) => (typeof coded === "string" ? titleOf(sample, request, coded) : coded[0]);
  return {
    ...call,
    messages: call.messages?.map(([role, ...coded]) => [role, told(sample, request, coded)]) ?? null,
    text: call.text === null ? null : told(sample, request, call.text),
    choices: call.choices.map(([coded, sum]) => [name(coded), sum]),
  };
}

function rankWords(ranking) {
  if (!ranking) return "not ranked";
  if (board.clicks) return `${isNumber(ranking.label) ? `rated ${ranking.label}` : ranking.targets.length ? "liked" : "not liked"}, ${isNumber(ranking.scores[0]) ? `${isNumber(ranking.label) ? "predicted" : "score"} ${ranking.scores[0].toFixed(3)}` : "no score"}`;
  if (!ranking.targets.length) return "no target";
  return ranking.targets.map(([, rank]) => (rank === null ? "target not in the list" : `target at rank ${rank}`)).join(", ");
}

function itemNodes(sample, place) {
  const [, title, about] = sample.items[place];
  return [title, about ? el("span", { class: "about" }, ` ${about}`) : ""];
}

const HISTORY = 20;

function historyView(sample, request) {
  const list = (places, start) => el("ol", { class: "history", start }, places.map((place) => el("li", {}, itemNodes(sample, place))));
  const all = request.history, hidden = Math.max(0, all.length - HISTORY);
  return [
    el("h3", {}, `History (${all.length.toLocaleString("en")}, oldest first)`),
    hidden ? el("details", {}, el("summary", {}, `${hidden.toLocaleString("en")} earlier items`), list(all.slice(0, hidden), 1)) : "",
    all.length ? list(all.slice(hidden), hidden + 1) : el("p", { class: "status" }, "none"),
  ];
}

function rankingView(sample, request, ranking, label) {
  const targets = new Set(request.targets), slots = new Map(request.candidates.map((place, slot) => [place, slot]));
  const rows = ranking.items.map((place, at) => ({ place, rank: at + 1, score: ranking.scores[at], slot: slots.get(place), target: targets.has(place) }));
  const whole = ranking.scores.every((score) => score === null || Number.isInteger(score));
  const scoreWords = (score) => (whole ? String(score) : Math.abs(score) < 1e4 ? score.toFixed(3) : score.toExponential(3));
  const columns = [
    ...(board.clicks ? [] : [{ name: "rank", numeric: true, first: "ascending", value: (row) => row.rank, cell: (row) => [String(row.rank)] }]),
    { name: "item", value: (row) => sample.items[row.place][1], cell: (row) => [...itemNodes(sample, row.place), row.target ? el("span", { class: "badge target" }, board.clicks ? "liked" : "target") : ""] },
    ...(slots.size && !board.clicks ? [{ name: "slot", title: "Place in the list, from 0", numeric: true, first: "ascending", value: (row) => row.slot, cell: (row) => [String(row.slot ?? "")] }] : []),
    { name: "score", title: "Higher is better", numeric: true, value: (row) => row.score, cell: (row) => [row.score === null ? "not named" : scoreWords(row.score)] },
  ];
  const table = sortableTable({ columns: board.clicks ? columns.reverse() : columns, rows, caption: "Candidates and ranking", sorted: { column: board.clicks ? "item" : "rank", direction: "ascending" },
    rowClass: (row) => [row.target ? "target" : "", row.score === null ? "unranked" : ""].filter(Boolean).join(" ") });
  table.table.classList.remove("sticky");
  return [
    el("h3", {}, board.clicks ? "Item and score" : slots.size ? `Candidates and ranking (${rows.length})` : `Ranking, first ${rows.length}`),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Candidates and ranking of ${label}` }, table.table),
    missingTargets(sample, request, slots),
  ];
}

function missingTargets(sample, request, slots) {
  const missing = slots.size ? request.targets.filter((place) => !slots.has(place)) : [];
  return missing.length ? el("p", { class: "status" }, "Target that is not in the list: ", missing.flatMap((place) => itemNodes(sample, place))) : "";
}

const text = (label, content) => el("pre", { tabindex: 0, role: "region", "aria-label": label }, content);

// A bar for each token, the taller the less likely; the numbers are told on hover and to screen readers.
function tokensView(tokens) {
  const words = `${tokens.length} tokens: ${tokens.map((value) => value.toFixed(2)).join(", ")}`;
  return el("span", { class: "tokens", title: words, role: "img", "aria-label": words }, tokens.map((value) => el("i", { style: `height:${Math.min(100, 8 + 8 * -value)}%` })));
}

function callView(call, label) {
  const clipped = call.n_truncated ? `, ${call.n_truncated} ${call.n_truncated === 1 ? "item" : "items"} of history clipped` : "";
  const asked = call.messages === null
    ? [el("p", { class: "status" }, "This prompt is not known any more.")]
    : call.messages.flatMap(([role, content]) => [el("div", { class: "role" }, role), text(`Prompt ${call.name} of ${label}, ${role}`, content)]);
  const chosen = call.choices.map(([name, sum], at) => [name, sum, call.tokens[at] ?? []]).sort((a, b) => (b[1] ?? -Infinity) - (a[1] ?? -Infinity));
  const several = chosen.some(([, , tokens]) => tokens.length > 1);
  return el("div", { class: "call" },
    el("div", { class: "role" }, `${call.name}${clipped}`), asked,
    call.text === null ? "" : [el("div", { class: "role" }, `raw answer, ended by ${call.finish}`), text(`Raw answer to ${call.name} of ${label}`, call.text)],
    chosen.length ? el("details", { open: chosen.length <= 5 }, el("summary", {}, `Log-probabilities of ${chosen.length} choices`),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Log-probabilities of the choices of ${call.name} of ${label}` },
        plainTable(["choice", "log-probability", ...(several ? ["of each token"] : [])],
          chosen.map(([name, sum, tokens]) => [name, isNumber(sum) ? sum.toFixed(3) : "not told", ...(several ? [tokens.length ? tokensView(tokens) : ""] : [])]), ""))) : "");
}

function callsView(sample, request, run, ranking) {
  if (!ranking.asked) return [el("h3", {}, "Prompt and answer"), el("p", { class: "status" }, "This row asks no language model.")];
  if (!ranking.calls.length && sample.calls.length < sample.requests.length) {
    return [el("h3", {}, "Prompts and raw answers"), el("p", { class: "status" }, `So that the page stays small, it has prompts and answers of the first ${sample.calls.length.toLocaleString("en")} requests of the sample alone.`)];
  }
  const more = ranking.asked > ranking.calls.length ? `, the first ${ranking.calls.length} of ${ranking.asked.toLocaleString("en")}` : "";
  return [
    el("h3", {}, `Prompts and raw answers${more}`),
    sample.notes[run] ? el("p", { class: "notes" }, sample.notes[run]) : "",
    ranking.calls.map((call) => callView(toldCall(sample, request, call), labelOf(run))),
  ];
}

// The best rank of a target; one that is not ranked is behind all others.
function bestRank(ranking) {
  const ranks = (ranking?.targets ?? []).map(([, rank]) => rank ?? Infinity);
  return ranks.length ? Math.min(...ranks) : Infinity;
}

const ANSWERED_WAYS = {
  all: ["rank every item", (ranking) => ranking && ranking.scores.every((score) => score !== null)],
  some: ["leave items out", (ranking) => ranking && ranking.scores.some((score) => score === null) && ranking.scores.some((score) => score !== null)],
  none: ["rank nothing", (ranking) => !ranking || ranking.scores.every((score) => score === null)],
  cut: ["were cut off", (ranking) => ranking?.calls.some((call) => call.finish === "length")],
};
const WON_WAYS = {
  run: ["the run", (one, other) => bestRank(one) < bestRank(other)],
  other: ["the row beside it", (one, other) => bestRank(other) < bestRank(one)],
  neither: ["neither", (one, other) => bestRank(one) === bestRank(other)],
};

function sideView(sample, request, run) {
  const ranking = rankingOf(request, run), name = sample.runs[Number(run)];
  const found = ranking ? [rankingView(sample, request, ranking, labelOf(name)), callsView(sample, request, name, ranking)] : [el("p", {}, "This row has no ranking of this request.")];
  return el("div", { class: "side" }, el("h3", {}, `${labelOf(name)}: ${rankWords(ranking)}`), found.flat(3));
}

function showSample(sample) {
  const [run, other, request, won, answers, target] = ["run", "other", "request", "won", "answers", "target"].map((name) => byId(`requests-${name}`));
  const back = byId("requests-back"), next = byId("requests-next");
  const language = sample.runs.find((name) => sample.requests.some((each) => each.calls[sample.runs.indexOf(name)]));
  const first = String(Math.max(0, sample.runs.indexOf(language)));
  const labels = sample.runs.map((name, place) => [String(place), labelOf(name)]);
  fillSelect(run, labels, first);
  fillSelect(other, [["", "no other row"], ...labels], labels.map(([place]) => place).find((place) => place !== first) ?? "");
  fillSelect(won, [["", "any"], ...Object.entries(WON_WAYS).map(([name, [words]]) => [name, words])], "");
  fillSelect(answers, [["", "any"], ...Object.entries(ANSWERED_WAYS).map(([name, [words]]) => [name, words])], "");
  const kinds = ["popularity", "cold-item"].flatMap((by) => [...new Set(sample.requests.map((each) => each.groups[by]).filter(Boolean))].sort((a, b) => a.localeCompare(b, "en", { numeric: true })).map((group) => [by, group]));
  fillSelect(target, [["", "any"], ...kinds.map(([by, group]) => [`${by}=${group}`, group])], "");
  byId("requests-target-label").hidden = !kinds.length;
  byId("requests-won-label").hidden = board.clicks;
  byId("requests-words").textContent = `${sample.requests.length.toLocaleString("en")} of ${sample.population.toLocaleString("en")} requests, drawn with seed ${sample.seed}.`;

  function fits(each) {
    const one = rankingOf(each, run.value), two = rankingOf(each, other.value);
    return (!won.value || WON_WAYS[won.value][1](one, two)) && (!answers.value || ANSWERED_WAYS[answers.value][1](one)) && (!target.value || Object.entries(each.groups).some((group) => group.join("=") === target.value));
  }

  function list() {
    const chosen = request.value || "0", found = sample.requests.map((each, place) => [each, place]).filter(([each]) => fits(each));
    fillSelect(request, found.map(([each, place]) => [String(place), `${place + 1}. user ${each.user}: ${rankWords(rankingOf(each, run.value))}`]));
    if (found.some(([, place]) => String(place) === chosen)) request.value = chosen;
    won.disabled = !other.value;
  }

  function show() {
    const each = sample.requests[Number(request.value)], none = request.options.length === 0;
    back.disabled = none || request.selectedIndex === 0;
    next.disabled = none || request.selectedIndex === request.options.length - 1;
    if (none) {
      byId("requests-status").textContent = "No request of the sample is so: choose another filter.";
      [byId("requests-view"), byId("requests-history")].forEach((place) => place.replaceChildren());
      return;
    }
    const beside = other.value ? `; ${labelOf(sample.runs[Number(other.value)])}: ${rankWords(rankingOf(each, other.value))}` : "";
    const counted = request.options.length === sample.requests.length ? "" : ` ${request.options.length} ${request.options.length === 1 ? "request passes" : "requests pass"} the filter.`;
    byId("requests-status").textContent = `${labelOf(sample.runs[Number(run.value)])}, request ${each.id} of user ${each.user}: ${rankWords(rankingOf(each, run.value))}${beside}.${counted}`;
    byId("requests-history").replaceChildren(...historyView(sample, each).filter(Boolean));
    byId("requests-view").replaceChildren(...[run.value, other.value].filter(Boolean).map((place) => sideView(sample, each, place)));
  }

  function change() {
    list();
    show();
    const named = (place) => sample.runs[Number(place)] ?? "";
    setLink("requests", { request: sample.requests[Number(request.value)]?.id ?? "", run: named(run.value), beside: other.value ? named(other.value) : "" });
  }

  const step = (by) => () => {
    request.selectedIndex += by;
    change();
  };
  back.addEventListener("click", step(-1));
  next.addEventListener("click", step(1));
  [run, other, request, won, answers, target].forEach((select) => select.addEventListener("change", change));
  onLink("requests", (asked) => {
    const place = (name) => sample.runs.indexOf(asked.get(name));
    if (place("run") >= 0) run.value = String(place("run"));
    if (asked.has("beside")) other.value = place("beside") >= 0 ? String(place("beside")) : "";
    won.value = answers.value = target.value = "";
    list();
    const at = sample.requests.findIndex((each) => each.id === asked.get("request"));
    if (at >= 0) request.value = String(at);
    show();
  });
  list();
  show();
}

async function showRequests() {
  const packed = byId("requests-data").textContent;
  if (!packed) return;
  byId("requests").hidden = false;
  if (typeof DecompressionStream === "undefined") {
    byId("requests-words").textContent = "This browser cannot unpack the sample: it lacks DecompressionStream, which browsers have since 2023.";
    return;
  }
  showSample(await unpacked(packed));
}
