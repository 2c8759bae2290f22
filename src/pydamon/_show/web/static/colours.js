// Dark violet to pale yellow: lightness only grows, so that colour-blind readers can tell the rates
// apart. On light paper the order is reversed. _show/text.py has the same anchors.

const ANCHORS = [
  [16, 10, 46], [66, 10, 104], [125, 30, 109], [180, 48, 92],
  [222, 81, 58], [246, 130, 22], [251, 190, 50], [252, 253, 170],
];

const dark = matchMedia("(prefers-color-scheme: dark)");

export function onThemeChange(listener) {
  dark.addEventListener("change", listener);
}

export function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// 256 colours, as numbers for a Uint32Array over pixels (little endian).
export function palette() {
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const place = ((dark.matches ? i : 255 - i) / 255) * (ANCHORS.length - 1);
    const low = Math.min(ANCHORS.length - 2, Math.floor(place));
    const [r, g, b] = ANCHORS[low].map((value, channel) =>
      Math.round(value + (place - low) * (ANCHORS[low + 1][channel] - value)));
    colours[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return colours;
}
