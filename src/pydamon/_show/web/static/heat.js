// The heat map: addresses downwards, time to the right.

import { Axis, hottest, spread } from "./axis.js";
import { palette } from "./colours.js";
import { address, clock, frequency, mappingName, percent } from "./format.js";
import { frameAt } from "./frames.js";

const TOPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const LABEL_PX = 15;
const MOST_ROWS = 512;
const TOO_WIDE = 2;
const GREY = 0xff808080; // alpha, blue, green, red

export class Heat {
  addresses = "hottest"; // or "all", or a pair of pages
  axis = new Axis([]);
  top = 1;
  #frames = [];
  #kept = null;

  constructor(canvas) {
    this.canvas = canvas;
  }

  // Draw the frames of a target from one time to another.
  draw(frames, id, start, end) {
    Object.assign(this, { id, start, end });
    this.#frames = frames;
    this.whole = Axis.of(frames, id);
    const [low, high] = this.#bounds(this.whole);
    this.axis = this.whole.part(low, high);
    const { canvas } = this;
    const width = (canvas.width = Math.max(1, canvas.clientWidth));
    const height = (canvas.height = Math.max(1, canvas.clientHeight));
    if (!frames.length || !this.axis.length) return;
    const rows = Math.min(height, MOST_ROWS);
    const columns = new Map();
    const shown = [];
    this.top = 0;
    for (let x = 0; x < width; x++) {
      const frame = frameAt(frames, start + ((x + 0.5) / width) * (end - start));
      shown.push(frame);
      if (frame && !columns.has(frame)) columns.set(frame, this.#column(frame, rows));
    }
    this.top = TOPS.find((top) => this.top <= top) ?? 1;
    this.#paint(shown, columns, rows, width, height);
  }

  // The positions to draw between; "hottest" keeps its bounds while they fit well enough.
  #bounds(whole) {
    if (this.addresses === "all") return [0, whole.length];
    if (this.addresses !== "hottest") return this.addresses.map((page) => whole.position(page));
    const wanted = hottest(whole, this.#frames, this.id);
    if (this.#kept?.id === this.id) {
      const [low, high] = this.#kept.pages.map((page) => whole.position(page));
      const inside = low <= wanted[0] && wanted[1] <= high;
      if (inside && high - low <= TOO_WIDE * (wanted[1] - wanted[0])) return [low, high];
    }
    const pages = [whole.page(wanted[0]), whole.page(Math.max(0, wanted[1] - 1)) + 1];
    if (whole.length) this.#kept = { id: this.id, pages };
    return wanted;
  }

  // The mean rate in each row; NaN where nothing was monitored, below 0 where no probe had looked.
  #column(frame, rows) {
    const heat = new Float64Array(rows), known = new Float64Array(rows);
    const hidden = new Float64Array(rows);
    const [first, beyond] = frame.bounds.get(this.id) ?? [0, 0];
    const scale = rows / this.axis.length;
    const { low, high, rate } = frame.spans;
    for (let i = first; i < beyond; i++) {
      const from = this.axis.position(low[i]) * scale, to = this.axis.position(high[i]) * scale;
      if (to <= from) continue;
      spread(known, from, to, 1);
      if (rate[i] > 0) spread(heat, from, to, rate[i]);
      if (rate[i] < 0) spread(hidden, from, to, 1);
    }
    for (let row = 0; row < rows; row++) {
      if (known[row] <= 1e-6) heat[row] = NaN;
      else heat[row] = 2 * hidden[row] > known[row] ? -1 : heat[row] / (known[row] - hidden[row]);
      if (heat[row] > this.top) this.top = heat[row];
    }
    return heat;
  }

  #paint(shown, columns, rows, width, height) {
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer), colours = palette();
    shown.forEach((frame, x) => {
      const column = frame && columns.get(frame);
      if (!column) return;
      for (let y = 0; y < height; y++) {
        const rate = column[Math.floor((y * rows) / height)];
        if (Number.isNaN(rate)) continue;
        if (rate < 0) {
          pixels[y * width + x] = GREY;
          continue;
        }
        // Memory that is accessed at all must look different from memory that is not.
        const level = rate > 0 ? Math.max(16, Math.round((rate / this.top) * 255)) : 0;
        pixels[y * width + x] = colours[Math.min(255, level)];
      }
    });
    context.putImageData(image, 0, 0);
  }

  // The mapping at a point of the canvas, and its address, rate and time in words.
  at(x, y) {
    const { canvas, axis } = this;
    if (!axis.length) return null;
    const time = this.start + (x / canvas.clientWidth) * (this.end - this.start);
    const page = this.pageAt(y);
    const frame = frameAt(this.#frames, time);
    const [first, beyond] = frame?.bounds.get(this.id) ?? [0, 0];
    for (let i = first; i < beyond; i++) {
      if (frame.spans.low[i] <= page && page < frame.spans.high[i]) {
        const name = frame.names[frame.spans.name[i]];
        const rate = frame.spans.rate[i];
        const use = rate < 0 ? "not looked at yet" : this.#use(frame, rate);
        return { name, text: `${address(page)} ${mappingName(name)}: ${use}, ${clock(time)}` };
      }
    }
    return { name: null, text: `${address(page)}: not monitored then, ${clock(time)}` };
  }

  #use(frame, rate) {
    if (!frame.sampling) return `accessed in ${percent(rate)} of samples`;
    return `accessed in ${percent(rate)} of samples, ${frequency((1000 * rate) / frame.sampling)}`;
  }

  pageAt(y) {
    const share = Math.min(0.999999, Math.max(0, y / this.canvas.clientHeight));
    return this.axis.page(share * this.axis.length);
  }

  // Show the addresses between two heights, unless they are only a few pixels apart.
  zoom(from, to) {
    const pages = [this.pageAt(Math.min(from, to)), this.pageAt(Math.max(from, to)) + 1];
    if (Math.abs(to - from) >= 4) this.addresses = pages;
  }

  // Addresses on the left and names on the right, where there is room for them.
  label(left, right) {
    const height = this.canvas.clientHeight, newest = this.#frames.at(-1);
    const lefts = [], rights = [];
    let lastName = null, free = 0, waiting = false;
    for (let y = 0; this.axis.length && y < height; y += 2) {
      const page = this.pageAt(y + 1);
      const name = newest ? nameAt(newest, this.id, page) : null;
      waiting ||= name !== lastName || this.axis.begins.some(
        (begin) => begin && Math.abs((begin / this.axis.length) * height - y) < 1);
      if (waiting && y >= free && y + LABEL_PX <= height) {
        lefts.push([y, address(this.pageAt(y))]);
        rights.push([y, name === null ? "" : mappingName(name).split("/").at(-1)]);
        free = y + LABEL_PX;
        waiting = false;
      }
      lastName = name;
    }
    place(left, lefts);
    place(right, rights);
  }
}

function nameAt(frame, id, page) {
  const [first, beyond] = frame.bounds.get(id) ?? [0, 0];
  let low = first, high = beyond;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frame.spans.high[middle] <= page) low = middle + 1;
    else high = middle;
  }
  return low < beyond && frame.spans.low[low] <= page ? frame.names[frame.spans.name[low]] : null;
}

function place(parent, labels) {
  parent.replaceChildren(...labels.map(([y, text]) => {
    const label = document.createElement("span");
    label.style.top = `${y}px`;
    label.textContent = text;
    return label;
  }));
}
