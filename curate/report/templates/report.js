"use strict";
// Everything that came from the crawl is put on the page as text (textContent), never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const [MANIFEST, ID, SELECTED, RANK, LABEL, SCORE, THRESHOLD, WEIGHT, WHY, REASON, PARTS, LISTED] = Array(12).keys();
const [URI, PLACES, WIDTH, HEIGHT, FORMAT, BYTES, METADATA] = Array(7).keys();
const PAGE = 12;
const find = (id) => document.getElementById(id);
const byImage = new Map();
for (const row of data.rows) {
  if (!byImage.has(row[ID])) byImage.set(row[ID], []);
  byImage.get(row[ID]).push(row);
}
const originals = new Set(data.originals);

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== "role") node[name] = value; else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const number = (value) => value === null ? "none" : Math.abs(value) < 100 ? value.toFixed(4) : Number(value.toPrecision(6)).toString();
const className = (row) => data.manifests[row[MANIFEST]].classes[row[LABEL]];
const outcome = (row) => row[SELECTED] ? "selected" : "left";

function describe(id) {
  const row = rowOf(id);
  if (!row) return originals.has(id) ? "original image" : "image " + id;
  return `${className(row)}, ${outcome(row)}, score ${number(row[SCORE])}`;
}
// Of the manifest that is shown, if it has the image.
function rowOf(id) {
  const rows = byImage.get(id) || [];
  return rows.find((row) => row[MANIFEST] === shown) || rows[0];
}
function picture(id) {
  const image = data.images[id];
  if (!data.thumbs[id]) return make("span", { className: "none", textContent: "no picture" });
  const small = image && Math.max(image[WIDTH], image[HEIGHT]) <= 32;
  return make("img", { src: data.thumbs[id], alt: describe(id), loading: "lazy", className: small ? "tiny" : "" });
}
function fill(button) {
  button.replaceChildren(picture(button.dataset.image));
  button.setAttribute("aria-label", describe(button.dataset.image));
}

// Which manifest is shown: the sections of the others are hidden.
let shown = data.manifests.length - 1;
function show(manifest) {
  shown = manifest;
  for (const node of document.querySelectorAll("[data-manifest]")) node.hidden = Number(node.dataset.manifest) !== shown;
  document.querySelectorAll(".pic").forEach(fill);
  const chosen = document.querySelector("#switch :checked");
  if (chosen) find("switch").scrollLeft = chosen.parentElement.offsetLeft - 24;
}
const choice = find("switch");
if (choice) {
  choice.hidden = false;
  choice.addEventListener("change", (event) => {
    const top = event.target.closest("nav").getBoundingClientRect().bottom;
    const here = [...document.querySelectorAll("section")].find((one) => one.getBoundingClientRect().bottom > top + 80);
    const before = here ? here.getBoundingClientRect().top : 0;
    show(Number(event.target.value));
    if (here) window.scrollBy({ top: here.getBoundingClientRect().top - before, behavior: "instant" });
    find("controls").elements.manifest.value = String(shown);
    refresh();
  });
}

// One stop of the Tab key for each group of pictures; the arrow keys move within.
for (const group of document.querySelectorAll(".pics")) {
  const buttons = [...group.querySelectorAll(".pic")];
  buttons.forEach((button, place) => { button.tabIndex = place ? -1 : 0; });
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 4, ArrowUp: -4 }[event.key];
    const next = step && buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    buttons.forEach((button) => { button.tabIndex = button === next ? 0 : -1; });
    next.focus();
  });
}

