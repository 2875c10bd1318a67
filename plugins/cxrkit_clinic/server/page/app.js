// The page: which film is shown, and what buttons and keys do.

import * as api from "./api.js";
import { ask, busy, byId, download, element, label, say } from "./dom.js";
import { decodeRuns, emptyBits, encodeRuns } from "./masks.js";
import { Panel } from "./panel.js";
import { Saver } from "./saving.js";
import { stateOf, Table } from "./table.js";
import { DRAWING, Tools } from "./tools.js";
import { Viewer } from "./viewer.js";

const KEPT = 3; // pictures in memory
// Of this tab, through reloads. (crypto.randomUUID would need HTTPS.)
const SESSION = (sessionStorage["cxrkit-session"] ??= crypto.getRandomValues(new Uint32Array(4)).join("-"));
const TOOLS = [
  ["window", "Window", "W"], ["pan", "Move", "V"], ["ruler", "Measure", "M"], ["brush", "Brush", "B"],
  ["eraser", "Eraser", "E"], ["polygon", "Polygon", "G"], ["fill", "Fill", "H"],
];

let info = { structures: [], dataset: null };
let current = null;
let loading = 0;
let saver = null;
const pictures = new Map();
const viewer = new Viewer(byId("base"), byId("overlay"));
viewer.background = 0xff130f0b;
const panel = new Panel(viewer, { onactive: activate });
const tools = new Tools(viewer, { onstroke: changed, onwindow: () => panel.showWindow(), ontell: say, onhistory: history });
const table = new Table(byId("list"), { onchoose: show });

// --- films

function add(files) {
  const films = [...files].map((file) => ({ id: `own-${add.count++}`, name: file.name, file, states: {} }));
  if (!films.length) return;
  table.films = [...table.films, ...films];
  show(films[0]);
}
add.count = 0;

async function show(film) {
  if (!film) return;
  tools.up(); // what is being drawn belongs to the film before
  tools.cancel();
  tools.reset();
  viewer.bits = null; // nor may its masks be taken for this film's
  current = film;
  const mine = ++loading;
  table.refresh(film);
  document.title = `${film.name} – cxrkit`;
  Object.assign(byId("name"), { textContent: film.name, title: film.name });
  byId("empty").hidden = true;
  byId("others").hidden = true;
  byId("confirm").disabled = true;
  tools.canDraw = () => false;
  busy("Loading …");
  const began = performance.now();
  try {
    const picture = await pictureOf(film);
    if (mine !== loading) return;
    viewer.show(picture, null);
    tools.spacing = picture.spacing;
    performance.measure("picture", { start: began, end: performance.now() });
    panel.showWindow();
    panel.structures(film, false);
    panel.measures(film);
    busy("Segmenting …");
    await meet();
    const found = await api.masksOf(film);
    if (mine !== loading) return;
    take(film, found);
  } catch (error) {
    if (mine !== loading) return;
    fail(film, error);
    if (!pictures.has(film.id)) viewer.clear();
    panel.structures(film, false);
    panel.measures(film);
    table.update(film);
  }
  busy("");
  const next = table.neighbour(1);
  if (next && !next.file && !next.failure) pictureOf(next).catch(() => {});
}

function pictureOf(film) {
  if (!pictures.has(film.id)) {
    const promise = api.pictureOf(film);
    pictures.set(film.id, promise);
    promise.catch(() => pictures.delete(film.id));
    for (const id of [...pictures.keys()].slice(0, -KEPT)) if (id !== current?.id) pictures.delete(id);
  }
  return pictures.get(film.id);
}

// Enter what the server found on the film that is shown.
function take(film, found) {
  learn(film, found);
  const bits = emptyBits(viewer.film.width * viewer.film.height, info.structures.length);
  info.structures.forEach(({ name }, bit) => {
    const runs = saver?.pending(film.id, name)?.runs ?? found.masks[name];
    if (runs) decodeRuns(runs, bits, bit);
  });
  viewer.bits = bits;
  tools.canDraw = () => {
    const fault = film.faults[info.structures[viewer.active].name];
    if (fault) say(fault);
    return !fault;
  };
  byId("confirm").disabled = false;
  panel.structures(film, Boolean(saver));
  panel.measures(film);
  viewer.refresh();
  table.update(film);
}

// What is the film's own fault stays; a server that was away is asked again.
function fail(film, error) {
  film.failure = error.message;
  film.passing = !api.isOfFilm(error);
}

function learn(film, found) {
  [film.row] = found.films;
  film.failure = null;
  film.states = found.states ?? {};
  film.faults = found.faults ?? film.faults ?? {};
}

async function meet() {
  if (!saver || !current) return;
  const film = current;
  const { others } = await api.meet(film, SESSION, byId("who").value).catch(() => ({ others: [] }));
  if (film !== current) return;
  const names = new Set(others.map((who) => who || "somebody else"));
  byId("others").textContent = `Others have this film open too: ${[...names].join(", ")}.`;
  byId("others").hidden = !others.length;
}

