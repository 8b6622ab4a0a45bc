// Fetches the state whenever the database was published anew, and draws it. All text is set as text, never as HTML.
"use strict";
(() => {
  const $ = id => document.getElementById(id);
  let state = null, run = null, trial = null, chart = "tradeoff", drawn = "", wanted = 0;

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter(child => child !== null && child !== undefined));
    return node;
  }

  async function ask(path, parameters, options) {
    const query = new URLSearchParams(Object.entries(parameters || {}).filter(([, value]) => value !== null));
    const answer = await fetch(`${path}?${query}`, options);
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  }

  function clock(seconds) {
    const whole = Math.round(seconds), pad = n => String(n).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  }

  const number = (value, digits, scale) => (value * scale).toFixed(digits);
  function figure(value, low, high, digits, scale, absent) {
    if (value === null) return make("td", {class: "figure soft"}, absent || "");
    const interval = low === null || high === null ? null
      : make("span", {class: "interval"}, ` [${number(low, digits, scale)}, ${number(high, digits, scale)}]`);
    return make("td", {class: "figure"}, number(value, digits, scale), interval);
  }

  function head(...names) {
    return make("thead", {}, make("tr", {}, ...names.map(name => make("th", {scope: "col"}, name))));
  }

  // A focused control keeps the focus when its table is drawn again.
  function replace(table, ...parts) {
    const key = table.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    table.replaceChildren(...parts);
    if (key) [...table.querySelectorAll("[data-key]")].find(node => node.dataset.key === key)?.focus();
  }

  function drawHead() {
    const {runs, run: current} = state;
    $("study").textContent = current ? current.study + (current.profile ? ` (${current.profile})` : "") : "Waiting for a study";
    document.title = current ? `${current.study}: synthc` : "synthc";
    $("question").textContent = current?.question || (current ? "" : "Nothing is published yet; this page shows it when it is.");
    const several = runs.length > 1;
    $("runs-label").hidden = !several;
    if (document.activeElement !== $("runs"))
      $("runs").replaceChildren(...runs.map(row => make("option", {value: row.run, selected: row.run === current?.run},
        `${row.study}${row.profile ? ` (${row.profile})` : ""}, ${row.status}, ${row.origin}`)));
    $("progress-row").hidden = !current;
    if (!current) return;
    const {total, done, failed, blocked, elapsed, left, guessed} = state.progress;
    $("progress").max = Math.max(total, 1);
    $("progress").value = done;
    const trouble = failed ? `, ${failed} failed, ${blocked} wait for them` : "";
    const rest = Number.isFinite(left) ? `, about ${clock(left)} left${guessed ? " (guessed)" : ""}` : "";
    const time = current.status === "running" ? `${clock(elapsed)} so far${rest}` : current.status;
    $("progress-text").textContent = `${done} of ${total} tasks done${trouble}; ${time}`;
  }

  function drawBoard() {
    const stages = [...new Set(state.board.map(row => row.stage))].sort((a, b) => (a === "attack") - (b === "attack"));
    const trials = [...new Set(state.board.map(row => row.trial))];
    const cells = new Map(state.board.map(row => [`${row.trial}\n${row.stage}`, row]));
    const body = trials.map(name => make("tr", {}, make("th", {scope: "row"}, name), ...stages.map(stage => {
      const cell = cells.get(`${name}\n${stage}`);
      if (!cell) return make("td");
      const text = make("span", {class: cell.done === cell.total ? "cell whole" : "cell"}, `${cell.done} / ${cell.total}`);
      const failed = cell.failed ? make("a", {href: "#failures", class: "bad"}, `${cell.failed} failed`) : null;
      return make("td", {class: "figure"}, text, failed);
    })));
    replace($("board"), head("trial", ...stages), make("tbody", {}, ...body));
    const running = state.progress.running?.length;
    $("running").textContent = running ? `${running} task${running > 1 ? "s" : ""} running now.` : "";
    const failures = state.failed.map(row => make("li", {},
      make("button", {"data-key": row.task, onclick: () => showLog(row)}, row.status === "failed" ? "Log" : "Why"), ` ${row.address}: `,
      make("span", {class: row.status === "failed" ? "bad" : "soft"}, row.status === "failed" ? row.error : "waits for what failed")));
    replace($("failures"), ...(failures.length ? [make("h3", {}, "What failed"), make("ul", {}, ...failures)] : []));
  }

  async function showLog(row) {
    $("log-title").textContent = row.address;
    $("log-error").textContent = row.error || "";
    $("log-text").textContent = "…";
    $("log").showModal();
    try { $("log-text").textContent = (await ask("log", {task: row.task})).text || "It printed nothing."; }
    catch (error) { $("log-text").textContent = error.message; }
  }

  function drawComparison() {
    const body = state.comparison.map(row => make("tr", {"aria-selected": String(row.trial === trial)},
      make("th", {scope: "row"}, make("button", {"data-key": row.trial, "aria-pressed": String(row.trial === trial),
        onclick: () => choose(row.trial === trial ? null : row.trial)}, row.label + (row.replicate ? ` #${row.replicate}` : ""))),
      make("td", {}, row.paradigm.replaceAll("_", " ")),
      figure(row.test_accuracy, row.test_accuracy_low, row.test_accuracy_high, 1, 100),
      figure(row.leakage, row.leakage_low, row.leakage_high, 1, 100, row.null_ok === null ? "" : "not resolvable"),
      figure(row.auc, row.auc_low, row.auc_high, 3, 1),
      figure(row.seconds, row.seconds_low, row.seconds_high, 1, 1),
      make("td", {}, row.null_ok === false ? make("span", {class: "bad"}, "null control failed: not to be trusted") : row.flags || "",
        row.leakage_note ? make("span", {class: "soft"}, ` ${row.leakage_note}`) : null)));
    replace($("comparison"), ...(body.length
      ? [head("trial", "paradigm", "accuracy, %", "leakage, %", "AUC", "seconds", "notes"), make("tbody", {}, ...body)] : []));
    $("chosen").textContent = trial ? `Chosen: ${trial}. Choose it again for all.` : "";
  }

  function drawClaims() {
    const items = state.claims.map(row => {
      const verdict = row.study_verdict || row.verdict, kind = ["supported", "refuted"].includes(verdict) ? verdict : "open";
      const ends = row.low === null || row.high === null ? "" : ` [${row.low.toFixed(3)}, ${row.high.toFixed(3)}]`;
      const effect = row.effect === null ? "" : `${row.metric || row.test}: ${row.effect.toFixed(3)}${ends}`;
      return make("li", {}, make("span", {class: `verdict ${kind}`}, verdict), row.statement || row.claim,
        make("p", {class: "soft"}, [effect, row.note].filter(Boolean).join("; ")));
    });
    $("claims").replaceChildren(...(items.length ? items : [make("li", {class: "soft"}, "The study makes no claims.")]));
  }

  function drawTabs() {
    if ($("tabs").children.length === 0) {
      $("tabs").replaceChildren(...Object.keys(state.charts).map(name => make("button", {role: "tab", id: `tab-${name}`,
        "aria-controls": "figure", onclick: () => { chart = name; drawn = ""; drawTabs(); drawChart(); }}, name)));
      $("tabs").addEventListener("keydown", event => {
        const step = {ArrowRight: 1, ArrowLeft: -1}[event.key], tabs = [...$("tabs").children];
        if (step) tabs.at((tabs.indexOf(document.activeElement) + step) % tabs.length)?.focus();
      });
    }
    for (const tab of $("tabs").children) {
      tab.setAttribute("aria-selected", String(tab.id === `tab-${chart}`));
      tab.tabIndex = tab.id === `tab-${chart}` ? 0 : -1;
    }
    $("figure").setAttribute("aria-labelledby", `tab-${chart}`);
    $("about").textContent = state.charts[chart];
  }

  // Vega is large: it comes when the tables are there.
  let vega = null;
  const loadVega = () => vega ??= new Promise((loaded, failed) =>
    document.head.append(make("script", {src: "vega.js", onload: loaded, onerror: () => failed(new Error("vega.js did not come"))})));

  async function drawChart(following = false) {
    const results = JSON.stringify([state.comparison, state.claims]), key = `${chart}\n${trial}\n${run}\n${results}`;
    if (key === drawn || !state.run) return;
    drawn = key;
    const mine = ++wanted;
    try {
      const asked = {name: chart, run: state.run.run, trial, update: following ? 1 : null};
      const [spec] = await Promise.all([ask("chart", asked), loadVega()]);
      if (mine !== wanted) return;
      // An interpreter instead of eval: the page's policy allows no code but its own.
      await vegaEmbed($("chart"), spec, {renderer: "svg", actions: false, ast: true, mode: "vega-lite"});
      $("chart").querySelector("svg").setAttribute("aria-hidden", "true");      // the caption and the tables say the same
    } catch (error) {
      if (mine === wanted) $("chart").textContent = error.message;
    }
    document.documentElement.dataset.drawn = chart;
  }

  function drawGallery() {
    const made = state.sets.filter(name => trial === null || name === trial), old = $("gallery").dataset.key;
    const {total, done, failed, blocked} = state.progress, key = JSON.stringify([run, made, done + failed + blocked === total]);
    if (key === old) return;
    $("gallery").dataset.key = key;
    $("gallery-text").textContent = made.length ? "Sets of the first shadow. Those made of private images are left out unless the page was started with --with-private-images." : "No arm makes a set of images.";
    $("gallery").replaceChildren(...made.map(name => {
      const box = make("figure", {}, make("figcaption", {}, name));
      fetch(`sheet?${new URLSearchParams({run: state.run.run, trial: name})}`).then(async answer => {
        if (answer.status !== 200) return box.append(make("p", {class: "soft"}, "none yet, or made of private images"));
        const reader = new FileReader();
        reader.onload = () => box.append(make("img", {src: reader.result, alt: `Synthetic images of ${name}, a row per class`}));
        reader.readAsDataURL(await answer.blob());
      });
      return box;
    }));
  }

  function choose(name) {
    trial = name;
    drawComparison();
    drawGallery();
    drawChart();
  }

  let shown = "";
  function draw(following) {
    drawHead();
    const there = Boolean(state.run);
    $("main").hidden = !there;
    if (there) {
      drawBoard();
      const results = JSON.stringify([state.run.run, state.comparison, state.claims]);
      if (results !== shown) { shown = results; drawComparison(); drawClaims(); }
      drawTabs(); drawGallery();
      // Those of an update come when the server says so: they cost most.
      if (!following) setTimeout(() => requestAnimationFrame(() => drawChart()));
      else if (chartsDue) drawChart(true);
      chartsDue = false;
      if ($("questions").children.length === 1)
        $("questions").append(...Object.keys(state.questions).map(name => make("option", {value: name}, `@${name}`)));
    }
    if (!document.documentElement.dataset.ready) performance.mark("ready");
    document.documentElement.dataset.ready = "true";
  }

  function trouble(text) {
    $("trouble").hidden = !text;
    $("trouble").textContent = text;
  }

  let reading = false, again = false, chartsDue = false;
  async function update(following) {
    if (reading) { again = true; return; }
    reading = true;
    try {
      state = await ask("state", {run, update: following ? 1 : null});
      trouble("");
      draw(following);
    } catch (error) {
      trouble(`${error.message || error}; trying again.`);
      setTimeout(() => update(following), 2000);
    }
    reading = false;
    if (again) { again = false; update(following); }
  }

  $("runs").addEventListener("change", () => { run = $("runs").value; trial = null; update(false); });
  $("questions").addEventListener("change", () => {
    const text = state.questions[$("questions").value];
    if (text) { $("query").value = text; $("sql").requestSubmit(); }
  });
  $("sql").addEventListener("submit", async event => {
    event.preventDefault();
    $("answer-text").textContent = "…";
    try {
      const {columns, rows, more, seconds} = await ask("sql", {}, {method: "POST", body: $("query").value});
      $("answer-text").textContent = `${rows.length}${more ? " of more" : ""} rows in ${seconds.toFixed(2)} s`;
      $("answer").replaceChildren(head(...columns), make("tbody", {}, ...rows.map(row => make("tr", {}, ...row.map(cell => make("td", {}, cell))))));
    } catch (error) {
      $("answer-text").textContent = error.message;
      $("answer").replaceChildren();
    }
  });

  const events = new EventSource("events");
  events.onmessage = () => update(state !== null);
  events.addEventListener("charts", () => {
    chartsDue = true;
    if (!reading && state) { chartsDue = false; drawChart(true); }
  });
  events.onerror = () => trouble("The server does not answer; it may have ended. What is shown stays.");
  events.onopen = () => trouble("");
})();
