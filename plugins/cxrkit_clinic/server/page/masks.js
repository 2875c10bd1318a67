// Masks of a film: one number a pixel, whose bits are the structures. Pure functions; boxes are [left, top, right,
// bottom], the last two not included.

export function emptyBits(size, structures) {
  if (structures <= 8) return new Uint8Array(size);
  return structures <= 16 ? new Uint16Array(size) : new Uint32Array(size);
}

// Lengths of alternating runs, row by row, the first of them outside.
export function decodeRuns(runs, bits, bit) {
  const flag = 1 << bit;
  for (let i = 0; i < bits.length; i++) bits[i] &= ~flag;
  let at = 0;
  runs.forEach((length, index) => {
    if (index % 2) for (let i = at; i < at + length; i++) bits[i] |= flag;
    at += length;
  });
}

export function encodeRuns(bits, bit) {
  const flag = 1 << bit;
  const runs = [];
  let before = 0;
  let start = 0;
  for (let i = 0; i < bits.length; i++) {
    const here = bits[i] & flag;
    if (here !== before) {
      runs.push(i - start);
      start = i;
      before = here;
    }
  }
  runs.push(bits.length - start);
  return runs;
}

export function clip(box, width, height) {
  return [Math.max(0, box[0]), Math.max(0, box[1]), Math.min(width, box[2]), Math.min(height, box[3])];
}

export function join(a, b) {
  if (!a || !b) return a || b;
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

function set(bits, index, flag, on) {
  if (on) bits[index] |= flag;
  else bits[index] &= ~flag;
}

// Everything within `radius` of the line from (x0, y0) to (x1, y1), in widths of a pixel, of which its height is
// `aspect`; returns what has changed.
export function paintLine(bits, width, height, bit, x0, y0, x1, y1, radius, on, aspect = 1) {
  const flag = 1 << bit;
  const tall = radius / aspect;
  const box = clip(
    [
      Math.floor(Math.min(x0, x1) - radius), Math.floor(Math.min(y0, y1) - tall),
      Math.ceil(Math.max(x0, x1) + radius) + 1, Math.ceil(Math.max(y0, y1) + tall) + 1,
    ], width, height,
  );
  const dx = x1 - x0;
  const dy = (y1 - y0) * aspect;
  const length = dx * dx + dy * dy || 1;
  for (let y = box[1]; y < box[3]; y++) {
    for (let x = box[0]; x < box[2]; x++) {
      const px = x + 0.5 - x0;
      const py = (y + 0.5 - y0) * aspect;
      const along = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
      const ex = px - along * dx;
      const ey = py - along * dy;
      if (ex * ex + ey * ey <= radius * radius) set(bits, y * width + x, flag, on);
    }
  }
  return box;
}

// The inside of a polygon of [x, y], by the even-odd rule.
export function paintPolygon(bits, width, height, bit, points, on) {
  const flag = 1 << bit;
  const ys = points.map((point) => point[1]);
  const xs = points.map((point) => point[0]);
  const box = clip(
    [Math.floor(Math.min(...xs)), Math.floor(Math.min(...ys)), Math.ceil(Math.max(...xs)) + 1, Math.ceil(Math.max(...ys)) + 1],
    width, height,
  );
  for (let y = box[1]; y < box[3]; y++) {
    const crossings = [];
    points.forEach(([ax, ay], index) => {
      const [bx, by] = points[(index + 1) % points.length];
      const row = y + 0.5;
      if (ay <= row !== by <= row) crossings.push(ax + ((row - ay) / (by - ay)) * (bx - ax));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const last = Math.min(width, Math.ceil(crossings[i + 1] - 0.5));
      for (let x = Math.max(0, Math.ceil(crossings[i] - 0.5)); x < last; x++) set(bits, y * width + x, flag, on);
    }
  }
  return box;
}

// Fill the hole around a pixel; null where it isn't enclosed by the structure, or belongs to it.
export function fillHole(bits, width, height, bit, x, y) {
  const flag = 1 << bit;
  if (bits[y * width + x] & flag) return null;
  const filled = [];
  const todo = [y * width + x];
  let box = [x, y, x + 1, y + 1];
  bits[todo[0]] |= flag;
  while (todo.length) {
    const at = todo.pop();
    filled.push(at);
    const column = at % width;
    const row = (at - column) / width;
    if (column === 0 || row === 0 || column === width - 1 || row === height - 1) {
      for (const index of [...filled, ...todo]) bits[index] &= ~flag;
      return null;
    }
    box = join(box, [column, row, column + 1, row + 1]);
    for (const next of [at - 1, at + 1, at - width, at + width]) {
      if (!(bits[next] & flag)) {
        bits[next] |= flag;
        todo.push(next);
      }
    }
  }
  return box;
}

export function boxOf(bits, width, height, bit) {
  const flag = 1 << bit;
  let box = null;
  for (let y = 0; y < height; y++) {
    let left = -1;
    let right = -1;
    for (let x = y * width; x < (y + 1) * width; x++) {
      if (bits[x] & flag) {
        if (left < 0) left = x - y * width;
        right = x - y * width;
      }
    }
    if (left >= 0) box = join(box, [left, y, right + 1, y + 1]);
  }
  return box;
}

// Replace the structure by where more than half of its surroundings, a square of 2 × radius + 1, belong to it.
export function smooth(bits, width, height, bit, radius, tall = radius) {
  const flag = 1 << bit;
  const inner = boxOf(bits, width, height, bit);
  if (!inner) return null;
  const box = clip([inner[0] - radius, inner[1] - tall, inner[2] + radius, inner[3] + tall], width, height);
  const w = box[2] - box[0];
  const h = box[3] - box[1];
  // Sums of everything above and left of each corner.
  const sums = new Uint32Array((w + 1) * (h + 1));
  for (let y = 0; y < h; y++) {
    let row = 0;
    for (let x = 0; x < w; x++) {
      if (bits[(y + box[1]) * width + x + box[0]] & flag) row += 1;
      sums[(y + 1) * (w + 1) + x + 1] = sums[y * (w + 1) + x + 1] + row;
    }
  }
  for (let y = 0; y < h; y++) {
    const top = Math.max(0, y - tall) * (w + 1);
    const bottom = Math.min(h, y + tall + 1) * (w + 1);
    for (let x = 0; x < w; x++) {
      const left = Math.max(0, x - radius);
      const right = Math.min(w, x + radius + 1);
      const count = sums[bottom + right] - sums[bottom + left] - sums[top + right] + sums[top + left];
      const area = ((bottom - top) / (w + 1)) * (right - left);
      set(bits, (y + box[1]) * width + x + box[0], flag, 2 * count > area);
    }
  }
  return box;
}

export function cut(bits, width, box) {
  const [left, top, right, bottom] = box;
  const part = new bits.constructor((right - left) * (bottom - top));
  for (let y = top; y < bottom; y++) {
    part.set(bits.subarray(y * width + left, y * width + right), (y - top) * (right - left));
  }
  return part;
}

// Put one structure of a part that was cut out back; others stay.
export function paste(bits, width, box, part, bit) {
  const flag = 1 << bit;
  const [left, top, right, bottom] = box;
  let from = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = y * width + left; x < y * width + right; x++) {
      bits[x] = (bits[x] & ~flag) | (part[from++] & flag);
    }
  }
}
