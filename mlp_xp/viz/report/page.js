"use strict";

// Every plot is drawn from what the page holds and from this state: a control changes the state and draws again.
const state = { hidden: new Set(), smoothing: 0, log: null, print: false };
const THEMES = JSON.parse(document.getElementById("themes").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const touched = matchMedia("(pointer: coarse), (hover: none)").matches;
const plots = [...document.querySelectorAll(".plot")].map((div) => {
  const content = JSON.parse(document.querySelector(`[data-of="${div.id}"]`).textContent);
  const title = document.getElementById(`${div.id}-head`).textContent;
  return { div, title, ...content, moment: content.frames.length - 1 };
});
const learning = plots.filter((plot) => plot.kind === "metric");

const isDark = () => dark.matches && !state.print;

/** The same in the colours of the page. */
function coloured(part, colours, key = "") {
  if (Array.isArray(part)) return key === "colorscale" ? part.map(([at, colour]) => [at, colours[colour] ?? colour]) : part;
  if (part && typeof part === "object" && !ArrayBuffer.isView(part)) {
    return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, coloured(value, colours, name)]));
  }
  return key.endsWith("color") ? colours[part] ?? part : part;
}

/** s = w s + (1 - w) x over 1 - w^n; what is no number stays out. */
function smoothed(values, weight) {
  let mean = 0;
  let seen = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    seen = weight * seen + (1 - weight);
    return mean / seen;
  });
}

function traces(plot) {
  const frame = plot.frames[plot.moment] ?? [];
  const drawn = plot.data.map((trace, index) => ({ ...trace, ...frame[index] }));
  const result = [];
  for (const trace of drawn) {
    trace.visible = !(trace.meta?.keys ?? []).some((key) => state.hidden.has(key));
    if (trace.meta?.smooth && state.smoothing) {
      result.push({ ...trace, mode: "lines", opacity: 0.25, hoverinfo: "skip", hovertemplate: null });
      trace.y = smoothed(trace.y, state.smoothing);
    }
    result.push(trace);
  }
  return result.map((trace) => coloured(trace, THEMES[isDark() ? "dark" : "light"]));
}

/** Over a few decades 1, 2 and 5 are enough; over more plotly chooses. */
function ticks(plot) {
  const drawn = plot.data.flatMap((trace) => trace.y).filter((value) => value > 0);
  const [low, high] = [Math.min, Math.max].map((choose) => drawn.reduce((one, other) => choose(one, other)));
  return high < 2000 * low ? "D2" : undefined;
}

function layout(plot) {
  const style = getComputedStyle(document.body);
  const [ink, soft, line, card] = ["--ink", "--soft", "--line", "--card"].map((name) => style.getPropertyValue(name).trim());
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true, fixedrange: false };
  const spike = { spikecolor: soft, spikethickness: 1, spikedash: "dot", unifiedhovertitle: { text: "epoch %{x}" } };
  const chosen = learning.includes(plot) ? state.log : null;
  const log = plot.log === null ? false : chosen ?? plot.log;
  const scale = log ? { type: "log", dtick: ticks(plot) } : { type: "linear" };
  const size = { width: 320, height: plot.aspect ? 320 / plot.aspect : 230 };
  return {
    ...plot.layout,
    xaxis: { ...axis, ...spike, ...plot.layout.xaxis },
    yaxis: { ...axis, ...plot.layout.yaxis, ...scale, uirevision: scale.type }, // on another scale a zoom means nothing
    font: { family: style.fontFamily, size: state.print ? 11 : 13, color: ink },
    paper_bgcolor: card,
    plot_bgcolor: card,
    hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink }, namelength: touched ? 24 : -1 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink },
    margin: { l: 8, r: 10, t: touched && !state.print ? 34 : 12, b: 8 },
    showlegend: false,
    dragmode: touched ? false : "zoom", // a finger scrolls the page
    uirevision: "kept", // what is zoomed stays so
    ...(state.print ? { ...size, autosize: false } : { autosize: true }),
  };
}

const CONFIG = {
  responsive: true,
  displaylogo: false,
  displayModeBar: touched ? true : "hover",
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
};

/** A plot that cannot be drawn leaves the others alone. */
function draw(plot) {
  try {
    Plotly.react(plot.div, traces(plot), layout(plot), CONFIG);
  } catch (error) {
    console.error(`The plot "${plot.title}" cannot be drawn: ${error}`);
  }
  // The words below the plot say more than the letters of its axes; the buttons in it stay.
  plot.div.querySelectorAll("svg.main-svg").forEach((drawing) => drawing.setAttribute("aria-hidden", "true"));
}

function drawAll() {
  plots.forEach(draw);
}

// One after the other, so that the page can be read and scrolled meanwhile.
function drawFirst(index = 0) {
  if (index === plots.length) {
    document.documentElement.dataset.drawn = "all";
    return;
  }
  draw(plots[index]);
  setTimeout(drawFirst, 0, index + 1);
}

// ---- controls ----

for (const box of document.querySelectorAll("[data-key]")) {
  box.addEventListener("change", () => {
    state.hidden[box.checked ? "delete" : "add"](box.dataset.key);
    plots.filter((plot) => plot.data.some((trace) => trace.meta?.keys.includes(box.dataset.key))).forEach(draw);
  });
}

document.querySelector("[data-smoothing]")?.addEventListener("change", (event) => {
  state.smoothing = Number(event.target.value);
  learning.forEach(draw);
});
const scaling = document.querySelector("[data-log]");
if (scaling) {
  const scales = learning.map((plot) => plot.log).filter((log) => log !== null);
  scaling.checked = scales.every((log) => log);
  scaling.indeterminate = !scaling.checked && scales.some((log) => log);
  scaling.addEventListener("change", () => {
    state.log = scaling.checked;
    learning.forEach(draw);
  });
}

for (const player of document.querySelectorAll(".player")) {
  const plot = plots.find(({ div }) => div.id === player.dataset.plot);
  const [button, slider, output] = ["button", "input", "output"].map((name) => player.querySelector(name));
  const last = plot.frames.length - 1;
  let timer = null;
  const show = (moment) => {
    plot.moment = moment;
    slider.value = moment;
    output.value = plot.moments[moment];
    slider.setAttribute("aria-valuetext", plot.moments[moment]);
    draw(plot);
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  slider.setAttribute("aria-valuetext", plot.moments[last]);
  slider.addEventListener("input", () => {
    pause();
    show(Number(slider.value));
  });
  button.addEventListener("click", () => {
    if (timer !== null) return pause();
    button.textContent = "Pause";
    show(plot.moment === last ? 0 : plot.moment + 1);
    timer = setInterval(() => (plot.moment === last ? pause() : show(plot.moment + 1)), Math.max(60, 6000 / plot.frames.length));
  });
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.setAttribute("aria-sort", each === head ? (down ? "descending" : "ascending") : "none"));
      const value = (row) => row.cells[column].dataset.value;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === ""); // what is not known comes last
        const order = column ? value(a) - value(b) : value(a).localeCompare(value(b), undefined, { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// ---- colours and paper ----

let closed = [];

function printing(on) {
  if (state.print === on) return;
  state.print = on;
  document.documentElement.classList.toggle("on-paper", on);
  if (on) closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((table) => (table.open = on));
  drawAll();
}

dark.addEventListener("change", drawAll);
addEventListener("beforeprint", () => printing(true));
addEventListener("afterprint", () => printing(false));
matchMedia("print").addEventListener("change", (event) => printing(event.matches));
drawFirst();
