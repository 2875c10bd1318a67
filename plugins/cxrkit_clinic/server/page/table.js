// The table of films: sorted, filtered, and as CSV.

import { element } from "./dom.js";

const text = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits));
const ORDER = { failed: 0, unseen: 1, proposed: 2, corrected: 3, segmented: 4, confirmed: 5 };
export const STATES = {
  unseen: "new", segmented: "segmented", failed: "unusable", proposed: "proposed", corrected: "corrected",
  confirmed: "confirmed",
};

// What is known of a film as a whole.
export function stateOf(film) {
  if (film.failure) return "failed";
  const states = Object.values(film.states ?? {}).map((one) => one.state);
  if (states.includes("corrected")) return "corrected";
  if (states.length) return states.every((one) => one === "confirmed") ? "confirmed" : "proposed";
  return film.row ? "segmented" : "unseen";
}

// What the network makes of its own masks, from 0 to 1, of those that nobody has drawn since.
export function qualities(film) {
  return Object.entries(film.row?.quality ?? {}).filter(([name]) => (film.states?.[name]?.state ?? "proposed") === "proposed");
}

function worst(film) {
  const known = qualities(film).map(([, quality]) => quality);
  return known.length ? Math.min(...known) : null;
}

const COLUMNS = {
  name: { value: (film) => film.name, show: (film) => film.name },
  ratio: {
    value: (film) => film.row?.cardiothoracic_ratio ?? null,
    show: (film) => text(film.row?.cardiothoracic_ratio, 3),
  },
  quality: { value: worst, show: (film) => text(worst(film), 2) },
  state: { value: (film) => ORDER[stateOf(film)], show: (film) => STATES[stateOf(film)] },
  warnings: {
    value: (film) => (film.failure ? Infinity : film.row?.warnings.length ?? null),
    show: (film) => film.row?.warnings.length || "",
  },
};

const FILTERS = {
  all: () => true,
  warnings: (film) => Boolean(film.failure || film.row?.warnings.length),
  unconfirmed: (film) => stateOf(film) !== "confirmed",
  confirmed: (film) => stateOf(film) === "confirmed",
};

export class Table {
  constructor(root, { onchoose }) {
    this.body = root.querySelector("tbody");
    this.count = root.querySelector("#count");
    this.filter = root.querySelector("#filter");
    this.search = root.querySelector("#search");
    this.headers = [...root.querySelectorAll("th[data-column]")];
    this.onchoose = onchoose;
    this.films = [];
    this.rows = new Map();
    this.sorting = { column: null, down: false };
    this.filter.addEventListener("change", () => this.refresh());
    this.search.addEventListener("input", () => this.refresh());
    for (const header of this.headers) {
      header.querySelector("button").addEventListener("click", () => this.sort(header.dataset.column));
    }
  }

  sort(column) {
    const down = this.sorting.column === column && !this.sorting.down;
    this.sorting = { column, down };
    for (const header of this.headers) {
      const direction = down ? "descending" : "ascending";
      header.setAttribute("aria-sort", header.dataset.column === column ? direction : "none");
    }
    this.refresh();
  }

  // The films as they are listed.
  get shown() {
    const wanted = this.search.value.trim().toLowerCase();
    const kept = this.films.filter((film) => FILTERS[this.filter.value](film) && film.name.toLowerCase().includes(wanted));
    const { column, down } = this.sorting;
    if (!column) return kept;
    const value = COLUMNS[column].value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null); // what isn't known comes last
      const order = typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return down ? -order : order;
    };
    return [...kept].sort(compare);
  }

  refresh(current = this.current) {
    this.current = current;
    const shown = this.shown;
    this.body.replaceChildren(...shown.map((film) => this.row(film)));
    const all = this.films.length;
    this.count.textContent = shown.length === all ? `${all} film${all === 1 ? "" : "s"}` : `${shown.length} of ${all} films`;
  }

  // Show one film's row again, without moving it.
  update(film) {
    this.rows.get(film.id)?.replaceWith(this.row(film));
  }

  row(film) {
    if (film.row?.quality) this.body.parentElement.classList.add("judged");
    const state = stateOf(film);
    const chosen = this.current === film;
    const open = element("button", { className: "film", title: film.name }, element("span", {}, ...broken(film.name)));
    open.addEventListener("click", () => this.onchoose(film));
    if (chosen) open.setAttribute("aria-current", "true");
    const signs = [film.failure ?? film.row?.warnings ?? []].flat().join("\n");
    const row = element("tr", { className: chosen ? "chosen" : "" },
      element("th", { scope: "row" }, open),
      element("td", { className: "number", textContent: COLUMNS.ratio.show(film) }),
      element("td", { className: "number quality", textContent: COLUMNS.quality.show(film) }),
      element("td", {}, element("span", { className: `state ${state}`, textContent: COLUMNS.state.show(film) })),
      element("td", { className: signs ? "alarming" : "", textContent: COLUMNS.warnings.show(film), title: signs }),
    );
    this.rows.set(film.id, row);
    return row;
  }

  neighbour(step) {
    const shown = this.shown;
    const place = shown.indexOf(this.current);
    return shown[place < 0 ? 0 : place + step];
  }

  csv(structures) {
    const headings = [
      "film", "state", "cardiothoracic_ratio", "heart_width_mm", "thorax_width_mm",
      ...structures.map((one) => `${one.name}_pixels`), ...structures.map((one) => `${one.name}_quality`), "warnings", "error",
    ];
    const lines = this.shown.map((film) => {
      const row = film.row ?? {};
      return [
        film.name, stateOf(film), row.cardiothoracic_ratio, row.heart_width_mm, row.thorax_width_mm,
        ...structures.map((one) => row.areas?.[one.name]), ...structures.map((one) => row.quality?.[one.name]), row.warnings?.join("; "), film.failure,
      ];
    });
    return [headings, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
  }
}

// A name with places at which a line may break.
function broken(name) {
  return name.split(/(?<=[/_ -])/).flatMap((part, index) => (index ? [element("wbr"), part] : [part]));
}

// A cell that a spreadsheet won't compute.
function cell(value) {
  let written = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^'*[=+\-@\t\r\n＝＋－＠]/.test(written)) written = `'${written}`;
  return /[",\r\n]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
}
