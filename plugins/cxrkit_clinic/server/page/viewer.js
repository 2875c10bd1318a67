// A film with its masks on a canvas. Only what is seen is computed, from a film that was halved until it is hardly
// larger than the screen shows it: a film of 2,500 × 3,000 takes no longer than a small one.

const LARGEST = 2_600_000; // pixels of the canvas; finer screens get a coarser one

export class Viewer {
  constructor(base, overlay) {
    this.base = base;
    this.overlay = overlay;
    this.context = base.getContext("2d", { alpha: false });
    this.top = overlay.getContext("2d");
    this.film = null;
    this.bits = null;
    this.structures = [];
    this.hidden = 0;
    this.active = -1;
    this.invert = false;
    this.outlines = true;
    this.opacity = 0.25;
    this.view = { scale: 1, x: 0, y: 0 }; // of a pixel's width
    this.aspect = 1; // its height over its width
    this.window = [0, 1];
    this.decorations = [];
    this.whole = false;
    this.dirty = null;
    this.background = 0;
    new ResizeObserver(() => this.resize()).observe(base);
  }

  resize() {
    const { clientWidth, clientHeight } = this.base;
    if (!clientWidth || !clientHeight) return;
    const wanted = window.devicePixelRatio || 1;
    const ratio = Math.min(wanted, Math.sqrt(LARGEST / (clientWidth * clientHeight)));
    const centre = this.film && this.toFilm(this.width / 2, this.height / 2);
    const wasFitted = this.fitted;
    this.ratio = ratio;
    this.width = Math.round(clientWidth * ratio);
    this.height = Math.round(clientHeight * ratio);
    for (const canvas of [this.base, this.overlay]) {
      canvas.width = this.width;
      canvas.height = this.height;
    }
    this.image = this.context.createImageData(this.width, this.height);
    this.out = new Uint32Array(this.image.data.buffer);
    if (this.film && wasFitted) this.fit();
    else if (this.film) {
      this.view.x = this.width / 2 - centre[0] * this.view.scale;
      this.view.y = this.height / 2 - centre[1] * this.view.scale * this.aspect;
    }
    this.refresh();
  }

  show(film, bits) {
    const same = this.film && ["width", "height", "aspect"].every((name) => this.film[name] === film[name]);
    this.film = film;
    this.aspect = film.aspect;
    this.levels = [{ pixels: film.pixels, width: film.width, height: film.height }];
    this.bits = bits;
    this.window = [...film.window];
    if (!same || this.fitted) this.fit();
    this.refresh();
  }

  clear() {
    this.film = null;
    this.bits = null;
    this.refresh();
  }

