// One modality's last minute as bars, the threshold as a dashed line, and (in the demo) a strip of what is really forged.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 48, STRIP = 5, HOP_S = 1.2;

function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function curve(stream, modality, span_s) {
  const tall = HEIGHT + (stream.truth ? STRIP + 3 : 0);
  const drawing = shape("svg", { class: "curve", viewBox: `0 0 ${WIDTH} ${tall}`, preserveAspectRatio: "none", role: "img", "aria-label": "last minute" });
  const now_s = Math.max(0, ...stream.history.map((bar) => bar.time_s));
  const x = (time_s) => WIDTH * (1 - (now_s - time_s) / span_s);
  for (const bar of gravest(stream.history.filter((bar) => bar.modality === modality))) {
    const high = bar.p_fake === null ? 2 : Math.max(2, bar.p_fake * HEIGHT);
    const group = shape("g", { "data-state": bar.p_fake === null ? "insufficient" : bar.state });
    const left = Math.max(0, x(bar.time_s - HOP_S) + 0.8);
    group.append(shape("rect", { x: left, y: HEIGHT - high, width: Math.max(0, x(bar.time_s) - left), height: high, rx: 1 }));
    drawing.append(group);
  }
  drawing.append(shape("line", { class: "ground", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, "vector-effect": "non-scaling-stroke" }));
  const threshold = stream.verdicts[modality]?.threshold;
  if (threshold !== undefined && threshold !== null) {
    const y = HEIGHT * (1 - threshold);
    drawing.append(shape("line", { class: "limit", x1: 0, x2: WIDTH, y1: y, y2: y, "vector-effect": "non-scaling-stroke" }));
  }
  if (stream.truth && stream.history.length) drawing.append(...truth(stream.truth, modality, now_s, span_s, x));
  return drawing;
}

// Several faces: the gravest one of each moment.
function gravest(bars) {
  const at = new Map();
  for (const bar of bars) {
    const known = at.get(bar.time_s);
    if (!known || (bar.p_fake ?? -1) > (known.p_fake ?? -1)) at.set(bar.time_s, bar);
  }
  return at.values();
}

// The demo call plays again and again: its truth repeats with it.
function truth(known, modality, now_s, span_s, x) {
  const strip = (kind, from_s, to_s) => shape("rect", {
    class: kind, x: Math.max(0, x(from_s)), y: HEIGHT + 3, width: Math.max(0, Math.min(WIDTH, x(to_s)) - Math.max(0, x(from_s))), height: STRIP, rx: 1,
  });
  const strips = [strip("honest", Math.max(0, now_s - span_s), now_s)];
  const first = Math.max(0, Math.floor((now_s - span_s) / known.duration_s));
  for (let round = first; round * known.duration_s < now_s; round += 1) {
    for (const part of known.forged.filter((part) => part.modality === modality)) {
      const from_s = round * known.duration_s + part.start_s, to_s = round * known.duration_s + part.end_s;
      if (to_s > now_s - span_s && from_s < now_s) strips.push(strip("forged", from_s, Math.min(to_s, now_s)));
    }
  }
  return strips;
}
