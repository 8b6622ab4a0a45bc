// Draws the charts and links them: a paradigm chosen in one legend, or by a button, is chosen everywhere.
"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("charts-data").textContent);
  const buttons = [...document.querySelectorAll(".chooser button")];
  const status = document.getElementById("chosen-status");
  const views = new Map();
  let chosen = [];
  let telling = false;      // while the choice is being told to the charts, what they report is an echo

  const tuples = () => chosen.map(name => ({unit: "", fields: [{type: "E", field: "Paradigm"}], values: [name]}));

  async function choose(names) {
    if (names.length === chosen.length && names.every(name => chosen.includes(name))) return;
    chosen = names;
    for (const button of buttons) {
      const all = button.dataset.paradigm === undefined;
      button.setAttribute("aria-pressed", String(all ? !chosen.length : chosen.includes(button.dataset.paradigm)));
    }
    for (const marked of document.querySelectorAll("main [data-paradigm]:not(button)"))
      marked.classList.toggle("other", chosen.length > 0 && !chosen.includes(marked.dataset.paradigm));
    status.textContent = chosen.length ? `Charts show ${chosen.join(", ")} only.` : "Charts show all paradigms.";
    telling = true;
    await Promise.all([...views.values()].map(view => view.data("chosen_store", tuples()).runAsync()));
    telling = false;
  }

  function listen(view) {
    view.addSignalListener("chosen", (_, value) => {
      if (!telling) choose((value && value.Paradigm) || []);
    });
  }

  for (const button of buttons) {
    button.addEventListener("click", event => {
      const name = button.dataset.paradigm;
      if (name === undefined) return choose([]);
      if (!event.shiftKey) return choose(chosen.length === 1 && chosen[0] === name ? [] : [name]);
      choose(chosen.includes(name) ? chosen.filter(other => other !== name) : [...chosen, name]);
    });
  }
  document.addEventListener("keydown", event => { if (event.key === "Escape") choose([]); });

  const drawn = Object.entries(specs).map(async ([name, spec]) => {
    const place = document.getElementById(`chart-${name}`);
    // An interpreter instead of eval: the page's policy allows no code but its own.
    const {view} = await vegaEmbed(place, spec, {renderer: "svg", actions: false, ast: true, mode: "vega-lite"});
    place.removeAttribute("aria-busy");
    place.querySelector("svg").setAttribute("aria-hidden", "true");      // the place itself has the label
    if (JSON.stringify(spec).includes('"chosen"')) {
      views.set(name, view);
      listen(view);
    }
  });
  Promise.all(drawn).then(() => document.documentElement.setAttribute("data-ready", "true"));

  window.report = {views, choose, chosen: () => chosen};
})();
