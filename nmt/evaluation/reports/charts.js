/* Charts: SVG pictures as wide as their box. */

const SVG = $("blank").namespaceURI;
const SHAPES = ["M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-3.6,-3.6h7.2v7.2h-7.2z", "M0,-4.8L4.6,3.6H-4.6z",
                "M0,-5.2L5.2,0L0,5.2L-5.2,0z", "M0,4.8L4.6,-3.6H-4.6z",
                "M-1.4,-5h2.8v3.6h3.6v2.8h-3.6v3.6h-2.8v-3.6h-3.6v-2.8h3.6z"];

/* Append an SVG element. */
function draw(tag, attributes, parent, text) {
  const element = document.createElementNS(SVG, tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/* Draw the marker of a system. From the seventh system on, colours repeat with other shapes. */
function drawMarker(parent, name, x, y) {
  const i = systems.indexOf(name), shape = SHAPES[(i + Math.floor(i / 6)) % 6];
  return draw("path", { d: shape, transform: `translate(${x} ${y})`, style: `fill: ${colour(name)}` }, parent);
}

/* Append the marker of a system to text. */
function makeLegendKey(parent, name) {
  const box = draw("svg", { viewBox: "-6 -6 12 12", "aria-hidden": "true", class: "mark" }, parent);
  drawMarker(box, name, 0, 0);
}

/* Return about `maxCount` round numbers between two numbers, each as [value, text]. */
function ticks(low, high, maxCount) {
  const rough = (high - low) / maxCount, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 },
                    (_, i) => [(first + i) * step, ((first + i) * step).toFixed(digits)]);
}

/* Return [low, high] of values with a margin; high exceeds low. */
function paddedRange(values) {
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  const margin = (high - low) * 0.08 || high * 0.05 || 1;
  return [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin];
}

/* Append a figure with its title and description. */
function makeFigure(parent, title, description) {
  const box = make("figure", undefined, parent);
  const caption = make("figcaption", undefined, box);
  make("h3", title, caption);
  if (description) make("small", description, caption);
  return box;
}

/* Draw axes; `x` maps a share of the width and `y` a value to coordinates. */
function drawAxes(box, title, [low, high]) {
  const width = Math.max(260, box.clientWidth), height = 250;
  const left = 42, right = width - 10, top = 10, base = height - 36;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, box);
  const y = value => base - (value - low) / (high - low) * (base - top);
  const x = share => left + share * (right - left);
  ticks(low, high, 5).forEach(([value, text]) => {
    draw("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" }, svg);
    draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, svg, text);
  });
  const drawBelow = (share, text, row = 0) =>
    draw("text", { x: x(share), y: base + 15 + 14 * row, "text-anchor": "middle" }, svg, text);
  return { svg, x, y, top, base, drawBelow };
}

const path = points => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

function drawLine(svg, points, name, style = "") {
  draw("path", { d: path(points), style: `fill: none; stroke: ${colour(name)}; stroke-width: 1.5; ${style}` }, svg);
}

/* Show text while the pointer is between two shares of the x axis. */
function addTooltip({ svg, x, top, base }, from, to, text) {
  const area = { x: x(from), width: x(to) - x(from), y: top, height: base - top, fill: "transparent" };
  draw("title", {}, draw("rect", area, svg), text);
}

/* Draw the values of the systems by group, with a table of them.

   `groups` are {name, size, values by system}; `noun` names the members of a group. */
