// The canvas: the field of cells, its axes, and the box that the pointer drags.

const CELL = 2; // pixels of the screen, as CSS counts them
const MARGIN = { left: 128, right: 190, top: 8, bottom: 28 };
const LABEL_HEIGHT = 15;
const TICK_WIDTH = 90;
const GREY = 128;

class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  // Compute the cells of a view of a map, and paint them.
  draw(map, view) {
    this.map = map;
    this.view = view;
    const canvas = this.canvas, scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.namesFit = width >= 640;
    this.field = {
      width: Math.max(CELL, width - MARGIN.left - (this.namesFit ? MARGIN.right : 8)),
      height: Math.max(CELL, height - MARGIN.top - MARGIN.bottom),
    };
    this.picture = this.#cells();
    this.paint(null);
  }

  // The cells as a picture with a pixel for each.
  #cells() {
    const columns = Math.ceil(this.field.width / CELL), rows = Math.ceil(this.field.height / CELL);
    const rates = rasterise(this.map, this.view, columns, rows);
    const image = new ImageData(columns, rows), shades = facts.palette, top = this.map.top || 1;
    for (let c = 0; c < columns; c++)
      for (let r = 0; r < rows; r++) {
        const rate = rates[c * rows + r];
        if (Number.isNaN(rate)) continue;
        const at = 4 * (r * columns + c);
        if (rate === UNSEEN) {
          image.data.set([GREY, GREY, GREY, 255], at);
          continue;
        }
        const shade = 3 * Math.round(Math.min(1, rate / top) * 255);
        image.data.set([shades[shade], shades[shade + 1], shades[shade + 2], 255], at);
      }
    const picture = new OffscreenCanvas(columns, rows);
    picture.getContext("2d").putImageData(image, 0, 0);
    return picture;
  }

  // Paint the cells again, with a dragged box if there is one.
  paint(box) {
    const { context, field } = this;
    const style = getComputedStyle(document.body);
    context.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    context.fillStyle = style.getPropertyValue("--none");
    context.fillRect(MARGIN.left, MARGIN.top, field.width, field.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.picture, MARGIN.left, MARGIN.top, field.width, field.height);
    context.font = "12px ui-sans-serif, system-ui, sans-serif";
    context.fillStyle = style.getPropertyValue("--ink");
    this.#paintAddresses();
    this.#paintTimes();
    if (box) this.#paintBox(box);
  }

  #paintTimes() {
    const { context, field, view } = this;
    const step = roundStep(((view.end - view.begin) * TICK_WIDTH) / field.width);
    context.textAlign = "center";
    for (let time = Math.ceil(view.begin / step) * step; time < view.end; time += step) {
      const x = MARGIN.left + ((time - view.begin) / (view.end - view.begin)) * field.width;
      context.fillRect(x, MARGIN.top + field.height, 1, 5);
      context.fillText(duration(Math.round(time), step), x, MARGIN.top + field.height + 19);
    }
  }

  #paintBox({ from, to }) {
    const { context } = this;
    const box = [MARGIN.left + from.x, MARGIN.top + from.y, to.x - from.x, to.y - from.y];
    context.strokeStyle = "#fff";
    context.strokeRect(...box);
    context.strokeStyle = "#000";
    context.setLineDash([4, 4]);
    context.strokeRect(...box);
    context.setLineDash([]);
  }

  // Where mappings begin, and their names; where labels would overlap, the larger mapping's stays.
  #paintAddresses() {
    const { context, field, map } = this, placed = [];
    for (const label of this.#labels().sort((a, b) => b.bytes - a.bytes)) {
      if (label.y > field.height - 4) continue;
      if (placed.some((y) => Math.abs(y - label.y) < LABEL_HEIGHT)) continue;
      placed.push(label.y);
      const y = MARGIN.top + label.y + 10;
      context.textAlign = "right";
      context.fillText(address(map, label.from).toString(16), MARGIN.left - 6, y);
      context.textAlign = "left";
      if (this.namesFit)
        context.fillText(shortened(mappingOf(map, label.code), 28),
          MARGIN.left + field.width + 6, y);
    }
  }

  #labels() {
    const { view, map } = this, perByte = this.field.height / (view.high - view.low);
    const labels = [];
    for (const segment of map.segments)
      segment.names.forEach(([at, code], i) => {
        const from = Math.max(view.low, segment.at + at);
        const to = Math.min(view.high, segment.at + (segment.names[i + 1]?.[0] ?? segment.size));
        if (from < to)
          labels.push({ from, code, y: (from - view.low) * perByte, bytes: to - from });
      });
    return labels;
  }
}
