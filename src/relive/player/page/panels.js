// What stands beside the picture: quality over time, events, facts of the file.

import { $, brush, clock, colour, make, size } from "/page/dom.js";

export function showFacts(film) {
  const facts = film.facts;
  const raw = film.times.length * facts.width * facts.height * 3;
  const rows = {
    game: facts.game || "not said",
    frames: `${film.times.length} of ${facts.width}×${facts.height}`,
    rate: `${facts.fps.toFixed(2)} frames/s`,
    length: clock(facts.duration_s),
    size: `${size(facts.bytes)}, 1 : ${Math.round(raw / facts.bytes)}`,
    quality: facts.quality,
    tiers: facts.tiers > 1 ? "codes, enhancement" : "codes",
    model: facts.model_id,
    damaged: facts.damaged ? "yes" : "no",
    original: facts.original ? "given" : "not given",
  };
  $("facts").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [
    make("dt", { textContent: name }), make("dd", { textContent: value }),
  ]));
}

export function drawQuality(film, playback) {
  const { context, width, height } = brush($("quality"));
  const measured = film.gops.filter((gop) => gop.psnr_db);
  context.font = "11px sans-serif";
  context.fillStyle = colour("quiet");
  if (!measured.length) return context.fillText("not measured", 0, 14);
  const values = measured.map((gop) => gop.psnr_db);
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const x = (frame) => (film.timeOf(frame) / film.duration) * width;
  const y = (value) => height - 6 - ((value - low) / span) * (height - 28);
  const now = film.gopOf(playback.frame);
  for (const gop of measured) {
    context.fillStyle = colour(film.gops[now] === gop ? "accent" : "line");
    const end = gop.stop > film.last ? width : x(gop.stop);
    context.fillRect(x(gop.start), y(gop.psnr_db) - 2, Math.max(1, end - x(gop.start) - 1), height - y(gop.psnr_db) + 2);
  }
  const here = film.gops[now].psnr_db;
  context.fillStyle = colour("text");
  context.fillText(`here ${here ? here.toFixed(2) + " dB" : "not measured"}`, 0, 11);
  const limits = `${low.toFixed(1)} … ${high.toFixed(1)} dB`;
  context.fillStyle = colour("quiet");
  context.fillText(limits, width - context.measureText(limits).width, 11);
  $("quality").setAttribute("aria-label", `PSNR over time, ${limits}; here ${here ? here.toFixed(2) : "not measured"}`);
}

export function showEvents(film, seek) {
  const events = film.facts.events;
  $("events-panel").hidden = !events.length;
  $("events").replaceChildren(...events.map((event) => {
    const label = event.payload ? `${event.name}: ${event.payload}` : event.name;
    const button = make("button", { type: "button" }, make("span", { textContent: clock(event.t) }), make("span", { textContent: label }));
    button.addEventListener("click", () => seek(event.t));
    return make("li", {}, button);
  }));
}

export function markEvent(film, position) {
  const events = film.facts.events;
  let current = -1;
  events.forEach((event, i) => { if (event.t <= position + 1e-6) current = i; });
  [...$("events").children].forEach((item, i) => item.firstChild.setAttribute("aria-current", i === current));
}