function drawGroups(parent, { title, description, unit, groups, noun, isJoined, digits }) {
  const box = makeFigure(parent, title, description);
  if (!groups.length) return make("p", "nothing to show", box, "faint");
  const values = groups.flatMap(group => systems.map(name => group.values[name]));
  const chart = drawAxes(box, title, paddedRange(values)), groupCount = groups.length;
  const position = (group, system) =>
    chart.x((group + 0.5) / groupCount) + (system - (systems.length - 1) / 2) * 5;
  systems.forEach((name, s) => {
    const points = groups.map((group, i) => [position(i, s), chart.y(group.values[name])]);
    if (isJoined) drawLine(chart.svg, points, name, "opacity: .5");
    points.forEach(([x, y]) => drawMarker(chart.svg, name, x, y));
  });
  groups.forEach((group, i) => {
    chart.drawBelow((i + 0.5) / groupCount, group.name);
    chart.drawBelow((i + 0.5) / groupCount, group.size.toLocaleString("en"), 1);
    const lines = systems.map(name => `${name}: ${group.values[name].toFixed(digits)} ${unit}`);
    const tooltip = [`${group.name}, ${count(group.size, noun)}`, ...lines].join("\n");
    addTooltip(chart, i / groupCount, (i + 1) / groupCount, tooltip);
  });
  makeTextTable(makeDetails("figures", box), ["", `${noun}s`, ...systems],
                groups.map(group => [group.name, group.size.toLocaleString("en"),
                                     ...systems.map(name => group.values[name].toFixed(digits))]));
}

/* Draw the number of lines in each bin of chrF. */
function drawHistogram(parent) {
  const histograms = setData().histograms, bins = histograms[systems[0]].length, binWidth = 100 / bins;
  const title = "distribution of the lines' chrF";
  const box = makeFigure(parent, title, "number of lines by sentence-level chrF");
  const chart = drawAxes(box, title, [0, Math.max(1, ...systems.flatMap(name => histograms[name]))]);
  systems.forEach(name => {
    const steps = histograms[name].flatMap((lines, i) => [[chart.x(i / bins), chart.y(lines)],
                                                          [chart.x((i + 1) / bins), chart.y(lines)]]);
    const outline = [[chart.x(0), chart.base], ...steps, [chart.x(1), chart.base]];
    const opacity = systems.length > 2 ? 0 : 0.12;
    const style = `fill: ${colour(name)}; fill-opacity: ${opacity}; stroke: ${colour(name)}`;
    draw("path", { d: path(outline), style }, chart.svg);
  });
  for (let i = 0; i < bins; i++) {
    const lines = systems.map(name => `${name}: ${count(histograms[name][i], "line")}`);
    const tooltip = [`chrF ${i * binWidth} to ${(i + 1) * binWidth}`, ...lines].join("\n");
    addTooltip(chart, i / bins, (i + 1) / bins, tooltip);
  }
  for (let value = 0; value <= 100; value += 20) chart.drawBelow(value / 100, value);
}

/* Return the [update, value] points of a learning curve; records without a value are omitted. */
function curvePoints(name, part, field) {
  const curve = data.curves[name]?.[part];
  if (!curve) return [];
  return curve.update.map((update, i) => [update, curve[field][i]]).filter(([, value]) => value !== null);
}

/* Draw the learning curves of the runs, with a selection of the quantity. */
function drawLearningCurves(parent) {
  const parts = [["valid", "loss"], ["train", "loss"], ["valid", "bleu"]].filter(([part, field]) =>
    systems.some(name => curvePoints(name, part, field).length));
  const fields = [...new Set(parts.map(([, field]) => field))];
  if (!fields.length) return;
  if (!fields.includes(state.curve)) state.curve = fields[0];
  const descriptions = { loss: "cross entropy per target token, in nats, on validation text; dashed: on training text "
                               + "(with dropout and smoothing)", bleu: "BLEU on validation text" };
  const box = makeFigure(parent, "learning curves", `${descriptions[state.curve]}; by update`);
  const select = make("select", undefined, box);
  select.id = "curve";
  select.ariaLabel = "learning curve";
  setOptions(select, fields.map(field => [field, METRICS[field] || field]));
  select.value = state.curve;
  select.onchange = () => { state.curve = select.value; drawBreakdowns(); $("curve").focus(); };
  const curves = parts.filter(([, field]) => field === state.curve).flatMap(([part, field]) =>
    systems.map(name => ({ name, part, points: curvePoints(name, part, field) })));
  const allPoints = curves.flatMap(({ points }) => points);
  const lastUpdate = allPoints.reduce((last, [update]) => Math.max(last, update), 1);
  const chart = drawAxes(box, "learning curves", paddedRange(allPoints.map(([, value]) => value)));
  ticks(0, lastUpdate, 5).forEach(([update]) =>
    chart.drawBelow(update / lastUpdate, update.toLocaleString("en")));
  curves.forEach(({ name, part, points }) => {
    const coordinates = points.map(([update, value]) => [chart.x(update / lastUpdate), chart.y(value)]);
    drawLine(chart.svg, coordinates, name, part === "train" ? "stroke-dasharray: 4 3; opacity: .7" : "");
    if (part === "valid") coordinates.forEach(([x, y], i) => {
      const [update, value] = points[i];
      const text = `${name}: ${value.toFixed(3)} after ${count(update, "update")}`;
      draw("title", {}, drawMarker(chart.svg, name, x, y), text);
    });
  });
}