  fit() {
    const width = this.film.width;
    const height = this.film.height * this.aspect;
    const scale = Math.min(this.width / width, this.height / height) * 0.98;
    this.view = { scale, x: (this.width - width * scale) / 2, y: (this.height - height * scale) / 2 };
    this.fitted = true;
    this.refresh();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    if (!this.film) return;
    const smallest = 0.2 * Math.min(this.width / this.film.width, this.height / (this.film.height * this.aspect));
    const scale = Math.min(40, Math.max(smallest, this.view.scale * factor));
    const change = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * change, y: y - (y - this.view.y) * change };
    this.fitted = false;
    this.refresh();
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.fitted = false;
    this.refresh();
  }

  toFilm(x, y) {
    return [(x - this.view.x) / this.view.scale, (y - this.view.y) / (this.view.scale * this.aspect)];
  }

  toScreen(x, y) {
    return [x * this.view.scale + this.view.x, y * this.view.scale * this.aspect + this.view.y];
  }

  // Show again what has changed of the masks, a box of the film, or everything.
  refresh(box = null) {
    if (!box) this.whole = true;
    else if (!this.whole) {
      const [left, top] = this.toScreen(box[0], box[1]);
      const [right, bottom] = this.toScreen(box[2], box[3]);
      const mine = [Math.floor(left) - 3, Math.floor(top) - 3, Math.ceil(right) + 4, Math.ceil(bottom) + 4];
      this.dirty = this.dirty
        ? [Math.min(mine[0], this.dirty[0]), Math.min(mine[1], this.dirty[1]), Math.max(mine[2], this.dirty[2]), Math.max(mine[3], this.dirty[3])]
        : mine;
    }
    if (!this.asked) {
      this.asked = true;
      requestAnimationFrame(() => this.frame());
    }
  }

  frame() {
    this.asked = false;
    if (!this.image) return;
    const box = this.whole || !this.dirty ? [0, 0, this.width, this.height] : this.dirty;
    this.whole = false;
    this.dirty = null;
    const [left, top, right, bottom] = [
      Math.max(0, box[0]), Math.max(0, box[1]), Math.min(this.width, box[2]), Math.min(this.height, box[3]),
    ];
    if (left < right && top < bottom) {
      this.draw(left, top, right, bottom);
      this.context.putImageData(this.image, 0, 0, left, top, right - left, bottom - top);
    }
    this.decorate();
    this.onframe?.();
  }

  // The film, halved so often that a pixel of the screen covers at most two of it.
  level() {
    const wanted = Math.max(0, Math.floor(Math.log2(1 / (this.view.scale * Math.max(1, this.aspect)))));
    while (this.levels.length <= wanted) {
      const { pixels, width, height } = this.levels.at(-1);
      const w = width >> 1;
      const h = height >> 1;
      if (!w || !h) break;
      const half = new pixels.constructor(w * h);
      for (let y = 0; y < h; y++) {
        let from = 2 * y * width;
        for (let x = 0; x < w; x++, from += 2) {
          half[y * w + x] = (pixels[from] + pixels[from + 1] + pixels[from + width] + pixels[from + width + 1] + 2) >> 2;
        }
      }
      this.levels.push({ pixels: half, width: w, height: h });
    }
    return Math.min(wanted, this.levels.length - 1);
  }

  draw(left, top, right, bottom) {
    const { out, width: W, film, background } = this;
    if (!film) {
      for (let y = top; y < bottom; y++) out.fill(background, y * W + left, y * W + right);
      return;
    }
    const depth = this.level();
    const { pixels, width: w, height: h } = this.levels[depth];
    const { scale, x: x0, y: y0 } = this.view;
    const step = 1 / scale;
    const stepDown = step / this.aspect;
    const shrink = 1 / (1 << depth);
    const [low, high] = this.window;
    const gain = (this.invert ? -255 : 255) / Math.max(1, high - low);
    const offset = this.invert ? 255 - low * gain : -low * gain;
    const thick = Math.max(1, Math.round(1.4 * this.ratio));
    const firstX = Math.max(0, left - thick);
    const firstY = Math.max(0, top - thick);
    const span = right - firstX;
    // Of each column: the mask's column, and the two of the halved film that it lies between.
    const column = new Int32Array(span);
    const near = new Int32Array(span);
    const share = new Float32Array(span);
    for (let i = 0; i < span; i++) {
      const u = (firstX + i + 0.5 - x0) * step;
      column[i] = u < 0 || u >= film.width ? -1 : u | 0;
      const v = Math.min(w - 1, Math.max(0, u * shrink - 0.5));
      near[i] = Math.min(w - 2, v | 0) < 0 ? 0 : Math.min(w - 2, v | 0);
      share[i] = w > 1 ? v - near[i] : 0;
    }
    const shown = this.bits && this.structures.length ? ~this.hidden : 0;
    const masks = this.bits;
    const ring = Array.from({ length: thick + 1 }, () => new Uint32Array(span));
    const paints = new Map();
    let lastValue = 0;
    let paint = this.paint(0, paints);
    for (let y = firstY; y < bottom; y++) {
      const u = (y + 0.5 - y0) * stepDown;
      const row = u < 0 || u >= film.height ? -1 : u | 0;
      const v = Math.min(h - 1, Math.max(0, u * shrink - 0.5));
      const upper = Math.max(0, Math.min(h - 2, v | 0));
      const dy = h > 1 ? v - upper : 0;
      const a = upper * w;
      const b = h > 1 ? a + w : a;
      const here = ring[y % (thick + 1)];
      const above = ring[(y + 1) % (thick + 1)];
      const emits = y >= top;
      const next = w > 1 ? 1 : 0;
      for (let i = 0; i < span; i++) {
        const inside = row >= 0 && column[i] >= 0;
        const value = inside && shown ? masks[row * film.width + column[i]] & shown : 0;
        here[i] = value;
        if (!emits || firstX + i < left) continue;
        if (!inside) {
          out[y * W + firstX + i] = background;
          continue;
        }
        let edge = 0;
        if (this.outlines && shown) {
          edge = (y - firstY >= thick ? value ^ above[i] : 0) | (i >= thick ? value ^ here[i - thick] : 0);
        }
        if (edge) {
          out[y * W + firstX + i] = this.line(edge);
          continue;
        }
        const p = near[i];
        const dx = share[i];
        const upperGrey = pixels[a + p] + (pixels[a + p + next] - pixels[a + p]) * dx;
        const lowerGrey = pixels[b + p] + (pixels[b + p + next] - pixels[b + p]) * dx;
        let grey = (upperGrey + (lowerGrey - upperGrey) * dy) * gain + offset;
        grey = grey < 0 ? 0 : grey > 255 ? 255 : grey;
        if (value) {
          if (value !== lastValue) {
            paint = this.paint(value, paints);
            lastValue = value;
          }
          const rest = grey * paint.rest;
          out[y * W + firstX + i] = 0xff000000 | ((rest + paint.b) << 16) | ((rest + paint.g) << 8) | (rest + paint.r);
        } else {
          const g = grey | 0;
          out[y * W + firstX + i] = 0xff000000 | (g << 16) | (g << 8) | g;
        }
      }
    }
  }

  // What a pixel of these structures adds to the film: the mean of their colours.
  paint(value, known) {
    let found = known.get(value);
    if (!found) {
      const colours = this.structures.filter((_, bit) => value & (1 << bit)).map((one) => one.colour);
      const mean = (channel) => (this.opacity * colours.reduce((sum, one) => sum + one[channel], 0)) / (colours.length || 1);
      found = { r: mean(0), g: mean(1), b: mean(2), rest: 1 - this.opacity };
      known.set(value, found);
    }
    return found;
  }

  // The colour of an outline, the active structure's where several meet.
  line(edge) {
    const bit = this.active >= 0 && edge & (1 << this.active) ? this.active : 31 - Math.clz32(edge & -edge);
    const [r, g, b] = this.structures[bit]?.colour ?? [255, 255, 255];
    return (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  }

  decorate() {
    const { top, ratio } = this;
    top.clearRect(0, 0, this.width, this.height);
    if (!this.film) return;
    for (const decoration of this.decorations) decoration(top, this, ratio);
  }
}

