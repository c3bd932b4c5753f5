"use strict";
// Filters, sorting, details of cells, charts and generations. All texts of records reach the page through textContent
// or Plot, which also sets text nodes, so that nothing in them is read as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { columns, panels, rows, strings } = data;
  const byId = (id) => document.getElementById(id);
  const many = new Set(panels.map((panel) => panel.grid)).size > 1;
  const [VALUE, LOW, HIGH, METHOD, SEEDS, NOTES, RUNS] = [0, 1, 2, 3, 4, 5, 6];
  const isMissing = (value) => value === null || value === undefined || value === "";

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in made && key !== "list") made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  const panelTitle = (panel) => (many ? `${panel.task}, ${panel.grid}` : panel.task);
  const number = (value) => (isMissing(value) ? "" : String(Number(Number(value).toPrecision(4))));

  // Colours and symbols: of each row where a chart has few, else of each system. Shapes tell them apart without colour.
  const MOST_COLOURS = 10;
  const SHAPES = ["circle", "square", "triangle", "diamond2", "cross", "star", "times", "wye", "plus", "asterisk"];
  const SYMBOLS = [d3.symbolCircle, d3.symbolSquare, d3.symbolTriangle, d3.symbolDiamond2, d3.symbolCross, d3.symbolStar,
    d3.symbolTimes, d3.symbolWye, d3.symbolPlus, d3.symbolAsterisk];
  const systems = [...new Set(rows.filter((row) => !row.is_entropy).map((row) => row.system))].sort();

  function keyOf(shown) {
    const titles = [...new Set(shown.map((row) => row.title))];
    const perRow = titles.length <= MOST_COLOURS;
    const domain = perRow ? titles : systems;
    const scale = (range) => ({ domain, range: domain.map((_, place) => range(place % MOST_COLOURS)) });
    const nameOf = (row) => (perRow ? row.title : row.system);
    return { nameOf, color: scale((place) => `var(--s${place})`), symbol: scale((place) => SHAPES[place]),
      legend: legend(domain, new Set(shown.map(nameOf))) };
  }

  function legend(domain, present) {
    const list = element("ul", { className: "legend" });
    domain.forEach((name, at) => {
      if (!present.has(name)) return;
      const place = at % MOST_COLOURS;
      const mark = d3.create("svg").attr("width", 14).attr("height", 14).attr("viewBox", "-7 -7 14 14").attr("aria-hidden", "true");
      mark.append("path").attr("d", d3.symbol(SYMBOLS[place], 50)()).attr("fill", "none")
        .attr("stroke", `var(--s${place})`).attr("stroke-width", 2);
      list.append(element("li", {}, mark.node(), ` ${name}`));
    });
    return list;
  }

  // Filters.
  const chosen = { panel: new Set(), system: new Set(), objective: new Set(), metric: new Set() };
  const options = {
    panel: panels.map((panel) => [panel.number, panelTitle(panel)]),
    system: systems.map((system) => [system, system]),
    objective: [...new Set(rows.filter((row) => !row.is_entropy).map((row) => row.objective))].sort().map((name) => [name, name]),
    metric: columns.map((column, place) => [place, column.text]),
  };
  const initialCss = byId("columns").textContent;
  const isMain = (place) => !initialCss.includes(`.c${place}{`);

  function checkboxes(details, entries, isOn, onChange) {
    const fieldset = details.querySelector("fieldset");
    const boxes = entries.map(([key, text]) => {
      const box = element("input", { type: "checkbox", checked: isOn(key) });
      box.addEventListener("change", () => onChange(key, box.checked));
      return [key, box, element("label", {}, box, ` ${text}`)];
    });
    const setAll = (wanted) => boxes.forEach(([key, box]) => {
      if (box.checked !== wanted(key)) { box.checked = wanted(key); onChange(key, box.checked, true); }
    });
    for (const [text, wanted] of [["all", () => true], ["none", () => false]]) {
      const button = element("button", { type: "button" }, text);
      button.addEventListener("click", () => { setAll(wanted); onChange(null); });
      fieldset.append(button);
    }
    fieldset.append(...boxes.map(([, , label]) => label));
    return setAll;
  }

  const label = (details, name, on, all) => { details.querySelector("summary").textContent = on === all ? name : `${name} (${on} of ${all})`; };
  const NAMES = { panel: "Tasks", system: "Systems", objective: "Objectives", metric: "Metrics" };
  const resets = [];
  for (const details of document.querySelectorAll("#filters .pick")) {
    const of = details.dataset.of;
    const isOn = (key) => of !== "metric" || isMain(key);
    options[of].forEach(([key]) => isOn(key) && chosen[of].add(key));
    const setAll = checkboxes(details, options[of], isOn, (key, on, quiet) => {
      if (key !== null) chosen[of][on ? "add" : "delete"](key);
      if (!quiet) applyFilters();
    });
    resets.push(() => setAll(isOn));
  }
  for (const details of document.querySelectorAll(".pick")) {
    details.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && details.open) { details.open = false; details.querySelector("summary").focus(); event.stopPropagation(); }
    });
    details.addEventListener("focusout", (event) => { if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false; });
  }
  document.addEventListener("pointerdown", (event) => {
    for (const details of document.querySelectorAll(".pick[open]")) if (!details.contains(event.target)) details.open = false;
  });

  const isShown = (row) => chosen.panel.has(row.panel)
    && (row.is_entropy || (chosen.system.has(row.system) && chosen.objective.has(row.objective)))
    && `${row.label} ${row.title}`.toLowerCase().includes(byId("search").value.toLowerCase());

  const table = byId("table");
  const body = table.tBodies[0];
  const lines = [...body.rows];
  lines.forEach((line, place) => { line.dataset.place = place; });

  const printed = [...table.querySelectorAll("th[data-key^='printed:']")].map((header) => header.dataset.key.slice(8));
  function span(header, count) {
    if (!header) return;
    header.hidden = count === 0;
    header.colSpan = Math.max(1, count);
  }

  function applyFilters() {
    let shown = 0;
    lines.forEach((line, place) => { line.hidden = !isShown(rows[place]); shown += !line.hidden; });
    byId("shown").textContent = `${shown} of ${rows.length} rows`;
    const visible = rows.filter(isShown);
    const hasColumn = (place) => chosen.metric.has(place) && visible.some((row) => place in row.cells);
    const hasPrinted = (metric) => visible.some((row) => metric in row.printed) && [...chosen.metric].some((place) => columns[place].metric === metric);
    const hidden = (names, isIn) => names.map((name, place) => [name, place]).filter(([name, place]) => !isIn(name, place)).map(([, place]) => place);
    const withoutColumns = hidden(columns, (_, place) => hasColumn(place));
    const withoutPrinted = hidden(printed, hasPrinted);
    byId("columns").textContent = [...withoutColumns.map((place) => `.c${place}`), ...withoutPrinted.map((place) => `.p${place}`)].map((rule) => `${rule}{display:none}`).join("");
    span(byId("ours"), columns.length - withoutColumns.length);
    span(byId("theirs"), printed.length - withoutPrinted.length);
    for (const details of document.querySelectorAll("#filters .pick")) {
      label(details, NAMES[details.dataset.of], chosen[details.dataset.of].size, options[details.dataset.of].length);
    }
    table.classList.toggle("no-published", !byId("published").checked);
    if (chosen.panel.size && !chosen.panel.has(panel)) showPanel(Math.min(...chosen.panel));
    if (current && (current.parentElement.hidden || !isVisible(current))) moveTo(firstCell());
    redraw();
  }

  byId("search").addEventListener("input", applyFilters);
  byId("published").addEventListener("change", applyFilters);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(() => { resets.forEach((reset) => reset()); applyFilters(); }));

  // Sorting: the better values first; rows without a value always last.
  function sortValue(row, key) {
    if (key in columns) return row.cells[key]?.[VALUE];
    if (key.startsWith("printed:")) return row.printed[key.slice(8)]?.[0];
    return row[key];
  }
  const headers = [...table.querySelectorAll("th[data-key]")];
  for (const header of headers) {
    header.querySelector("button").addEventListener("click", () => {
      const key = header.dataset.key;
      const first = key in columns && columns[key].direction === "up" ? "descending" : "ascending";
      const order = !header.ariaSort ? first : header.ariaSort === "ascending" ? "descending" : "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const sorted = [...lines].sort((a, b) => {
        const [x, y] = [a, b].map((line) => sortValue(rows[line.dataset.place], key));
        if (isMissing(x) || isMissing(y)) return isMissing(x) - isMissing(y);
        return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
      });
      body.append(...sorted);
    });
  }

  // Details of a cell: on hover and with the arrow keys. One cell is in the tab order.
  const tip = byId("tip");
  let current = null;
  const isVisible = (cell) => cell.offsetParent !== null;
  const firstCell = () => { const line = [...body.rows].find((row) => !row.hidden); return line ? [...line.cells].slice(1).find(isVisible) : null; };

  function moveTo(cell, focus = false) {
    if (!cell) return;
    if (current) current.tabIndex = -1;
    current = cell;
    cell.tabIndex = 0;
    if (focus) { cell.focus(); cell.scrollIntoView({ block: "nearest", inline: "nearest" }); }
  }

  function describe(cell) {
    const row = rows[cell.parentElement.dataset.place];
    const header = headers[cell.cellIndex];
    const key = header.dataset.key;
    const entries = [];
    let title = `${row.title}, ${panels[row.panel].task}`;
    if (key in columns) {
      const content = row.cells[key];
      const column = columns[key];
      if (!content) return null;
      const [signature, texts] = panels[row.panel].measured[key] ?? [];
      const isMeasured = !isMissing(content[VALUE]);
      title += `: ${column.text} ${number(content[VALUE])}`;
      if (!isMissing(content[LOW])) entries.push(["interval", `${number(content[LOW])} to ${number(content[HIGH])} (${strings[content[METHOD]]})`]);
      if (isMeasured && !isMissing(signature)) entries.push(["signature", strings[signature]]);
      if (isMeasured && !isMissing(texts)) entries.push(["texts", texts]);
      if (content[SEEDS]) entries.push(["seeds", content[SEEDS]]);
      if (content[SEEDS]) entries.push(["runs", isMissing(content[RUNS]) ? row.runs.map((run) => run.id).join(", ") : strings[content[RUNS]]]);
      (content[NOTES] ?? []).forEach((note) => entries.push([isMeasured ? "note" : "reason", strings[note]]));
    } else if (key.startsWith("printed:")) {
      const figure = row.printed[key.slice(8)];
      if (!figure) return null;
      title += `: ${key.slice(8)} ${figure[1]}, as printed`;
      entries.push(["source", figure[3]], ["caution", "other data, tokens and estimators: not comparable with ours"]);
      if (figure[2]) entries.push(["note", figure[2]]);
    } else return null;
    entries.unshift(["label", row.label]);
    row.notes.forEach((note) => entries.push(["note on the row", note]));
    return element("div", {}, element("b", {}, title), element("dl", {}, ...entries.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, String(text))])));
  }

  function showTip(cell) {
    const content = describe(cell);
    if (!content) return hideTip();
    tip.replaceChildren(content);
    tip.hidden = false;
    cell.setAttribute("aria-describedby", "tip");
    const box = cell.getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    tip.style.top = `${box.bottom + 4 + height < innerHeight ? box.bottom + 4 : Math.max(8, box.top - height - 4)}px`;
  }
  function hideTip() {
    tip.hidden = true;
    body.querySelector("[aria-describedby=tip]")?.removeAttribute("aria-describedby");
  }
  const cellOf = (event) => event.target.closest("#table tbody td");
  body.addEventListener("pointerover", (event) => { const cell = cellOf(event); if (cell) { hideTip(); showTip(cell); } });
  body.addEventListener("pointerleave", (event) => { if (!tip.contains(event.relatedTarget)) hideTip(); });
  tip.addEventListener("pointerleave", hideTip);
  body.addEventListener("focusin", (event) => { const cell = cellOf(event); if (cell) { moveTo(cell); hideTip(); showTip(cell); } });
  body.addEventListener("focusout", hideTip);
  body.addEventListener("click", (event) => { const cell = cellOf(event); if (cell) moveTo(cell, true); });
  document.querySelector(".tall").addEventListener("scroll", () => { if (!body.contains(document.activeElement)) hideTip(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  body.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    const line = cell.parentElement;
    const across = [...line.cells].slice(1).filter(isVisible);
    const down = [...body.rows].filter((row) => !row.hidden);
    const [x, y] = [across.indexOf(cell), down.indexOf(line)];
    const to = {
      ArrowRight: () => across[x + 1], ArrowLeft: () => across[x - 1], Home: () => across[0], End: () => across.at(-1),
      ArrowDown: () => down[y + 1]?.cells[cell.cellIndex], ArrowUp: () => down[y - 1]?.cells[cell.cellIndex],
      PageDown: () => down[Math.min(y + 10, down.length - 1)].cells[cell.cellIndex],
      PageUp: () => down[Math.max(y - 10, 0)].cells[cell.cellIndex],
    }[event.key];
    if (to) { event.preventDefault(); moveTo(to(), true); }
  });

  // Charts: drawn when they come into view, again when filters, the task or the width change.
  let panel = Math.max(0, panels.findIndex((candidate) => candidate.entropy !== null));
  const inPanel = () => rows.filter((row) => !row.is_entropy && row.panel === panel && isShown(row));
  const scoreOf = (row, name) => {
    const values = row.runs.map((run) => run.scores[name]).filter((value) => value !== undefined && value !== null);
    return values.length ? d3.mean(values) : null;
  };
  const seeded = (row, run) => (row.runs.length > 1 ? `${row.title}, seed ${run.seed}` : row.title);
  const base = (width, height, key) => ({ width, height, marginLeft: 46, marginBottom: 38, style: { fontSize: "12px", fontFamily: "inherit" }, color: key.color, symbol: key.symbol });
  const empty = (text) => element("p", { className: "hint" }, text);

  function plot(title, options, isNamed = true) {
    const drawn = Plot.plot({ ...options, figure: false });
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", title);
    for (const part of drawn.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");  // parts of one image
    return element("div", {}, isNamed ? element("p", { className: "name" }, title) : null, drawn);
  }

  function asTable(names, entries) {
    const details = element("details", {}, element("summary", {}, "The values as a table"));
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
      const content = entries.map((entry) => element("tr", {}, ...entry.map((value, place) =>
        element(place ? "td" : "th", place ? {} : { scope: "row" }, typeof value === "number" ? number(value) : value ?? ""))));
      details.append(element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Values of the chart" },
        element("table", {}, element("thead", {}, head), element("tbody", {}, ...content))));
    });
    return details;
  }

  function drawCosts(place) {
    const key = keyOf(rows.filter((row) => !row.is_entropy));
    const charts = panels.map((of) => {
      const points = rows.filter((row) => row.panel === of.number && row.seconds !== null && scoreOf(row, "PPL") !== null)
        .map((row) => ({ name: key.nameOf(row), title: row.title, seconds: row.seconds, ppl: scoreOf(row, "PPL") }));
      if (!points.length) return null;
      const width = Math.max(185, Math.min(300, place.clientWidth / panels.length - 16));
      const [unit, length] = d3.max(points, (point) => point.seconds) < 120 ? ["seconds", 1] : ["minutes", 60];
      return plot(many ? `${of.task}, ${of.grid.split(" (")[0]}` : of.task, {
        ...base(width, 160, key), marginLeft: 34, x: { label: `${unit} a run`, ticks: 4, zero: true, nice: true, labelOffset: 34 }, y: { label: "PPL", nice: true, ticks: 4 },
        marks: [
          Plot.dot(points, { x: (p) => p.seconds / length, y: "ppl", stroke: "name", symbol: "name", r: 4 }),
          Plot.tip(points, Plot.pointer({ x: (p) => p.seconds / length, y: "ppl", title: (p) => `${p.title}\nPPL ${number(p.ppl)}, ${number(p.seconds / length)} ${unit}` })),
        ],
      });
    }).filter(Boolean);
    place.replaceChildren(element("div", { className: "multiples" }, ...charts), key.legend);
  }

  function drawCurves(place) {
    const shown = inPanel();
    const key = keyOf(shown);
    const points = shown.flatMap((row) => row.runs.flatMap((run) => (run.curve ? run.curve.step.map((step, at) => ({
      run: seeded(row, run), name: key.nameOf(row), step, ...Object.fromEntries(["Rec", "KL", "β"].map((name) => [name, run.curve[name]?.[at] ?? NaN])),
    })) : [])));
    if (!points.length) return place.replaceChildren(empty("No curve of these runs was stored."));
    const width = Math.max(260, place.clientWidth > 900 ? place.clientWidth / 3 - 20 : Math.min(place.clientWidth, 620));
    const charts = ["Rec", "KL", "β"].filter((name) => points.some((point) => Number.isFinite(point[name]))).map((name) => {
      const known = points.filter((point) => Number.isFinite(point[name]));
      const positive = known.filter((point) => point[name] > 0);
      const wide = name === "KL" && positive.length && d3.max(positive, (p) => p.KL) > 200 * d3.median(positive, (p) => p.KL);
      const drawn = wide ? positive : known;
      return plot(name === "β" ? "β" : `${name} (nats per text${wide ? ", log scale" : ""})`, {
        ...base(width, 240, key), x: { label: "step", ticks: 5, labelOffset: 34 }, y: { label: null, grid: true, type: wide ? "log" : "linear", ...(wide ? { ticks: 5, tickFormat: "~g" } : {}) },
        marks: [
          Plot.line(drawn, { x: "step", y: name, z: "run", stroke: "name", strokeWidth: 1.4, strokeOpacity: 0.85 }),
          Plot.dot(drawn, Plot.selectLast({ x: "step", y: name, z: "run", stroke: "name", symbol: "name", r: 3.5 })),
          Plot.tip(drawn, Plot.pointer({ x: "step", y: name, title: (p) => `${p.run}\nstep ${p.step}: ${name} ${number(p[name])}` })),
        ],
      });
    });
    place.replaceChildren(key.legend, element("div", { className: "side" }, ...charts),
      asTable(["run", "step", "Rec", "KL", "β"], points.map((p) => [p.run, p.step, p.Rec, p.KL, p["β"]])));
  }

  function drawPlane(place) {
    const shown = inPanel().filter((row) => scoreOf(row, "KL") !== null);
    const key = keyOf(shown);
    const points = shown.map((row) => ({ name: key.nameOf(row), title: row.title, kl: scoreOf(row, "KL"), rec: scoreOf(row, "Rec"), elbo: scoreOf(row, "ELBO") }))
      .filter((point) => point.kl !== null && point.rec !== null);
    if (!points.length) return place.replaceChildren(empty("No run of this task has KL and Rec."));
    const single = shown.flatMap((row) => (row.runs.length > 1 ? row.runs.map((run) => ({ name: key.nameOf(row), kl: run.scores.KL, rec: run.scores.Rec })) : []))
      .filter((point) => Number.isFinite(point.kl) && Number.isFinite(point.rec));
    const entropy = panels[panel].entropy;
    const right = Math.max(1e-3, d3.max(points, (p) => p.kl)) * 1.08;
    const [least, most] = [Math.min(d3.min(points, (p) => p.rec), entropy ?? Infinity), d3.max([...points, ...single], (p) => p.rec)];
    const domain = [Math.max(0, least - 0.3 * (most - least) - 0.1), most + 0.05 * (most - least) + 0.1];
    const line = (sum) => [{ kl: 0, rec: sum }, { kl: right, rec: sum - right }];
    const step = d3.tickStep(domain[0], domain[1] + right, 12);
    const diagonals = d3.range(Math.ceil(domain[0] / step) * step, domain[1] + right, step);
    const width = Math.max(280, Math.min(place.clientWidth, 1000));
    const chart = plot("Rate–distortion plane", {
      ...base(width, 440, key), marginRight: 30, x: { label: "KL (nats per text)", domain: [0, right], labelOffset: 34 }, y: { label: "Rec (nats per text)", domain },
      marks: [
        ...diagonals.map((sum) => Plot.line(line(sum), { x: "kl", y: "rec", stroke: "currentColor", strokeOpacity: 0.18, clip: true })),
        entropy === null ? null : Plot.area(line(entropy), { x1: "kl", y1: domain[0], y2: "rec", x2: "kl", fill: "currentColor", fillOpacity: 0.07, clip: true }),
        entropy === null ? null : Plot.line(line(entropy), { x: "kl", y: "rec", stroke: "var(--limit)", strokeWidth: 2, clip: true }),
        entropy === null ? null : Plot.text([`entropy ${number(entropy)} nats`], { frameAnchor: "bottom-left", dx: 8, dy: -8, fill: "var(--limit)", fontWeight: 600 }),
        Plot.dot(single, { x: "kl", y: "rec", stroke: "name", symbol: "name", r: 2, strokeOpacity: 0.5, clip: true }),
        Plot.dot(points, { x: "kl", y: "rec", stroke: "name", symbol: "name", r: 5, strokeWidth: 2 }),
        ...(points.length > 12 ? [] : d3.groups(points, (p) => p.kl > 0.6 * right)).map(([isRight, of]) => Plot.text(of, { x: "kl", y: "rec", text: "title", dx: isRight ? -9 : 9, dy: -7, textAnchor: isRight ? "end" : "start", fill: "currentColor", stroke: "var(--ground)", strokeWidth: 3 })),
        Plot.tip(points, Plot.pointer({ x: "kl", y: "rec", title: (p) => `${p.title}\nKL ${number(p.kl)}, Rec ${number(p.rec)}\nRec + KL ${number(p.kl + p.rec)}` })),
      ],
    }, false);
    place.replaceChildren(key.legend, chart,
      asTable(["system", "KL", "Rec", "Rec + KL", "above the entropy"], points.map((p) => [p.title, p.kl, p.rec, p.kl + p.rec, entropy === null ? null : p.kl + p.rec - entropy])));
  }

  function drawHeat(place) {
    const cells = inPanel().flatMap((row) => {
      const groups = d3.rollup(row.runs.flatMap((run) => run.groups), (of) => ({ kl: d3.mean(of, (g) => g[1]), au: d3.mean(of, (g) => g[2]), size: of[0][3] }), (g) => g[0]);
      return [...groups].map(([layer, of]) => ({ title: row.title, layer, ...of }));
    });
    if (!cells.length) return place.replaceChildren(empty("No run of this task has latent variables."));
    const titles = [...new Set(cells.map((cell) => cell.title))];
    const letters = d3.max(titles, (title) => title.length);
    const margin = Math.min(6.4 * letters + 12, 270);
    const layers = [...new Set(cells.map((cell) => cell.layer))].sort((a, b) => a - b);
    const half = place.clientWidth > 900 ? place.clientWidth / 2 - 20 : place.clientWidth;
    const width = Math.max(260, Math.min(half, margin + 90 * layers.length + 30));
    const heat = (name, key, unit) => {
      const known = cells.filter((cell) => Number.isFinite(cell[key]));
      if (!known.length) return null;
      const top = d3.max(known, (cell) => cell[key]) || 1;
      return plot(`${name} (${unit})`, {
        width, height: 44 + 24 * titles.length, marginLeft: margin, marginTop: 24, style: { fontSize: "12px", fontFamily: "inherit" },
        x: { domain: layers, label: null, axis: "top", tickSize: 0 }, y: { domain: titles, label: null, tickSize: 0, tickFormat: (title) => (title.length > 42 ? `${title.slice(0, 41)}…` : title) },
        color: { type: "linear", scheme: "cividis", domain: [0, top] },
        marks: [
          Plot.cell(known, { x: "layer", y: "title", fill: key, inset: 0.5, title: (c) => `${c.title}\nlayer ${c.layer}: ${name} ${number(c[key])}` }),
          Plot.text(known, { x: "layer", y: "title", text: (c) => (Number.isInteger(c[key]) || c[key] >= 100 ? c[key].toFixed(0) : c[key].toFixed(c[key] >= 10 ? 1 : 2)), fill: (c) => (c[key] > top * 0.47 ? "#000" : "#fff") }),
        ],
      });
    };
    place.replaceChildren(element("div", { className: "side" }, ...[heat("KL", "kl", "nats per text"), heat("Active units", "au", "dimensions")].filter(Boolean)),
      asTable(["system", "layer", "KL", "active units", "dimensions"], cells.map((c) => [c.title, c.layer, c.kl, c.au, c.size])));
  }

  function drawDepth(place) {
    const points = inPanel().flatMap((row) => row.runs.filter((run) => run.layers).map((run) => ({
      title: seeded(row, run), series: run.layers[1], layers: run.layers[0], system: row.system, PPL: run.scores.PPL, KL: run.scores.KL,
    })));
    const varied = d3.groups(points, (point) => point.system).filter(([, of]) => new Set(of.map((point) => point.layers)).size > 1).flatMap(([, of]) => of);
    if (!varied.length) return place.replaceChildren(empty("No two runs of a system on this task differ in their number of latent layers. The suite figure2 makes such runs."));
    const width = Math.max(260, place.clientWidth > 900 ? place.clientWidth / 2 - 20 : place.clientWidth);
    const both = varied.flatMap((p) => (p.series === "all layers" ? ["start at a layer", "end at a layer"].map((series) => ({ ...p, series })) : [p]));
    const charts = ["PPL", "KL"].map((name) => {
      const known = both.filter((point) => Number.isFinite(point[name]));
      return plot(name === "KL" ? "KL (nats per text)" : name, {
        ...base(width, 260, {}), color: { domain: ["start at a layer", "end at a layer", "both"], range: ["var(--s0)", "var(--s1)", "var(--s2)"] },
        symbol: { domain: ["start at a layer", "end at a layer", "both"], range: ["circle", "square", "triangle"] },
        x: { label: "latent layers", ticks: [...new Set(known.map((p) => p.layers))], tickFormat: "d", labelOffset: 34 }, y: { label: null, grid: true },
        marks: [
          Plot.line(known, Plot.groupX({ y: "mean" }, { x: "layers", y: name, z: "series", stroke: "series", sort: "layers" })),
          Plot.dot(known, { x: "layers", y: name, stroke: "series", symbol: "series", r: 4 }),
          Plot.tip(known, Plot.pointer({ x: "layers", y: name, title: (p) => `${p.title}\n${p.layers} latent layers: ${name} ${number(p[name])}` })),
        ],
      });
    });
    const key = element("ul", { className: "legend" }, ...[["start at a layer", "●", 0], ["end at a layer", "■", 1]].map(([text, mark, place]) => element("li", {}, element("span", { style: `color: var(--s${place})` }, mark), ` ${text}`)));
    place.replaceChildren(key, element("div", { className: "side" }, ...charts),
      asTable(["run", "latent layers", "series", "PPL", "KL"], varied.map((p) => [p.title, p.layers, p.series, p.PPL, p.KL])));
  }

  const charts = [[byId("costs"), drawCosts], [byId("chart-curves"), drawCurves], [byId("chart-plane"), drawPlane], [byId("chart-heat"), drawHeat], [byId("chart-depth"), drawDepth]];
  const stale = new Set(charts.map(([place]) => place));
  const inView = new Set();
  function draw(place) { if (stale.delete(place)) charts.find(([of]) => of === place)[1](place); }
  const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
    inView[entry.isIntersecting ? "add" : "delete"](entry.target);
    if (entry.isIntersecting) draw(entry.target);
  }), { rootMargin: "300px" });
  charts.forEach(([place]) => observer.observe(place));
  function redraw() { charts.forEach(([place]) => stale.add(place)); inView.forEach(draw); }
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; requestAnimationFrame(redraw); } });
  addEventListener("beforeprint", () => charts.forEach(([place]) => draw(place)));

  // Generations, side by side.
  const SIDE_BY_SIDE = 3;
  const readers = byId("readers");
  let reading = new Set();
  function chooseReaders() {
    const having = rows.map((row, place) => [place, row]).filter(([, row]) => row.panel === panel && row.texts);
    reading = new Set(having.slice(0, SIDE_BY_SIDE).map(([place]) => place));
    readers.querySelector("fieldset").replaceChildren(element("legend", {}, "Systems side by side"));
    checkboxes(readers, having.map(([place, row]) => [place, row.title]), (place) => reading.has(place), (place, on, quiet) => {
      if (place !== null) reading[on ? "add" : "delete"](place);
      if (!quiet) showTexts();
    });
    showTexts();
  }

  function marked(text, words) {
    const parts = [];
    let rest = text;
    for (;;) {
      const lower = rest.toLowerCase();
      const hits = words.map((word) => [lower.indexOf(word), word.length]).filter(([at]) => at >= 0);
      if (!hits.length || lower.length !== rest.length) return [...parts, rest];
      const [at, length] = hits.reduce((a, b) => (b[0] < a[0] ? b : a));
      parts.push(rest.slice(0, at), element("mark", {}, rest.slice(at, at + length)));
      rest = rest.slice(at + length);
    }
  }

  function showTexts() {
    const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    let [found, all] = [0, 0];
    const parts = [...reading].sort((a, b) => a - b).map((place) => {
      const { title, texts } = rows[place];
      const list = element("ol");
      texts.shown.forEach((generation, at) => {
        all += 1;
        const whole = Object.values(generation).join(" ").toLowerCase();
        if (!words.every((word) => whole.includes(word))) return;
        found += 1;
        const item = element("li", { value: at + 1 }, ...marked(generation.text ?? "", words));
        if (generation.source !== undefined) item.append(element("span", { className: "sub" }, "source: ", ...marked(generation.source, words)));
        if (generation.reference !== undefined) item.append(element("span", { className: "sub" }, "reference: ", ...marked(generation.reference, words)));
        if (generation.text === "") item.append(element("span", { className: "sub" }, "(empty)"));
        list.append(item);
      });
      return element("section", { tabIndex: 0, "aria-label": `Generations of ${title}` }, element("h3", {}, title), element("span", { className: "sub" }, `seed ${texts.seed}`), list);
    });
    byId("texts").replaceChildren(...(parts.length ? parts : [empty("No generations of this task were stored, or no system is chosen.")]));
    byId("matches").textContent = words.length ? `${found} of ${all} texts` : `${all} texts`;
    const count = readers.querySelectorAll("input").length;
    label(readers, "Systems", reading.size, count);
  }
  byId("words").addEventListener("input", showTexts);
  byId("reading").addEventListener("submit", (event) => event.preventDefault());

  const selects = [...document.querySelectorAll("select.panel")];
  function showPanel(place) {
    panel = place;
    selects.forEach((select) => { select.value = String(panel); });
    redraw();
    chooseReaders();
  }
  for (const select of selects) {
    select.append(...panels.map((of) => element("option", { value: String(of.number) }, panelTitle(of))));
    select.addEventListener("change", () => showPanel(Number(select.value)));
    select.value = String(panel);
  }

  moveTo(firstCell());
  applyFilters();
  if (panels.length) chooseReaders();
})();