function turn(step) {
  const next = table.neighbour(step);
  if (next) show(next);
  else say(step > 0 ? "That was the last film." : "That was the first film.");
}

async function segmentAll() {
  const todo = table.shown.filter((film) => !film.row && (!film.failure || film.passing));
  byId("all").disabled = true;
  const work = async () => {
    for (let film = todo.shift(); film; film = todo.shift()) {
      try {
        learn(film, await api.masksOf(film));
      } catch (error) {
        if (api.isOfFilm(error)) fail(film, error);
        else {
          todo.length = 0;
          say(error.message);
        }
      }
      table.update(film);
      if (film === current) panel.measures(film);
      byId("count").textContent = `${todo.length} to be segmented`;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, info.parallel) }, work));
  byId("all").disabled = false;
  table.refresh();
}

// --- drawing

function activate(bit) {
  viewer.active = bit;
  viewer.hidden &= ~(1 << bit);
  panel.structures(current, Boolean(saver) && Boolean(viewer.bits));
  viewer.refresh();
}

function changed(bit) {
  put(bit, "corrected");
  // The film is complete from its first stroke on: what the network proposed is saved with it.
  info.structures.forEach(({ name }, other) => {
    const known = current.states[name] || saver.pending(current.id, name) || current.faults[name];
    if (other !== bit && !known && runsOf(other).length > 1) put(other, "proposed");
  });
}

function runsOf(bit) {
  return encodeRuns(viewer.bits, bit);
}

function put(bit, state) {
  const { name } = info.structures[bit];
  const { width, height } = viewer.film;
  const base = current.states[name]?.revision ?? 0;
  saver.put(current.id, name, { runs: runsOf(bit), width, height, state, base, who: byId("who").value });
}

function confirmFilm() {
  if (!viewer.bits || !saver) return;
  const fault = Object.values(current.faults)[0];
  const empty = info.structures.find((_, bit) => runsOf(bit).length < 2);
  if (fault || empty) {
    say(fault ?? `The mask of the ${label(empty.name)} is empty: draw it, or leave the film unconfirmed.`);
    return;
  }
  info.structures.forEach((_, bit) => put(bit, "confirmed"));
  const shown = table.shown;
  const rest = [...shown.slice(shown.indexOf(current) + 1), ...shown].filter((film) => film !== current);
  const next = rest.find((film) => !film.failure && stateOf(film) !== "confirmed");
  if (next) show(next);
  else say("All films that are listed are confirmed.");
}

function saved(id, structure, state) {
  const film = table.films.find((one) => one.id === id);
  if (!film) return;
  film.states = { ...film.states, [structure]: state };
  table.update(film);
  if (film === current && viewer.bits) panel.structures(film, true);
  clearTimeout(saved.timer);
  saved.timer = setTimeout(() => measure(film), 700);
}

async function measure(film) {
  if (saver.waiting.size) return;
  const found = await api.measuresOf(film).catch(() => null);
  if (!found || saver.waiting.size) return;
  const { states, row } = film;
  const { warnings = [], quality = null } = row ?? {};
  learn(film, found);
  film.states = states; // of the masks that are shown: another's revision mustn't be taken for ours
  film.row = { ...film.row, warnings, quality }; // of the network's masks, which a correction doesn't measure again
  table.update(film);
  if (film === current) panel.measures(film);
}

async function settle(id, structure, error) {
  const film = table.films.find((one) => one.id === id);
  byId("conflict-text").textContent = `${film?.name ?? id}, ${label(structure)}: ${error.body.what}`;
  let answer = "";
  while (!answer) answer = await ask(byId("conflict")); // Escape decides nothing, or it would lose a stroke
  const keeps = answer === "mine";
  if (!keeps && film === current) setTimeout(() => show(film));
  return keeps;
}

function history(tools) {
  byId("undo").disabled = !tools.done.length;
  byId("redo").disabled = !tools.undone.length;
  byId("size").value = tools.radius;
}

// --- buttons and keys

