// The needs curve: memory that is kept (upwards, as in the areas), and pages that come back.

import { svg } from "./svg.js";

const INSET = 14, LOWEST = 0.01;

// Draw a curve up to *top* bytes; returns the rates at the ends of the scale.
export function drawNeeds(canvas, needs, top) {
  const width = Math.max(1, canvas.clientWidth), height = Math.max(1, canvas.clientHeight);
  canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const shapes = [];
  const curve = needs?.kept.length ? needs : null;
  const scale = curve ? decades([...curve.back, curve.tolerated]) : [1, 10];
  if (curve) {
    const [low, high] = scale.map(Math.log10);
    const x = (back) => {
      const share = (Math.log10(Math.max(back, scale[0])) - low) / (high - low);
      return INSET + share * (width - 2 * INSET);
    };
    const y = (kept) => height - (kept / (top || 1)) * height;
    for (let power = Math.ceil(low); power <= high; power++) {
      shapes.push(line("grid", x(10 ** power), x(10 ** power), 0, height));
    }
    const tolerated = x(curve.tolerated);
    shapes.push(line("tolerated", tolerated, tolerated, 0, height));
    const corners = curve.kept.map((kept, i) => `${x(curve.back[i])} ${y(kept)}`);
    shapes.push(svg("path", { class: "curve", d: `M${corners.join("L")}` }));
    if (curve.point) {
      const [, kept, back] = curve.point;
      shapes.push(line("need", 0, x(back), y(kept), y(kept)));
      shapes.push(svg("path", { class: "dot", d: `M${x(back)} ${y(kept)}h0.01` }));
    }
  }
  canvas.querySelector("g").replaceChildren(...shapes);
  return scale;
}

function line(name, x1, x2, y1, y2) {
  return svg("line", { class: name, x1, x2, y1, y2 });
}

// Whole powers of ten around all rates; what is below the lowest lies on the left edge.
function decades(rates) {
  const known = rates.filter((rate) => rate > LOWEST);
  const low = Math.min(1, ...known), high = Math.max(10, ...known);
  return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high))];
}

// What the curve says.
export function needsInWords(curve, byRegions) {
  if (byRegions) return "not known: nobody looks at single pages here";
  return curve?.words ?? "not known yet: nobody has looked at pages twice";
}
