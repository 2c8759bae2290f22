// The frames that the server has sent so far; web/app.py encodes them.

// Turn relative page numbers into absolute ones, and rates into shares of 1.
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
  frame.spans.rate = Float32Array.from(rate, (share) => share / 1000);
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

  // A new frame replaces the frames whose time it covers.
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

  // The frames that lie in a span of time, at least in part.
  between(start, end) {
    return this.all.filter((frame) => frame.start < end && frame.end > start);
  }

  // The label of every target by its id.
  targets() {
    const labels = new Map();
    for (const frame of this.all) {
      for (const [id, label] of frame.targets) labels.set(id, label);
    }
    return labels;
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

// Resident bytes by age, and which part of the memory was followed page by page.
export function agesOf(frame, id) {
  const index = frame.targets.findIndex(([known]) => known === id);
  return { sizes: frame.ages[index], followed: frame.followed[index] };
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

// The mean sums of each mapping over frames, weighted by the time that each frame measured.
export function mappings(frames, id, columns) {
  const sumsByName = new Map();
  let measured = 0;
  for (const frame of frames) {
    measured += frame.measured;
    const { target, name } = frame.sums;
    for (let i = 0; i < target.length; i++) {
      if (frame.targets[target[i]][0] !== id) continue;
      const key = frame.names[name[i]];
      const sums = sumsByName.get(key) ?? Object.fromEntries(columns.map((column) => [column, 0]));
      for (const column of columns) sums[column] += frame.sums[column][i] * frame.measured;
      sumsByName.set(key, sums);
    }
  }
  return [...sumsByName].map(([name, sums]) => {
    const row = { name };
    for (const column of columns) row[column] = sums[column] / measured;
    return row;
  });
}