// A line on the film with a label, legible on black and white.
export function drawMeasure(context, viewer, from, to, label, colour, ratio) {
  const [ax, ay] = viewer.toScreen(...from);
  const [bx, by] = viewer.toScreen(...to);
  const length = Math.hypot(bx - ax, by - ay) || 1;
  const nx = (-(by - ay) / length) * 7 * ratio;
  const ny = ((bx - ax) / length) * 7 * ratio;
  for (const [style, width] of [["rgb(0 0 0 / 65%)", 4.5], [colour, 2]]) {
    context.strokeStyle = style;
    context.lineWidth = width * ratio;
    context.beginPath();
    context.moveTo(ax, ay);
    context.lineTo(bx, by);
    for (const [x, y] of [[ax, ay], [bx, by]]) {
      context.moveTo(x - nx, y - ny);
      context.lineTo(x + nx, y + ny);
    }
    context.stroke();
  }
  context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  const width = context.measureText(label).width + 12 * ratio;
  const x = Math.min(viewer.width - width, Math.max(0, (ax + bx) / 2 - width / 2));
  const y = (ay + by) / 2 + 8 * ratio;
  context.fillStyle = "rgb(0 0 0 / 72%)";
  context.beginPath();
  context.roundRect(x, y, width, 20 * ratio, 4 * ratio);
  context.fill();
  context.fillStyle = colour;
  context.fillText(label, x + 6 * ratio, y + 14.5 * ratio);
}