/* Draw the charts of the breakdowns, the chrF of lines and the learning curves. */
function drawBreakdowns() {
  const box = clear("charts"), title = METRICS[state.metric];
  setReport().groupings.forEach(grouping => drawGroups(box, {
    title: `${title} by ${grouping.title}`,
    description: `${grouping.says}; with the number of lines of each group`,
    unit: title, noun: "line", digits: 1, isJoined: !grouping.title.startsWith("kind"),
    groups: grouping.groups.map(({ name: group, lines, scores }) => ({
      name: group, size: lines,
      values: Object.fromEntries(systems.map(name => [name, scores[name][state.metric]])) })),
  }));
  const bands = setReport().systems[systems[0]].f1;
  drawGroups(box, {
    title: "F1 of words by frequency",
    description: `in ${setReport().seen_in}; with the number of reference words of each band`,
    unit: "F1", noun: "word", digits: 3, isJoined: true,
    groups: bands.flatMap(({ seen, words }, i) => words ? [{
      name: seen, size: words,
      values: Object.fromEntries(systems.map(name => [name, setReport().systems[name].f1[i].f1])) }] : []),
  });
  drawHistogram(box);
  drawLearningCurves(box);
}

/* Draw the score of each system with its 95% interval. */
function drawIntervals() {
  const title = `${METRICS[state.metric]} with its 95% interval`, box = makeFigure(clear("whiskers"), title);
  const width = Math.max(260, box.clientWidth), height = 34 * systems.length + 24, base = height - 20;
  const rows = systems.map(name => ({ name, score: setReport().systems[name].scores[state.metric],
                                      ...setReport().systems[name].intervals[state.metric] }));
  const [low, high] = paddedRange(rows.flatMap(({ score, mean, half }) => [score, mean - half, mean + half]));
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, box);
  const x = value => 8 + (value - low) / (high - low) * (width - 24);
  ticks(low, high, width / 90).forEach(([value, text]) => {
    draw("line", { x1: x(value), x2: x(value), y1: 4, y2: base, class: "grid" }, svg);
    draw("text", { x: x(value), y: height - 6, "text-anchor": "middle" }, svg, text);
  });
  rows.forEach(({ name, score, mean, half }, i) => {
    const y = 34 * i + 26, row = draw("g", {}, svg);
    const ends = [mean - half, mean + half];
    draw("title", {}, row, `${name}: ${score.toFixed(2)}, from ${ends.map(end => end.toFixed(2)).join(" to ")}`);
    draw("text", { x: 8, y: y - 10 }, row, name);
    drawLine(row, ends.map(end => [x(end), y]), name, "stroke-width: 2");
    ends.forEach(end => drawLine(row, [[x(end), y - 4], [x(end), y + 4]], name, "stroke-width: 2"));
    drawMarker(row, name, x(score), y);
  });
}
