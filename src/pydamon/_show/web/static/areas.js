// Resident memory over time as areas, from hot (below) to cold; dragging picks a span of time.

import { frameAt } from "./frames.js";
import { svg } from "./svg.js";

const CLICK_PX = 4;
const EDGE_PX = 2; // so close to an edge the pointer means the edge

export class Areas {
  picked = null; // from and to, in ms
  at = null; // the time under the pointer or the keyboard's cursor
  #pressedX = null;
  #anchor = null;

  constructor(canvas, onChange) {
    Object.assign(this, { canvas, onChange });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pressedX = event.offsetX;
    });
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => {
      const clicked = this.#pressedX !== null && Math.abs(event.offsetX - this.#pressedX) < CLICK_PX;
      this.#pressedX = null;
      if (clicked) this.picked = null;
      if (clicked) onChange();
    });
    for (const name of ["pointerleave", "blur"]) {
      canvas.addEventListener(name, () => {
        this.at = this.#anchor = null;
        onChange();
      });
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #move(event) {
    this.at = this.#time(event.offsetX);
    if (this.#pressedX !== null && Math.abs(event.offsetX - this.#pressedX) >= CLICK_PX) {
      this.#pick(this.#time(this.#pressedX), this.at);
    }
    this.onChange();
  }

  // Arrows move a cursor; with shift they pick the span from where the cursor was.
  #key(event) {
    const step = (this.end - this.start) / 50, at = this.at ?? this.end;
    const times = {
      ArrowLeft: at - step, ArrowRight: at + step, Home: this.start, End: this.end,
    };
    if (event.key === "Escape") {
      this.picked = this.at = this.#anchor = null;
    } else if (event.key in times && !event.ctrlKey && !event.metaKey && !event.altKey) {
      this.at = Math.min(this.end, Math.max(this.start, times[event.key]));
      if (event.shiftKey) this.#pick((this.#anchor ??= at), this.at);
      else this.#anchor = null;
    } else {
      return;
    }
    event.preventDefault();
    this.onChange();
  }

  #pick(from, to) {
    this.picked = from === to ? null : [from, to].sort((a, b) => a - b);
  }

  #time(x) {
    const width = Math.max(1, this.canvas.clientWidth - 2 * EDGE_PX);
    const share = Math.min(1, Math.max(0, (x - EDGE_PX) / width));
    return this.start + share * (this.end - this.start);
  }

  // A span that was picked up to the end moves on with the end.
  follow(end) {
    if (!this.picked || this.#pressedX !== null || this.end === undefined) return;
    const step = end - this.end;
    if (step > 0 && this.picked[1] >= this.end) {
      this.picked = this.picked.map((time) => time + step);
    }
  }

  // Draw points of time (from memory.js) between two times, up to *top* bytes.
  draw(points, start, end, top, needed) {
    Object.assign(this, { start, end });
    const { canvas } = this;
    const width = Math.max(1, canvas.clientWidth), height = Math.max(1, canvas.clientHeight);
    const x = (time) => round(((time - start) / (end - start)) * width);
    const y = (bytes) => round(height - (bytes / (top || 1)) * height);
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const shapes = paths(points, x, y).map((d, i) => svg("path", { class: `age age${i}`, d }));
    shapes.push(svg("path", { class: "window", d: steps(points, x, (point) => y(point.window)) }));
    if (needed) {
      const line = { x1: 0, x2: width, y1: y(needed), y2: y(needed) };
      shapes.push(svg("line", { class: "need-halo", ...line }), svg("line", { class: "need", ...line }));
    }
    if (this.picked) {
      const [from, to] = this.picked.map(x);
      shapes.push(svg("rect", { class: "shade", x: 0, y: 0, width: Math.max(0, from), height }));
      shapes.push(svg("rect", { class: "shade", x: to, y: 0, width: Math.max(0, width - to), height }));
      for (const at of [from, to]) {
        shapes.push(svg("line", { class: "cursor", x1: at, x2: at, y1: 0, y2: height }));
      }
    }
    if (this.at !== null && frameAt(points, this.at)) {
      const at = x(this.at);
      shapes.push(svg("line", { class: "cursor", x1: at, x2: at, y1: 0, y2: height }));
    }
    canvas.querySelector("g").replaceChildren(...shapes);
  }
}

function round(value) {
  return Math.round(value * 10) / 10;
}

// Neighbouring points that nothing lies between.
function runs(points) {
  const all = [];
  points.forEach((point, i) => {
    if (i && points[i - 1].end >= point.start - 1) all.at(-1).push(point);
    else all.push([point]);
  });
  return all;
}

function steps(points, x, y) {
  return runs(points).map((run) =>
    run.map((point, i) => `${i ? "V" : `M${x(point.start)} `}${y(point)}H${x(point.end)}`).join("")
  ).join("");
}

// The path of each class: along its upper edge, and back along the edge of the class below.
function paths(points, x, y) {
  const classes = points[0]?.sizes.length ?? 0;
  const sums = new Map(points.map((point) => {
    let sum = 0;
    return [point, [0, ...point.sizes.map((bytes) => (sum += bytes))]];
  }));
  return Array.from({ length: classes }, (_, i) => runs(points).map((run) => {
    const there = run.map((point, n) =>
      `${n ? "V" : `M${x(point.start)} `}${y(sums.get(point)[i + 1])}H${x(point.end)}`).join("");
    const back = run.toReversed().map((point) =>
      `V${y(sums.get(point)[i])}H${x(point.start)}`).join("");
    return `${there}${back}Z`;
  }).join(""));
}