function choose(tool) {
  tools.choose(tool);
  for (const button of byId("tools").children) {
    const chosen = button.dataset.tool === tool;
    button.setAttribute("aria-checked", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
}

function light() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  localStorage.setItem("cxrkit-theme", (document.documentElement.dataset.theme = now === "dark" ? "light" : "dark"));
}

const draws = (action) => () => saver && action();
const KEYS = [
  [["n", "PageDown"], "next film", () => turn(1)], [["p", "PageUp"], "previous film", () => turn(-1)],
  [["+", "="], "larger", () => viewer.zoom(1.3)], [["-"], "smaller", () => viewer.zoom(1 / 1.3)],
  [["0"], "the whole film", () => viewer.film && viewer.fit()], [["i"], "invert", () => panel.toggle("invert")],
  [["o"], "outlines", () => panel.toggle("outlines")], [["l"], "lines of the ratio", () => panel.toggle("lines")],
  ...TOOLS.map(([tool, name, key]) => [
    [key.toLowerCase()], `tool: ${name.toLowerCase()}`, DRAWING.includes(tool) ? draws(() => choose(tool)) : () => choose(tool),
    DRAWING.includes(tool),
  ]),
  [["s"], "smooth the outline", draws(() => tools.smooth()), true], [["z"], "undo", draws(() => tools.undo()), true],
  [["y"], "redo", draws(() => tools.redo()), true],
  [["["], "smaller brush", draws(() => tools.resize(1 / 1.2)), true], [["]"], "larger brush", draws(() => tools.resize(1.2)), true],
  [["c"], "confirm, and next film", draws(confirmFilm), true], [["?"], "this list", () => ask(byId("keys"))],
];

function pressed(event) {
  const types = event.target.closest("input:not([type=range], [type=checkbox]), select, textarea");
  if (types || document.querySelector("dialog[open]")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const redo = (event.ctrlKey || event.metaKey) && (key === "y" || (key === "z" && event.shiftKey));
  const undo = (event.ctrlKey || event.metaKey) && key === "z";
  if (redo || undo) {
    if (saver) tools[redo ? "redo" : "undo"]();
  } else if (event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (/^[1-9]$/.test(key) && saver && Number(key) <= info.structures.length) {
    activate(Number(key) - 1);
  } else {
    const known = KEYS.find(([keys]) => keys.includes(key));
    if (!known) return;
    known[2]();
  }
  event.preventDefault();
}

function wire() {
  const click = (id, action) => byId(id).addEventListener("click", action);
  for (const [tool, name, key] of TOOLS) {
    const button = element("button", { type: "button", role: "radio", textContent: name, title: `${name} (${key})` });
    button.dataset.tool = tool;
    button.addEventListener("click", () => choose(tool));
    byId("tools").append(button);
  }
  byId("tools").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = [...byId("tools").children].filter((button) => !button.hidden);
    if (!step) return;
    event.preventDefault();
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    choose(next.dataset.tool);
    next.focus();
  });
  click("open", () => byId("files").click());
  click("open-too", () => byId("files").click());
  byId("files").addEventListener("change", (event) => add(event.target.files));
  click("previous", () => turn(-1));
  click("next", () => turn(1));
  click("in", () => viewer.zoom(1.3));
  click("out", () => viewer.zoom(1 / 1.3));
  click("fit", () => viewer.film && viewer.fit());
  click("smooth", () => tools.smooth());
  click("clear", () => tools.clear());
  click("undo", () => tools.undo());
  click("redo", () => tools.redo());
  click("confirm", confirmFilm);
  click("theme", light);
  click("help", () => ask(byId("keys")));
  click("all", segmentAll);
  click("csv", () => download("films.csv", table.csv(info.structures), "text/csv"));
  byId("size").addEventListener("input", (event) => tools.resize(Number(event.target.value) / tools.radius));
  byId("who").addEventListener("change", (event) => localStorage.setItem("cxrkit-who", event.target.value));
  addEventListener("keydown", pressed);
  const screen = byId("screen");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    screen.classList.add("over");
  });
  addEventListener("dragleave", () => screen.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    screen.classList.remove("over");
    if (!saver) add(event.dataTransfer.files);
    else say("Films are corrected in the folder that was opened: put them there.");
  });
}

async function start() {
  const theme = localStorage.getItem("cxrkit-theme");
  if (theme) document.documentElement.dataset.theme = theme;
  api.onToken(async () => ((await ask(byId("ask-token"))) ? byId("token").value : null));
  wire();
  info = await api.info();
  viewer.structures = info.structures;
  if (info.dataset) {
    byId("who").value = localStorage.getItem("cxrkit-who") ?? "";
    for (const id of ["who-label", "drawing", "confirm", "saved"]) byId(id).hidden = false;
    for (const id of ["open", "empty"]) byId(id).hidden = true;
    viewer.active = 0;
    saver = new Saver(info.dataset, {
      onchange: (state, text, problem) => {
        Object.assign(byId("saved"), { className: state, textContent: text });
        Object.assign(byId("unsaved"), { hidden: !problem, textContent: problem });
      },
      onsaved: saved,
      onconflict: settle,
    });
    setInterval(meet, 10_000);
  }
  for (const button of byId("tools").children) button.hidden = !saver && DRAWING.includes(button.dataset.tool);
  const keys = KEYS.filter(([, , , drawing]) => saver || !drawing);
  byId("shortcuts").replaceChildren(...keys.flatMap(([names, text]) => [
    element("dt", {}, element("kbd", { textContent: names[0].toUpperCase() })), element("dd", { textContent: text }),
  ]));
  choose(saver ? "brush" : "window");
  panel.structures(null, false);
  history(tools);
  if (info.folder) {
    const { films } = await api.films();
    table.films = films.map((film) => ({ id: film.id, name: film.name, states: film.masks, faults: {} }));
    table.refresh();
    show(table.films[0]);
  } else table.refresh();
}

start().catch((error) => say(error.message));
