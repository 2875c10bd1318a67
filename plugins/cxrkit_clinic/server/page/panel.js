// Beside the film: its masks, what was measured on them, and its grey levels.

import { byId, element, label } from "./dom.js";
import { drawMeasure } from "./viewer.js";
import { qualities, STATES } from "./table.js";

export class Panel {
  constructor(viewer, { onactive }) {
    this.viewer = viewer;
    this.onactive = onactive;
    this.row = null;
    viewer.decorations.push((...where) => this.lines(...where));
    const shows = (id, set) => byId(id).addEventListener("input", (event) => {
      set(event.target);
      viewer.refresh();
    });
    shows("opacity", (input) => (viewer.opacity = Number(input.value)));
    shows("outlines", (input) => (viewer.outlines = input.checked));
    shows("lines", () => {});
    shows("invert", (input) => (viewer.invert = input.checked));
    for (const id of ["level", "contrast"]) shows(id, () => this.setWindow());
    byId("reset").addEventListener("click", () => {
      if (viewer.film) viewer.window = [...viewer.film.window];
      viewer.invert = byId("invert").checked = false;
      this.showWindow();
      viewer.refresh();
    });
  }

  toggle(id) {
    byId(id).checked = !byId(id).checked;
    byId(id).dispatchEvent(new Event("input"));
  }

  // The sliders say where the middle of the grey levels lies, and how narrow they are.
  setWindow() {
    const { film } = this.viewer;
    if (!film) return;
    const full = film.window[1] - film.window[0];
    const width = full / 2 ** Number(byId("contrast").value);
    const middle = (film.window[0] + film.window[1]) / 2 - Number(byId("level").value) * full;
    this.viewer.window = [middle - width / 2, middle + width / 2];
  }

  showWindow() {
    const { film, window: range } = this.viewer;
    if (!film) return;
    const full = film.window[1] - film.window[0];
    byId("contrast").value = Math.log2(full / (range[1] - range[0]));
    byId("level").value = ((film.window[0] + film.window[1]) / 2 - (range[0] + range[1]) / 2) / full;
  }

  structures(film, draws) {
    const { viewer } = this;
    const rows = viewer.structures.map((one, bit) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = `rgb(${one.colour.join(" ")})`;
      const state = film?.states?.[one.name]?.state;
      const fault = film?.faults?.[one.name];
      const choose = element("button", { type: "button", title: fault ?? "" }, swatch, label(one.name));
      if (draws) choose.append(element("span", { className: `state ${fault ? "failed" : state ?? ""}`, textContent: fault ? "can't be corrected" : STATES[state] ?? "" }));
      choose.setAttribute("aria-pressed", String(draws && viewer.active === bit));
      choose.disabled = !draws;
      choose.addEventListener("click", () => this.onactive(bit));
      const seen = element("input", { type: "checkbox", checked: !(viewer.hidden & (1 << bit)), title: "Show" });
      seen.setAttribute("aria-label", `Show ${label(one.name)}`);
      seen.addEventListener("input", () => {
        viewer.hidden ^= 1 << bit;
        viewer.refresh();
      });
      return element("li", { className: draws && viewer.active === bit ? "active" : "" }, choose, seen);
    });
    byId("structures").replaceChildren(...rows);
  }

  measures(film) {
    const row = film?.row;
    this.row = row ?? null;
    const entries = [];
    if (row) {
      const ratio = row.cardiothoracic_ratio;
      entries.push(["Cardiothoracic ratio", ratio === null ? "–" : ratio.toFixed(3), "large"]);
      for (const [part, width] of [["heart", row.heart_width_mm], ["thorax", row.thorax_width_mm]]) {
        if (row.extents) entries.push([`Width of the ${part}`, this.width(row.extents[part], width)]);
      }
      for (const [name, quality] of qualities(film)) entries.push([`Quality, ${label(name)}`, quality.toFixed(2)]);
      if (row.spacing) entries.push(["Pixel", `${row.spacing.map((one) => one.toFixed(3)).join(" × ")} mm`]);
      for (const [name, area] of Object.entries(row.areas_mm2 ?? {})) entries.push([`Area, ${label(name)}`, `${(area / 100).toFixed(0)} cm²`]);
    }
    byId("measures").replaceChildren(...entries.flatMap(([name, value, size = ""]) => [
      element("dt", { textContent: name }), element("dd", { textContent: value, className: size }),
    ]));
    const faults = Object.values(film?.faults ?? {});
    const texts = [...(film?.failure ? [film.failure] : []), ...faults, ...(row?.warnings ?? [])];
    byId("warnings").replaceChildren(...texts.map((text) => element("li", { textContent: text })));
    this.viewer.decorate();
  }

  width(extent, millimetres) {
    return millimetres === null || millimetres === undefined ? `${extent.right - extent.left + 1} px` : `${millimetres.toFixed(1)} mm`;
  }

  // The two lines of the ratio, each at the height where its structure is widest.
  lines(context, viewer, ratio) {
    if (!this.row?.extents || !byId("lines").checked) return;
    const { heart, thorax } = this.row.extents;
    const rows = [heart, thorax].map((extent) => (extent.left_row + extent.right_row) / 2);
    const least = (46 * ratio) / (viewer.view.scale * viewer.aspect); // or a label would cover the other line
    if (Math.abs(rows[0] - rows[1]) < least) rows[1] = rows[0] + (rows[1] < rows[0] ? -least : least);
    const colours = [viewer.structures.find((one) => one.name === "heart")?.colour ?? [255, 120, 60], [255, 255, 255]];
    [["heart", heart, this.row.heart_width_mm], ["thorax", thorax, this.row.thorax_width_mm]].forEach(([name, extent, width], index) => {
      const from = [extent.left, rows[index]];
      const to = [extent.right + 1, rows[index]];
      drawMeasure(context, viewer, from, to, `${name} ${this.width(extent, width)}`, `rgb(${colours[index].join(" ")})`, ratio);
    });
  }
}
