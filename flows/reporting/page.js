// The page's own program: unpacks what the file holds, draws the plots, opens receipts. It asks nothing of anybody.
"use strict";

const BARS = { displayModeBar: false, responsive: true };
const byId = (id) => document.getElementById(id);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));
const times = (value) => (value >= 10 ? value.toFixed(0) : value >= 2 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) : value.toPrecision(1));

async function unpacked(id) {
  const packed = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function loadPlotting(program) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
    script.onload = () => { URL.revokeObjectURL(script.src); done(); };
    script.onerror = failed;
    document.head.append(script);
  });
}

// Plotly reads a little HTML in texts: a name from outside is never markup.
const plain = (text) => String(text).replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
const shortened = (text, most = 26) => plain([...text].length > most ? [...text].slice(0, most - 1).join("") + "…" : text);

function layout(more) {
  const axis = { gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line"), automargin: true, fixedrange: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
    font: { family: "system-ui, sans-serif", size: 13, color: style("--ink") },
    hoverlabel: { bgcolor: style("--paper"), bordercolor: style("--soft"), font: { color: style("--ink") }, align: "left" },
    margin: { l: 10, r: 16, t: 10, b: 40 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

// Ticks at 1, 2 and 5 times the powers of ten that lie between two numbers; a few more where that gives too few.
function ticks(low, high) {
  for (const heads of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      found.push(...heads.map((head) => head * 10 ** power).filter((tick) => tick >= low && tick <= high));
    }
    if (found.length >= 3) return found;
  }
  return undefined;
}

function compared(at, section) {
  const choice = byId(`s${at}-number`);
  const drawn = section.compared[choice.value];
  const lines = drawn.lines.slice(0, 40).reverse();
  const trace = (which, name, color, symbol, shift) => {
    const rows = lines.map((line, row) => ({ line, row, middle: line[which] })).filter(({ middle }) => middle[0] !== null);
    return {
      name, type: "scatter", mode: "markers", marker: { color, symbol, size: 10 },
      x: rows.map(({ middle }) => middle[0]), y: rows.map(({ row }) => row + shift),
      error_x: {
        type: "data", symmetric: false, color, thickness: 2, width: 5,
        array: rows.map(({ middle }) => (middle[2] === null ? 0 : middle[2] - middle[0])),
        arrayminus: rows.map(({ middle }) => (middle[1] === null ? 0 : middle[0] - middle[1])),
      },
      text: rows.map(({ line, middle }) =>
        `<b>${plain(line.label)}</b>, ${name}<br>median ${count(middle[0])}<br>` +
        (middle[1] === null ? "too few for an interval" : `90 % interval ${count(middle[1])} to ${count(middle[2])}`) +
        `<br>${count(middle[3])} posts, ${count(middle[4])} creators`),
      hovertemplate: "%{text}<extra></extra>",
    };
  };
  const traces = [trace("now", "this period", style("--accent"), "circle", 0.12)];
  if (lines.some((line) => line.before[3])) traces.push(trace("before", "the one before", style("--other"), "diamond-open", -0.12));
  const ends = lines.flatMap(({ now, before }) => [...now.slice(0, 3), ...before.slice(0, 3)]).filter((end) => end > 0);
  const range = [Math.min(...ends) / 1.3, Math.max(...ends) * 1.3];
  const plot = byId(`s${at}-compared`);
  const named = plain(drawn.name) + (plot.clientWidth < 500 ? "<br>" : ", ") + "median at 24 h";
  Plotly.react(plot, traces, layout({
    height: 130 + 46 * lines.length,
    xaxis: { type: "log", title: { text: named }, range: range.map(Math.log10), tickvals: ticks(...range), tickformat: "~s" },
    yaxis: { tickvals: lines.map((_, row) => row), ticktext: lines.map((line) => shortened(line.label)), range: [-0.6, lines.length - 0.4], showgrid: false },
  }), BARS);
}

function growth(at, section) {
  const chosen = ["posts", "platform", "metric"].map((name) => byId(`s${at}-growth-${name}`).value);
  const curve = section.growth.find((one) => one.posts === chosen[0] && one.platform === chosen[1] && one.metric === chosen[2]);
  for (const body of byId(`s${at}-growth-table`).tBodies) {
    body.hidden = body.dataset.posts !== chosen[0] || body.dataset.platform !== chosen[1] || body.dataset.metric !== chosen[2];
  }
  byId(`s${at}-growth-none`).hidden = curve !== undefined;
  byId(`s${at}-growth-plot`).hidden = curve === undefined;
  if (!curve) return;
  const names = curve.steps.map((step) => step.name);
  const there = curve.steps.filter((step) => step.growth);
  const color = style("--accent");
  const told = (step) => `<b>${step.name}</b>: ${times(step.growth[0])} times<br>middle half ${times(step.growth[1])} to ${times(step.growth[2])}` +
    `<br>${count(step.growth[3])} posts measured at both${step.growth[4] ? " (selected)" : ""}<br>due ${count(step.due)}: ` +
    ["measured", "resting", "missed", "gone"].map((name) => `${name} ${count(step.states[name])}`).join(", ");
  const points = (selected) => {
    const some = there.filter((step) => step.growth[4] === selected);
    return {
      name: selected ? "selected: under 80 % of those due" : "80 % or more of those due", type: "scatter", mode: "markers",
      x: some.map((step) => step.name), y: some.map((step) => step.growth[0]),
      marker: { color: selected ? style("--paper") : color, size: 12, line: { color, width: 2.5 } },
      error_y: { type: "data", symmetric: false, color, thickness: 2, width: 8,
        array: some.map((step) => step.growth[2] - step.growth[0]), arrayminus: some.map((step) => step.growth[0] - step.growth[1]) },
      text: some.map(told), hovertemplate: "%{text}<extra></extra>",
    };
  };
  const lines = there.slice(1).map((step, number) => ({
    type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, x: [there[number].name, step.name],
    y: [there[number].growth[0], step.growth[0]],
    line: { color, width: 2, dash: step.growth[4] || there[number].growth[4] ? "dash" : "solid" },
  }));
  const steady = { type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, x: names, y: names.map(() => 1), line: { color: style("--soft"), width: 1, dash: "dot" } };
  Plotly.react(byId(`s${at}-growth-plot`), [steady, ...lines, points(false), points(true)], layout({
    height: 380, xaxis: { type: "category", categoryorder: "array", categoryarray: names },
    yaxis: { type: "log", title: { text: `each post's own ${curve.metric}, times` }, tickvals: [0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100] },
  }), BARS);
}

function outrun(at, section) {
  const rows = section.outrun.slice().reverse();
  const names = rows.map((row, number) => `${number}`);
  Plotly.react(byId(`s${at}-outrun`), [{
    type: "bar", orientation: "h", y: names, x: rows.map((row) => row.times), marker: { color: style("--accent") },
    text: rows.map((row) => `${times(row.times)}×`), textposition: "outside", cliponaxis: false, textfont: { color: style("--ink") },
    hovertext: rows.map((row) => `<b>@${plain(row.who)}</b> (${row.platform})<br>${count(row.value)} ${row.what}<br>` +
      `${times(row.times)} times ${count(row.base)}, the median of<br>${count(row.posts)} ${plain(row.baseline)}`),
    hovertemplate: "%{hovertext}<extra></extra>",
  }], layout({
    height: 90 + 30 * rows.length, bargap: 0.35, margin: { l: 10, r: 60, t: 10, b: 40 },
    xaxis: { type: "log", title: { text: "times its baseline" }, range: [0, Math.log10(1.25 * Math.max(...rows.map((row) => row.times)))], tickvals: ticks(1, 1.25 * Math.max(...rows.map((row) => row.times))), tickformat: "~s" },
    yaxis: { tickvals: names, ticktext: rows.map((row) => shortened(`@${row.who}`)), showgrid: false },
  }), BARS);
}

const inTime = (posts, row) => posts.late[row] !== null && posts.late[row] <= 21600;

function matches(posts, row, filter) {
  return (filter.now === undefined || posts.when[row] === filter.now) &&
    (filter.tag === undefined || (filter.tag < 0 ? posts.tags[row].length === 0 : posts.tags[row].includes(filter.tag))) &&
    (filter.platform === undefined || posts.platform[row] === filter.platform) &&
    (filter.medium === undefined || posts.medium[row] === filter.medium) &&
    (!filter.compared || inTime(posts, row)) &&
    (filter.number === undefined || value(posts, row, filter.number) !== null);
}

const value = (posts, row, number) =>
  number !== "engagement" ? posts[number][row]
    : posts.likes[row] === null || posts.comments[row] === null ? null : posts.likes[row] + posts.comments[row];

const moment = (at) => (at === null ? "–" : new Date(at * 1000).toISOString().slice(0, 16).replace("T", " "));

function receipt(section, button) {
  const filter = JSON.parse(button.dataset.receipt);
  const { posts } = section;
  const number = filter.number || "engagement";
  const rows = posts.url.map((_, row) => row).filter((row) => matches(posts, row, filter));
  rows.sort((one, other) => (value(posts, other, number) ?? -1) - (value(posts, one, number) ?? -1));
  const values = rows.filter((row) => inTime(posts, row)).map((row) => value(posts, row, number)).filter((one) => one !== null).sort((one, other) => one - other);
  const middle = values.length ? (values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2 : null;
  byId("receipt-title").textContent = button.dataset.title;
  byId("receipt-note").textContent = `${count(rows.length)} posts` +
    (values.length ? `, ${count(values.length)} with a known ${number === "engagement" ? "number of likes + comments" : "number of " + number}: median ${count(middle)}.` : ".") +
    " Measured at 24 h; times are UTC; the hash names the stored payload." +
    (rows.length > 200 ? " The 200 largest are listed." : "") +
    (section.of > posts.url.length ? ` The page holds the ${count(posts.url.length)} newest of ${count(section.of)} posts; exports have all.` : "");
  const body = byId("receipt-rows");
  body.replaceChildren(...rows.slice(0, 200).map((row) => {
    const line = document.createElement("tr");
    const late = posts.late[row];
    const cells = [null, moment(posts.posted[row]), moment(posts.observed[row]), late === null ? "not measured" : `${(late / 3600).toFixed(1)} h late`,
      count(posts.plays[row]), count(posts.views[row]), count(posts.likes[row]), count(posts.comments[row]), posts.hash[row] || "–"];
    cells.forEach((text, column) => {
      const cell = document.createElement(column === 0 ? "th" : "td");
      if (column === 0) {
        const who = document.createElement(posts.url[row] ? "a" : "span");
        who.textContent = "@" + section.creators[posts.creator[row]];
        if (posts.url[row]) Object.assign(who, { href: posts.url[row], rel: "noreferrer noopener" });
        const kind = document.createElement("small");
        kind.textContent = `${section.platforms[posts.platform[row]]} ${section.media[posts.medium[row]]}`;
        const apart = document.createElement("bdi");
        apart.append(who);
        cell.append(apart, kind);
        cell.scope = "row";
      } else {
        cell.textContent = text;
        cell.className = column >= 4 && column <= 7 ? "n" : column === 8 ? "id" : "";
      }
      line.append(cell);
    });
    return line;
  }));
  readyForCards(body.parentElement);
  byId("receipt").showModal();
}

/* On a narrow screen each row is a card: a cell then needs its column's name, and the table's parts their roles, which
   they lose where they are no longer displayed as a table's. */
function readyForCards(table) {
  const names = [...table.tHead.rows[0].cells].map((head) => head.dataset.label ?? head.textContent);
  table.classList.add("named");
  table.setAttribute("role", "table");
  for (const group of [table.tHead, ...table.tBodies]) group.setAttribute("role", "rowgroup");
  for (const row of table.rows) {
    row.setAttribute("role", "row");
    for (const cell of row.cells) {
      const isHead = cell.tagName === "TH";
      cell.setAttribute("role", !isHead ? "cell" : row.parentElement === table.tHead ? "columnheader" : "rowheader");
      if (!isHead) cell.dataset.label = names[cell.cellIndex];
    }
  }
}

function filterRows(at) {
  const tag = byId(`s${at}-tag`).value;
  const platform = byId(`s${at}-platform`).value;
  for (const row of document.querySelectorAll(`[data-of="${at}"][data-tag], [data-of="${at}"][data-platform]`)) {
    row.hidden = (tag !== "" && row.dataset.tag !== undefined && row.dataset.tag !== tag) ||
      (platform !== "" && row.dataset.platform !== undefined && row.dataset.platform !== platform);
  }
}

function drawAll(data) {
  data.sections.forEach((section, number) => {
    const at = number + 1;
    if (byId(`s${at}-compared`)) compared(at, section);
    if (byId(`s${at}-growth-plot`)) growth(at, section);
    if (byId(`s${at}-outrun`)) outrun(at, section);
  });
}

function fill(select, choices) {
  select?.replaceChildren(...choices.map(([key, text]) => Object.assign(document.createElement("option"), { value: key, textContent: text })));
}

async function begin() {
  const data = JSON.parse(await unpacked("data"));
  for (const table of document.querySelectorAll(".cards")) readyForCards(table);
  document.documentElement.classList.remove("no-script");
  data.sections.forEach((section, number) => {
    const at = number + 1;
    fill(byId(`s${at}-number`), section.compared.map((one, place) => [place, one.name]));
    for (const name of ["posts", "platform", "metric"]) {
      fill(byId(`s${at}-growth-${name}`), [...new Set(section.growth.map((curve) => curve[name]))].map((one) => [one, one]));
    }
    byId(`s${at}-number`)?.addEventListener("change", () => compared(at, section));
    for (const name of ["posts", "platform", "metric"]) byId(`s${at}-growth-${name}`)?.addEventListener("change", () => growth(at, section));
    for (const name of ["tag", "platform"]) byId(`s${at}-${name}`)?.addEventListener("change", () => filterRows(at));
    for (const button of document.querySelectorAll(`#s${at}-all button.receipt`)) {
      button.setAttribute("aria-haspopup", "dialog");
      button.addEventListener("click", () => receipt(section, button));
    }
  });
  byId("receipt-close").addEventListener("click", () => byId("receipt").close());
  await loadPlotting(await unpacked("plotting"));
  drawAll(data);
  const again = () => drawAll(data);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("beforeprint", () => {
    drawAll(data);
    for (const plot of document.querySelectorAll(".plot.js-plotly-plot")) Plotly.relayout(plot, { width: Math.min(680, plot.clientWidth) });
  });
  addEventListener("afterprint", () => {
    for (const plot of document.querySelectorAll(".plot.js-plotly-plot")) Plotly.relayout(plot, { width: null, autosize: true });
    drawAll(data);
  });
  document.documentElement.dataset.ready = "yes";
}

begin();