// So is a map; there an arrow key goes to the nearest point on its side.
const SIDES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
function nearest(points, from, [right, down]) {
  const place = (node) => { const box = node.getBBox(); return [box.x + box.width / 2, box.y + box.height / 2]; };
  const [x, y] = place(from);
  let best = null, least = Infinity;
  for (const point of points) {
    const [u, v] = place(point);
    const along = (u - x) * right + (v - y) * down, across = Math.abs((u - x) * down + (v - y) * right);
    if (along > 0 && across <= along && along + across < least) [best, least] = [point, along + across];
  }
  return best;
}
for (const map of document.querySelectorAll(".map")) {
  const points = [...map.querySelectorAll("[data-point]")];
  const reach = (point, index) => point.setAttribute("tabindex", index);
  map.setAttribute("role", "group");
  points.forEach((point, order) => { point.setAttribute("role", "button"); reach(point, order ? -1 : 0); });
  map.addEventListener("focusin", (event) => {
    points.forEach((point) => reach(point, point === event.target ? 0 : -1));
    event.target.setAttribute("aria-label", describe(event.target.dataset.point));
  });
  map.addEventListener("keydown", (event) => {
    const opens = event.key === "Enter" || event.key === " ", side = SIDES[event.key];
    if ((!opens && !side) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (opens) return detail(event.target.dataset.point);
    const next = nearest(points, event.target, side);
    if (next) next.focus();
  });
}

const tip = find("tip");
function tell(id, x, y) {
  const row = rowOf(id), image = data.images[id];
  const words = make("div", {}, make("b", { textContent: row ? className(row) : originals.has(id) ? "original image" : "image" }));
  if (row) words.append(`${outcome(row)}, score ${number(row[SCORE])}` + (row[THRESHOLD] === null ? "" : ` (threshold ${number(row[THRESHOLD])})`), make("br"), row[REASON]);
  else if (image) words.append(image[URI]);
  tip.replaceChildren(...(data.thumbs[id] ? [make("img", { src: data.thumbs[id], alt: "" })] : []), words);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
  const top = y + 16 + box.height > innerHeight ? y - 16 - box.height : y + 16;
  tip.style.transform = `translate(${Math.max(8, Math.min(left, innerWidth - box.width - 8))}px, ${Math.max(8, top)}px)`;
}
const target = (event) => event.target.closest && event.target.closest("[data-image], [data-point]");
const idOf = (node) => node.dataset.image || node.dataset.point;
const hide = () => { tip.hidden = true; };
document.addEventListener("pointermove", (event) => {
  const node = event.pointerType === "mouse" && target(event);
  if (node) tell(idOf(node), event.clientX, event.clientY); else hide();
});
// Beside what the keyboard is at, and stays there when that is scrolled into sight.
function follow() {
  const node = target({ target: document.activeElement });
  if (!node || !node.matches(":focus-visible")) return hide();
  const box = node.getBoundingClientRect();
  tell(idOf(node), box.right - 8, box.bottom - 8);
}
document.addEventListener("focusin", follow);
document.addEventListener("focusout", hide);
document.addEventListener("scroll", follow, { passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

// The ledger rows of one image.
const dialog = find("detail");
document.addEventListener("click", (event) => {
  const node = target(event);
  if (node) detail(idOf(node));
  else if (event.target === dialog) dialog.close();
});
function detail(id) {
  hide();
  const image = data.images[id], rows = byImage.get(id) || [];
  const facts = make("dl");
  const fact = (name, value) => facts.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  if (image) {
    fact("found at", image[URI] + (image[PLACES] > 1 ? ` and ${image[PLACES] - 1} more` : ""));
    fact("file", `${image[FORMAT]}, ${image[WIDTH]} x ${image[HEIGHT]}, ${image[BYTES].toLocaleString("en")} bytes`);
    if (image[METADATA]) fact("came with it", image[METADATA]);
  } else fact("this is", originals.has(id) ? "an original image, given as --reference: no part of the pool" : "no longer in the pool");
  const top = make("div", { className: "top" }, picture(id),
    make("div", {}, make("h2", { id: "detail-title", textContent: "Image " + id }), facts));
  const body = make("tbody");
  for (const row of rows) {
    const parts = Object.entries(row[PARTS]).map(([name, value]) => `${name} ${value === null ? "none" : number(value)}`);
    body.append(make("tr", {}, make("td", { textContent: data.manifests[row[MANIFEST]].name }),
      make("td", {}, pill(row)), make("td", { textContent: className(row) }),
      make("td", { className: "n", textContent: number(row[SCORE]) }), make("td", { className: "n", textContent: row[THRESHOLD] === null ? "" : number(row[THRESHOLD]) }),
      make("td", {}, row[REASON], make("span", { className: "sub", textContent: parts.join(", ") }))));
  }
  const heads = ["manifest", "outcome", "class", "score", "threshold", "reason"];
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((name) => make("th", { scope: "col", className: name === "score" || name === "threshold" ? "n" : "", textContent: name })))), body);
  const said = make("span", { className: "small", role: "status" });
  const sql = `SELECT * FROM decisions JOIN locations USING (image_id) WHERE image_id = ${id}`;
  const copy = make("button", { className: "button", type: "button", textContent: "Copy SQL" });
  copy.addEventListener("click", () => put(sql, said));
  const close = make("button", { className: "button main", type: "button", textContent: "Close" });
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(top, ...(rows.length ? [make("div", { className: "scroll" }, table)] : []),
    make("div", { className: "actions" }, close, ...(rows.length ? [copy] : []), said));
  dialog.showModal();
}
const pill = (row) => make("span", { className: "pill " + outcome(row), textContent: row[SELECTED] ? `selected, rank ${row[RANK].toLocaleString("en")}` : "left" });

