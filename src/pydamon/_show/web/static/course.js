// The working set over time; dragging over it picks a span of time.

import { variable } from "./colours.js";
import { frameAt, workingSet } from "./frames.js";

const CLICK_PX = 4;

export class Course {
  picked = null; // from and to, in ms
  #pressedX = null;

  constructor(canvas, onPick) {
    this.canvas = canvas;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pressedX = event.offsetX;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.#pressedX === null || Math.abs(event.offsetX - this.#pressedX) < CLICK_PX) return;
      this.picked = [this.#pressedX, event.offsetX].sort((a, b) => a - b).map((x) => this.#time(x));
      onPick();
    });
    canvas.addEventListener("pointerup", (event) => {
      const clicked =
        this.#pressedX !== null && Math.abs(event.offsetX - this.#pressedX) < CLICK_PX;
      this.#pressedX = null;
      if (clicked) {
        this.picked = null;
        onPick();
      }
    });
  }

  #time(x) {
    const share = Math.min(1, Math.max(0, x / this.canvas.clientWidth));
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

  // Draw all frames; returns the largest working set.
  draw(frames, id, start, end) {
    this.follow(end);
    Object.assign(this, { start, end });
    const { canvas } = this;
    const width = (canvas.width = Math.max(1, canvas.clientWidth));
    const height = (canvas.height = Math.max(1, canvas.clientHeight));
    const sizes = new Map(frames.map((frame) => [frame, workingSet(frame, id)]));
    const top = Math.max(0, ...[...sizes.values()].map((bytes) => bytes ?? 0));
    const context = canvas.getContext("2d");
    context.fillStyle = variable("--course");
    for (let x = 0; x < width && top; x++) {
      const frame = frameAt(frames, start + ((x + 0.5) / width) * (end - start));
      const tall = ((frame && sizes.get(frame)) ?? 0) / top * height;
      context.fillRect(x, height - tall, 1, tall);
    }
    if (this.picked) {
      const [from, to] = this.picked.map((time) => ((time - start) / (end - start)) * width);
      context.fillStyle = variable("--picked");
      context.fillRect(0, 0, from, height);
      context.fillRect(to, 0, width - to, height);
      context.fillStyle = variable("--ink");
      context.fillRect(Math.min(width - 1, from), 0, 1, height);
      context.fillRect(Math.min(width - 1, to), 0, 1, height);
    }
    return top;
  }
}
