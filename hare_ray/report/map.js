"use strict";
// The map of topics: dots on a canvas. Pointing at a dot shows its title and URL, choosing a topic dims the others.
(() => {
  const UNITS = 10000, RADIUS = 2.6, REACH = 12, MARGIN = 34, NAMED = 14;
  const GOLDEN_ANGLE = 137.508;  // neighbours in the legend get hues far apart
  const SHADES = [0, -13, 11], EACH = 12;  // beyond a dozen hues alone are too close: lightness, in percent, tells them apart
  const data = JSON.parse(document.getElementById("dots-data").textContent);
  const canvas = document.getElementById("dots"), tip = document.getElementById("tip");
  const items = [...document.querySelectorAll("#legend li[data-topic]")];
  const count = data.x.length;
  const members = data.names.map(() => []);
  data.topic.forEach((topic, i) => { if (topic >= 0) members[topic].push(i); });
  let chosen = -1, over = -1, colours = [], width = 0, height = 0;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const px = (i) => MARGIN + data.x[i] / UNITS * (width - 2 * MARGIN);
  const py = (i) => MARGIN + data.y[i] / UNITS * (height - 2 * MARGIN);
  const colour = (topic) => topic < 0 ? style("--before") : colours[topic];
  const middle = (list, of) => list.map(of).sort((a, b) => a - b)[list.length >> 1];

  function paint() {
    const light = style("--dot-light"), chroma = style("--dot-chroma");
    const shade = (t) => parseFloat(light) + SHADES[Math.floor(t / EACH) % SHADES.length];
    colours = data.names.map((_, t) => `oklch(${shade(t)}% ${chroma} ${(25 + t * GOLDEN_ANGLE) % 360})`);
    items.forEach((item, t) => { item.querySelector(".dot").style.background = colours[t]; });
  }

  function draw() {
    const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    width = box.width; height = box.height;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    for (let i = 0; i < count; i++) {
      const mine = chosen < 0 || data.topic[i] === chosen;
      pen.globalAlpha = mine ? 0.8 : 0.1;
      pen.fillStyle = colour(data.topic[i]);
      pen.beginPath(); pen.arc(px(i), py(i), mine && chosen >= 0 ? RADIUS + 0.6 : RADIUS, 0, 7); pen.fill();
    }
    pen.globalAlpha = 1;
    names(pen);
    if (over >= 0) {
      pen.strokeStyle = style("--ink"); pen.lineWidth = 2;
      pen.beginPath(); pen.arc(px(over), py(over), RADIUS + 3, 0, 7); pen.stroke();
    }
  }

  // The largest topics are named in place, each where most of its dots are, where there is room.
  function names(pen) {
    const shown = chosen >= 0 ? [chosen] : data.names.map((_, t) => t).slice(0, NAMED), taken = [];
    pen.font = "600 13px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    for (const topic of shown) {
      if (!members[topic].length) continue;
      const text = data.names[topic].split(",").slice(0, 2).join(",");
      const half = pen.measureText(text).width / 2;
      const x = Math.max(half + 8, Math.min(width - half - 8, middle(members[topic], px)));
      const y = middle(members[topic], py);
      if (taken.some((t) => Math.abs(t.x - x) < t.half + half + 6 && Math.abs(t.y - y) < 19)) continue;
      taken.push({ x, y, half });
      pen.strokeStyle = style("--card"); pen.lineWidth = 5; pen.lineJoin = "round"; pen.strokeText(text, x, y);
      pen.fillStyle = style("--ink"); pen.fillText(text, x, y);
    }
  }

  function nearest(x, y) {
    let best = -1, least = REACH * REACH;
    for (let i = 0; i < count; i++) {
      if (chosen >= 0 && data.topic[i] !== chosen) continue;
      const far = (px(i) - x) ** 2 + (py(i) - y) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  function line(kind, text) {
    const element = document.createElement(kind);
    element.textContent = text;  // never markup: titles come from the web
    return element;
  }

  function point(event) {
    const found = nearest(event.offsetX, event.offsetY);
    if (found === over) return;
    over = found;
    tip.hidden = over < 0;
    canvas.style.cursor = over < 0 ? "default" : "pointer";
    if (over >= 0) {
      const topic = data.topic[over];
      tip.replaceChildren(line("b", data.title[over] || "no title"), line("span", data.url[over]));
      if (topic >= 0) tip.append(line("small", data.names[topic]));
      const x = px(over), y = py(over), right = x > width / 2, low = y > height / 2;
      tip.style.left = right ? "auto" : `${x + 12}px`; tip.style.right = right ? `${width - x + 12}px` : "auto";
      tip.style.top = low ? "auto" : `${y + 12}px`; tip.style.bottom = low ? `${height - y + 12}px` : "auto";
    }
    draw();
  }

  function choose(topic) {
    chosen = chosen === topic ? -1 : topic;
    items.forEach((item, t) => item.classList.toggle("chosen", t === chosen));
    over = -1; tip.hidden = true;
    draw();
  }

  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerleave", () => { over = -1; tip.hidden = true; draw(); });
  canvas.addEventListener("click", () => {
    if (over >= 0 && /^https?:\/\//i.test(data.url[over])) window.open(data.url[over], "_blank", "noopener,noreferrer");
  });
  items.forEach((item, topic) => {
    item.addEventListener("click", () => choose(topic));
    item.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(topic); });
  });
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); draw(); });
  paint(); draw();
})();