// From a file, browsers may have no clipboard: then the text is marked, and the person copies it.
async function put(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "copied";
  } catch {
    const area = make("textarea", { value: text });
    (dialog.open ? dialog : document.body).append(area);
    area.select();
    said.textContent = document.execCommand("copy") ? "copied" : "this browser cannot copy: mark the text below";
    area.remove();
  }
}

// The table: filter, sort, turn pages.
const controls = find("controls"), body = document.querySelector("#ledger tbody");
const COLUMNS = [["outcome", SELECTED], ["class", LABEL], ["score", SCORE], ["threshold", THRESHOLD], ["reason", WHY], ["manifest", MANIFEST]];
const NAMES = { [SELECTED]: "selected", [LABEL]: "pseudo_label", [SCORE]: "score", [THRESHOLD]: "threshold", [WHY]: "why", [MANIFEST]: "manifest" };
let order = { by: SCORE, down: true }, page = 0, found = [];
const literal = (text) => "'" + text.replaceAll("'", "''") + "'";

function filters() {
  const value = (name) => controls.elements[name].value;
  const number = (name) => value(name) === "" || !Number.isFinite(Number(value(name))) ? null : Number(value(name));
  const pick = (name) => value(name) === "" ? null : Number(value(name));
  return { manifest: data.manifests.length > 1 ? pick("manifest") : 0, selected: pick("selected"), label: pick("label"), why: pick("why"), low: number("low"), high: number("high") };
}
function passes(row, f) {
  return row[LISTED] && (f.manifest === null || row[MANIFEST] === f.manifest) && (f.selected === null || row[SELECTED] === f.selected) &&
    (f.label === null || row[LABEL] === f.label) && (f.why === null || row[WHY] === f.why) &&
    (f.low === null || row[SCORE] >= f.low) && (f.high === null || row[SCORE] <= f.high);
}
const key = (row, by) => by === WHY ? data.whys[row[WHY]] : by === MANIFEST ? data.manifests[row[MANIFEST]].name : row[by];
const ascending = (a, b) => a < b ? -1 : a > b ? 1 : 0;
function compare(a, b) {
  const x = key(a, order.by), y = key(b, order.by);
  if ((x === null) !== (y === null)) return x === null ? 1 : -1; // as NULLS LAST
  const one = x === null ? 0 : order.down ? ascending(y, x) : ascending(x, y);
  return one || ascending(BigInt(a[ID]), BigInt(b[ID])) || ascending(data.manifests[a[MANIFEST]].name, data.manifests[b[MANIFEST]].name);
}
function query(whole) {
  const f = filters();
  const chosen = data.manifests.filter((_, place) => f.manifest === null || place === f.manifest);
  const conditions = chosen.map((one) => whole ? `manifest = ${literal(one.name)}` : one.condition);
  const where = [conditions.length > 1 ? `(${conditions.map((one) => `(${one})`).join("\n    OR ")})` : conditions[0]];
  if (f.selected !== null) where.push(f.selected ? "selected" : "NOT selected");
  if (f.label !== null) where.push(`pseudo_label = ${f.label}`);
  if (f.why !== null) where.push(`why = ${literal(data.whys[f.why])}`);
  if (f.low !== null) where.push(`score::DOUBLE >= ${f.low}::DOUBLE`);
  if (f.high !== null) where.push(`score::DOUBLE <= ${f.high}::DOUBLE`);
  return `SELECT manifest, image_id, selected, "rank", pseudo_label, score, threshold, reason\nFROM decisions\nWHERE ${where.join("\n  AND ")}\n` +
    `ORDER BY ${NAMES[order.by]} ${order.down ? "DESC" : "ASC"} NULLS LAST, image_id, manifest`;
}
function line(row) {
  const button = make("button", { className: "pic", type: "button" });
  button.dataset.image = row[ID];
  fill(button);
  const text = (value, name = "") => make("td", { className: name, textContent: value });
  return make("tr", {}, make("td", {}, button), make("td", {}, pill(row)), text(className(row)), text(number(row[SCORE]), "n"),
    text(row[THRESHOLD] === null ? "" : number(row[THRESHOLD]), "n opt"), text(row[REASON], "why"), text(data.manifests[row[MANIFEST]].name, "opt"));
}
function draw() {
  const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
  page = Math.min(page, last);
  body.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(line));
  find("count").textContent = found.length ? `${(page * PAGE + 1).toLocaleString("en")} to ${Math.min(found.length, (page + 1) * PAGE).toLocaleString("en")} of ${found.length.toLocaleString("en")} rows` : "no row is like that";
  find("before").disabled = page === 0;
  find("after").disabled = page === last;
}
function refresh() {
  const f = filters();
  found = data.rows.filter((row) => passes(row, f)).sort(compare);
  page = 0;
  draw();
  find("sql").textContent = query(false);
  find("copied").textContent = "";
}
function prepare() {
  const labels = new Map();
  for (const row of data.rows) if (row[LISTED]) labels.set(row[LABEL], className(row));
  for (const [label, name] of [...labels].sort((a, b) => a[0] - b[0])) controls.elements.label.append(make("option", { value: label, textContent: name }));
  data.whys.forEach((why, place) => controls.elements.why.append(make("option", { value: place, textContent: why || "(no reason)" })));
  const head = document.querySelector("#ledger thead tr");
  for (const [name, by] of COLUMNS) {
    const button = make("button", { type: "button", textContent: name });
    const cell = make("th", { scope: "col", className: by === SCORE || by === THRESHOLD ? "n" : "" }, button);
    const mark = () => head.querySelectorAll("th[aria-sort]").forEach((one) => one.removeAttribute("aria-sort"));
    button.addEventListener("click", () => {
      order = { by, down: order.by === by ? !order.down : by === SCORE || by === SELECTED };
      mark();
      cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      refresh();
    });
    if (by === order.by) cell.setAttribute("aria-sort", "descending");
    head.append(cell);
  }
  if (data.manifests.length > 1) controls.elements.manifest.value = String(shown);
  controls.addEventListener("input", refresh);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(refresh));
  find("before").addEventListener("click", () => { page -= 1; draw(); });
  find("after").addEventListener("click", () => { page += 1; draw(); });
  find("copy-sample").addEventListener("click", () => put(query(false), find("copied")));
  find("copy-all").addEventListener("click", () => put(query(true), find("copied")));
  find("table").hidden = false;
}
prepare();
show(shown);
refresh();
