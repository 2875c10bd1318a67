// What the pointer and the keyboard do on a film: window and level, panning, zooming, measuring, drawing.

import { boxOf, cut, fillHole, join, paintLine, paintPolygon, paste, smooth } from "./masks.js";
import { drawMeasure } from "./viewer.js";

const MOST_STEPS = 100;
const MOST_BYTES = 200 << 20;
export const DRAWING = ["brush", "eraser", "polygon", "fill"];

export class Tools {
  // `onstroke` is called with the structure whose mask has changed, `ontell` with what to tell the user.
  constructor(viewer, { onstroke, onwindow, ontell, onhistory }) {
    Object.assign(this, { viewer, onstroke, onwindow, ontell, onhistory });
    this.tool = "window";
    this.radius = 12; // of the brush, in pixels of the screen
    this.canDraw = () => false;
    this.spacing = null;
    this.pointers = new Map();
    this.reset();
    viewer.decorations.push((...where) => this.decorate(...where));
    viewer.onframe = () => this.shown();
    const canvas = viewer.overlay;
    canvas.addEventListener("pointerdown", (event) => this.pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.pointerMove(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.pointerUp(event));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.closePolygon());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.hover(null));
  }

  // Forget what was done to another film.
  reset() {
    this.done = [];
    this.undone = [];
    this.points = [];
    this.rulers = [];
    this.stroke = null;
    this.cursor = null;
    this.onhistory(this);
  }

  choose(tool) {
    this.tool = tool;
    this.points = [];
    this.viewer.refresh();
  }

  // --- pointer

  at(event) {
    const box = this.viewer.overlay.getBoundingClientRect();
    return [(event.clientX - box.left) * this.viewer.ratio, (event.clientY - box.top) * this.viewer.ratio];
  }

  pointerDown(event) {
    if (!this.viewer.film) return;
    try {
      this.viewer.overlay.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that is gone already
    }
    this.pointers.set(event.pointerId, this.at(event));
    if (this.pointers.size === 2) {
      this.cancel();
      return;
    }
    const pans = event.button === 1 || event.button === 2 || this.tool === "pan" || event.altKey;
    this.drag = pans ? "pan" : this.tool;
    if (this.drag !== "pan" && this.drag !== "window") this.down(this.viewer.toFilm(...this.at(event)), event.shiftKey);
  }

  pointerMove(event) {
    const here = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.hover(here);
      return;
    }
    if (this.pointers.size === 2) {
      this.pinch(event.pointerId, before, here);
    } else if (this.drag === "pan") {
      this.viewer.pan(here[0] - before[0], here[1] - before[1]);
    } else if (this.drag === "window") {
      this.changeWindow((here[0] - before[0]) / this.viewer.ratio, (here[1] - before[1]) / this.viewer.ratio);
    } else {
      this.moved ??= event.timeStamp;
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) this.move(this.viewer.toFilm(...this.at(one)));
      this.hover(here);
    }
    this.pointers.set(event.pointerId, here);
  }

  pointerUp(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    if (this.drag !== "pan" && this.drag !== "window") this.up();
    this.drag = null;
  }

  pinch(id, before, here) {
    const [other] = [...this.pointers].filter(([key]) => key !== id).map(([, point]) => point);
    const middle = (point) => [(point[0] + other[0]) / 2, (point[1] + other[1]) / 2];
    const distance = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    const [from, to] = [middle(before), middle(here)];
    this.viewer.zoom(distance(here) / distance(before), ...to);
    this.viewer.pan(to[0] - from[0], to[1] - from[1]);
  }

  wheel(event) {
    event.preventDefault();
    const amount = event.deltaY || event.deltaX; // Shift makes it sideways on some systems
    if (event.shiftKey && DRAWING.includes(this.tool)) this.resize(amount < 0 ? 1.15 : 1 / 1.15);
    else this.viewer.zoom(Math.exp(-amount * (event.ctrlKey ? 0.01 : 0.0015)), ...this.at(event));
  }

  hover(point) {
    this.cursor = point && this.viewer.film ? this.viewer.toFilm(...point) : null;
    this.viewer.decorate();
  }

  resize(factor) {
    this.radius = Math.min(150, Math.max(1, this.radius * factor));
    this.onhistory(this);
    this.viewer.decorate();
  }

  changeWindow(dx, dy) {
    const { window: range, film } = this.viewer;
    const full = film.window[1] - film.window[0];
    const width = Math.max(full / 500, (range[1] - range[0]) * Math.exp(dx * 0.005));
    const middle = (range[0] + range[1]) / 2 - (dy * full) / 400;
    this.viewer.window = [middle - width / 2, middle + width / 2];
    this.onwindow();
    this.viewer.refresh();
  }

  // --- keyboard: the arrows move a cross, the space bar presses and lifts the tool

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { viewer } = this;
    if (!viewer.film || event.ctrlKey || event.metaKey || event.altKey) return;
    if (steps[event.key]) {
      const step = (event.shiftKey ? 40 : 6) * viewer.ratio;
      const [dx, dy] = steps[event.key].map((one) => one * step);
      if (this.tool === "window") this.changeWindow(dx / viewer.ratio, dy / viewer.ratio);
      else if (this.tool === "pan") viewer.pan(-dx, -dy);
      else {
        this.cursor ??= viewer.toFilm(viewer.width / 2, viewer.height / 2);
        const { scale } = viewer.view;
        this.cursor = [this.cursor[0] + dx / scale, this.cursor[1] + dy / (scale * viewer.aspect)];
        if (this.pressed) this.move(this.cursor);
        viewer.decorate();
      }
    } else if (event.key === " ") {
      this.cursor ??= viewer.toFilm(viewer.width / 2, viewer.height / 2);
      this.pressed = !this.pressed && !["polygon", "fill"].includes(this.tool);
      if (this.pressed || ["polygon", "fill"].includes(this.tool)) this.down(this.cursor);
      else this.up();
      this.ontell(this.pressed ? "The tool is down." : "The tool is up.");
    } else if (event.key === "Enter" && this.points.length) this.closePolygon();
    else if (event.key === "Escape") this.cancel();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // --- what tools do at a point of the film

  get bit() {
    return this.viewer.active;
  }

  down(point) {
    if (this.tool === "ruler") {
      this.rulers = [{ from: point, to: point }];
      return;
    }
    if (!DRAWING.includes(this.tool) || !this.canDraw()) return;
    const { film, bits } = this.viewer;
    if (this.tool === "polygon") {
      const [first] = this.points;
      const near = first && Math.hypot(point[0] - first[0], (point[1] - first[1]) * this.viewer.aspect) * this.viewer.view.scale < 10 * this.viewer.ratio;
      if (near && this.points.length > 2) this.closePolygon();
      else this.points.push(point);
      this.viewer.decorate();
    } else if (this.tool === "fill") {
      const [x, y] = point.map(Math.floor);
      if (x < 0 || y < 0 || x >= film.width || y >= film.height) return;
      this.change(() => fillHole(bits, film.width, film.height, this.bit, x, y), "There is no closed hole at this place.");
    } else {
      this.stroke = { before: bits.slice(), bit: this.bit, box: null, last: point };
      this.move(point);
    }
  }

  move(point) {
    if (this.tool === "ruler" && this.rulers.length) {
      this.rulers[0].to = point;
      this.viewer.decorate();
    }
    if (!this.stroke) return;
    const { film, bits, view, aspect } = this.viewer;
    const radius = Math.max(0.5, (this.radius * this.viewer.ratio) / view.scale);
    const { bit, last } = this.stroke;
    const box = paintLine(bits, film.width, film.height, bit, ...last, ...point, radius, this.tool === "brush", aspect);
    if (box[0] < box[2] && box[1] < box[3]) this.stroke.box = join(this.stroke.box, box);
    this.stroke.last = point;
    this.viewer.refresh(box);
  }

  up() {
    const { stroke } = this;
    this.stroke = null;
    this.pressed = false;
    if (stroke?.box) this.remember(stroke.bit, stroke.box, stroke.before);
  }

  cancel() {
    if (this.stroke?.box) {
      const { bit, box, before } = this.stroke;
      paste(this.viewer.bits, this.viewer.film.width, box, cut(before, this.viewer.film.width, box), bit);
    }
    this.stroke = null;
    this.pressed = false;
    this.points = [];
    this.rulers = [];
    this.viewer.refresh();
  }

  closePolygon() {
    const points = this.points;
    this.points = [];
    if (points.length < 3 || !this.canDraw()) return;
    const { film, bits } = this.viewer;
    this.change(() => paintPolygon(bits, film.width, film.height, this.bit, points, true));
  }

  smooth() {
    if (!this.canDraw()) return;
    const { film, bits } = this.viewer;
    const { aspect } = this.viewer;
    const radius = Math.max(2, Math.round(Math.min(film.width, film.height * aspect) / 200));
    const tall = Math.max(1, Math.round(radius / aspect));
    this.change(() => smooth(bits, film.width, film.height, this.bit, radius, tall), "There is nothing to smooth.");
  }

  clear() {
    if (!this.canDraw()) return;
    const { film, bits } = this.viewer;
    this.change(() => {
      const box = boxOf(bits, film.width, film.height, this.bit);
      if (box) paste(bits, film.width, box, new bits.constructor((box[2] - box[0]) * (box[3] - box[1])), this.bit);
      return box;
    }, "The mask is empty.");
  }

  change(work, otherwise = "") {
    const before = this.viewer.bits.slice();
    const box = work();
    if (box) this.remember(this.bit, box, before);
    else this.ontell(otherwise);
  }

  // --- undo

  remember(bit, box, before) {
    const { bits, film } = this.viewer;
    this.done.push({ bit, box, before: cut(before, film.width, box), after: cut(bits, film.width, box) });
    this.undone = [];
    let bytes = 0;
    for (let i = this.done.length - 1; i >= 0; i--) {
      bytes += 2 * this.done[i].after.byteLength;
      if (bytes > MOST_BYTES || this.done.length - i > MOST_STEPS) {
        this.done.splice(0, i + 1);
        break;
      }
    }
    this.changed(bit, box);
  }

  step(from, to, part) {
    const one = this.stroke ? null : from.pop();
    if (!one) return;
    to.push(one);
    paste(this.viewer.bits, this.viewer.film.width, one.box, one[part], one.bit);
    this.changed(one.bit, one.box);
  }

  undo() {
    if (this.points.length) {
      this.points.pop();
      this.viewer.decorate();
    } else this.step(this.done, this.undone, "before");
  }

  redo() {
    this.step(this.undone, this.done, "after");
  }

  changed(bit, box) {
    this.viewer.refresh(box);
    this.onhistory(this);
    this.onstroke(bit);
  }

  // --- on top of the film

  decorate(context, viewer, ratio) {
    const colour = `rgb(${viewer.structures[this.bit]?.colour.join(" ") ?? "255 255 255"})`;
    for (const { from, to } of this.rulers) {
      const pixels = Math.hypot(to[0] - from[0], (to[1] - from[1]) * viewer.aspect);
      const [row, column] = this.spacing ?? [1, 1];
      const length = Math.hypot((to[0] - from[0]) * column, (to[1] - from[1]) * row);
      const label = this.spacing ? `${length.toFixed(1)} mm` : `${pixels.toFixed(0)} px`;
      drawMeasure(context, viewer, from, to, label, "#7ce38b", ratio);
    }
    if (this.points.length) {
      context.strokeStyle = colour;
      context.lineWidth = 2 * ratio;
      context.beginPath();
      for (const point of [...this.points, ...(this.cursor ? [this.cursor] : [])]) context.lineTo(...viewer.toScreen(...point));
      context.stroke();
      for (const point of this.points) {
        const [x, y] = viewer.toScreen(...point);
        context.fillStyle = colour;
        context.fillRect(x - 3 * ratio, y - 3 * ratio, 6 * ratio, 6 * ratio);
      }
    }
    if (!this.cursor || this.tool === "window" || this.tool === "pan") return;
    const [x, y] = viewer.toScreen(...this.cursor);
    const round = this.tool === "brush" || this.tool === "eraser";
    for (const [style, width] of [["rgb(0 0 0 / 70%)", 3], [this.tool === "eraser" ? "white" : colour, 1.4]]) {
      context.strokeStyle = style;
      context.lineWidth = width * ratio;
      context.beginPath();
      if (round) context.arc(x, y, this.radius * ratio, 0, 2 * Math.PI);
      else {
        context.moveTo(x - 9 * ratio, y);
        context.lineTo(x + 9 * ratio, y);
        context.moveTo(x, y - 9 * ratio);
        context.lineTo(x, y + 9 * ratio);
      }
      context.stroke();
    }
  }

  // How long it took from the pointer's move until the stroke was on the canvas.
  shown() {
    if (this.moved === undefined) return;
    performance.measure("stroke", { start: this.moved, end: performance.now() });
    this.moved = undefined;
  }
}
