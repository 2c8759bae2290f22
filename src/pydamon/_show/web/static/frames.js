// The frames that there are, as the server sends them: see web/encode.py.

// Addresses become page numbers from 0 on, and rates 0 to 1.
function decode(frame) {
  const { low: steps, pages, rate } = frame.spans;
  const low = new Float64Array(steps.length), high = new Float64Array(steps.length);
  let at = 0;
  for (let i = 0; i < steps.length; i++) {
    low[i] = at + steps[i];
    at = high[i] = low[i] + pages[i];
  }
  frame.spans.low = low;
  frame.spans.high = high;
  frame.spans.rate = Float32Array.from(rate, (one) => one / 1000);
  frame.bounds = new Map();
  const target = frame.spans.target;
  for (let i = 0; i < target.length; i++) {
    const id = frame.targets[target[i]][0];
    const bounds = frame.bounds.get(id);
    if (bounds) bounds[1] = i + 1;
    else frame.bounds.set(id, [i, i + 1]);
  }
  return frame;
}

export class Frames {
  all = [];

  // A frame takes the place of those whose time it covers.
  add(data) {
    const frame = decode(JSON.parse(data));
    let first = this.all.length;
    while (first > 0 && this.all[first - 1].end > frame.start) first--;
    let beyond = first;
    while (beyond < this.all.length && this.all[beyond].start < frame.end) beyond++;
    this.all.splice(first, beyond - first, frame);
  }

  clear() {
    this.all = [];
  }

  // Those that are in a span of time at least in part.
  between(start, end) {
    return this.all.filter((frame) => frame.start < end && frame.end > start);
  }

  // Every target, with what to call it.
  targets() {
    const found = new Map();
    for (const frame of this.all) {
      for (const [id, name] of frame.targets) found.set(id, name);
    }
    return found;
  }
}

// Bytes of one column for a target; null where it is not in the frame.
function sumOf(frame, id, column) {
  const { target } = frame.sums;
  let sum = null;
  for (let i = 0; i < target.length; i++) {
    if (frame.targets[target[i]][0] === id) sum = (sum ?? 0) + frame.sums[column][i];
  }
  return sum;
}

export function workingSet(frame, id) {
  return sumOf(frame, id, "touched");
}

export function unseenBytes(frame, id) {
  return sumOf(frame, id, "unseen") ?? 0;
}

// The frame at a time, in a list that is sorted by time.
export function frameAt(frames, time) {
  let low = 0, high = frames.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle].end <= time) low = middle + 1;
    else high = middle;
  }
  return low < frames.length && frames[low].start <= time ? frames[low] : null;
}

// The means of mappings over frames, by the time that each has measured.
export function mappings(frames, id, columns) {
  const found = new Map();
  let measured = 0;
  for (const frame of frames) {
    measured += frame.measured;
    const { target, name } = frame.sums;
    for (let i = 0; i < target.length; i++) {
      if (frame.targets[target[i]][0] !== id) continue;
      const key = frame.names[name[i]];
      const one = found.get(key) ?? Object.fromEntries(columns.map((column) => [column, 0]));
      for (const column of columns) one[column] += frame.sums[column][i] * frame.measured;
      found.set(key, one);
    }
  }
  return [...found].map(([name, sums]) => {
    const row = { name };
    for (const column of columns) row[column] = sums[column] / measured;
    return row;
  });
}
