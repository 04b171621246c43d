// All replays that were given: find, sort, open. A broken file is listed as broken.

import { address, getJson } from "/page/api.js";
import { $, clock, fault, make, size } from "/page/dom.js";

const POLL_MS = 700;
let files = [], reversed = false;

export async function startLibrary() {
  $("library").hidden = false;
  document.title = "Relive: replays";
  $("filter").addEventListener("input", show);
  $("sort").addEventListener("change", show);
  $("order").addEventListener("click", () => {
    reversed = !reversed;
    $("order").setAttribute("aria-pressed", reversed);
    $("order").textContent = reversed ? "↓" : "↑";
    show();
  });
  await poll();
}

async function poll() {
  try {
    files = (await getJson("/api/files")).files;
    show();
    if (files.some((file) => file.status === "reading")) setTimeout(poll, POLL_MS);
  } catch (error) {
    fault(error);
  }
}

function show() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = files.filter((file) => words.every((word) => text(file).includes(word)));
  const key = $("sort").value;
  found.sort((a, b) => (compare(a[key], b[key]) || compare(a.name, b.name)) * (reversed ? -1 : 1));
  $("count").textContent = `${found.length} of ${files.length}`;
  $("cards").replaceChildren(...found.map((file) => make("li", {}, card(file))));
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === undefined || a === null) return 1;
  if (b === undefined || b === null) return -1;
  return a < b ? -1 : 1;
}

function text(file) {
  const words = [file.name, file.game, file.model_id, `q${file.quality}`, `quality ${file.quality}`];
  if (file.damaged) words.push("damaged");
  return [...words, file.status].join(" ").toLowerCase();
}

function card(file) {
  if (file.status !== "ok" || !file.frames) return broken(file);
  const picture = make("img", { className: "thumb", alt: "", loading: "lazy", src: address(file.id, "thumbnail", { gop: "middle", tiers: 2 }) });
  const lines = [
    `${file.game || "unknown game"} · ${file.width}×${file.height}`,
    `${clock(file.duration_s, 0)} · ${size(file.bytes)} · 1 : ${Math.round(file.ratio)}`,
    `quality ${file.quality}` + (file.psnr_db ? ` · ${file.psnr_db.toFixed(1)} dB` : "") + ` · model ${file.model_id.slice(0, 8)}`,
  ];
  const body = make("div", { className: "body" }, make("h2", { textContent: file.name }), ...lines.map((line) => make("p", { textContent: line })));
  if (file.damaged) body.append(make("p", { className: "bad", textContent: `damaged: ${file.problems} problems; the rest plays` }));
  return make("a", { className: "card", href: `/?file=${file.id}` }, picture, body);
}

function broken(file) {
  const isReading = file.status === "reading";
  const said = isReading ? "reading …" : file.error || "no frames";
  const body = make("div", { className: "body" }, make("h2", { textContent: file.name }),
    make("p", { className: isReading ? "" : "bad", textContent: isReading ? said : `broken: ${said}` }));
  return make("div", { className: "card" }, make("div", { className: "thumb", textContent: isReading ? "…" : "cannot be played" }), body);
}
