// An address axis without the gaps between mappings; positions on it count pages.

export class Axis {
  constructor(segments) {
    this.segments = segments;
    this.begins = [];
    this.length = 0;
    for (const [low, high] of segments) {
      this.begins.push(this.length);
      this.length += high - low;
    }
  }

  // The axis of all addresses that a target has in any of the frames.
  static of(frames, id) {
    const blocks = [];
    for (const frame of frames) {
      const bounds = frame.bounds.get(id);
      if (!bounds) continue;
      const { low, high } = frame.spans;
      for (let i = bounds[0], begin = i; i < bounds[1]; i++) {
        if (i + 1 === bounds[1] || low[i + 1] !== high[i]) {
          blocks.push([low[begin], high[i]]);
          begin = i + 1;
        }
      }
    }
    blocks.sort((a, b) => a[0] - b[0]);
    const segments = [];
    for (const [low, high] of blocks) {
      const last = segments.at(-1);
      if (last && low <= last[1]) last[1] = Math.max(last[1], high);
      else segments.push([low, high]);
    }
    return new Axis(segments);
  }

  // The position of a page; a page in a gap lies where the next segment begins.
  position(page) {
    let low = 0, high = this.segments.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.segments[middle][1] <= page) low = middle + 1;
      else high = middle;
    }
    if (low === this.segments.length) return this.length;
    return this.begins[low] + Math.max(0, page - this.segments[low][0]);
  }

  // The page at a position.
  page(position) {
    let i = this.segments.length - 1;
    while (i > 0 && this.begins[i] > position) i--;
    return this.segments[i][0] + Math.floor(position - this.begins[i]);
  }

  // The axis between two positions.
  part(low, high) {
    const segments = [];
    this.segments.forEach(([start, end], i) => {
      const from = Math.max(start, start + low - this.begins[i]);
      const to = Math.min(end, start + high - this.begins[i]);
      if (from < to) segments.push([from, to]);
    });
    return new Axis(segments);
  }
}

const FINE = 4096, SHARE = 0.98, CONTEXT = 0.1;

// The shortest stretch that holds nearly all accesses, and a little around it.
export function hottest(axis, frames, id) {
  const cells = Math.max(1, Math.min(FINE, axis.length)), width = axis.length / cells;
  const heat = new Float64Array(cells);
  for (const frame of frames) {
    const [first, beyond] = frame.bounds.get(id) ?? [0, 0];
    const { low, high, rate } = frame.spans;
    for (let i = first; i < beyond; i++) {
      if (rate[i] > 0) {
        spread(heat, axis.position(low[i]) / width, axis.position(high[i]) / width, rate[i]);
      }
    }
  }
  const total = heat.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return [0, axis.length];
  let best = [0, cells], beyond = 0, sum = 0;
  for (let first = 0; first < cells; sum -= heat[first++]) {
    while (beyond < cells && sum < total * SHARE) sum += heat[beyond++];
    if (sum < total * SHARE) break;
    if (beyond - first < best[1] - best[0]) best = [first, beyond];
  }
  const context = Math.max(1, Math.round((best[1] - best[0]) * CONTEXT));
  return [
    Math.floor(Math.max(0, best[0] - context) * width),
    Math.ceil(Math.min(cells, best[1] + context) * width),
  ];
}

// Add a weight to the cells between two places; the cells at the ends get their share of it.
export function spread(cells, low, high, weight) {
  const first = Math.max(0, Math.floor(low)), last = Math.min(cells.length, Math.ceil(high));
  for (let i = first; i < last; i++) {
    cells[i] += weight * (Math.min(high, i + 1) - Math.max(low, i));
  }
}
