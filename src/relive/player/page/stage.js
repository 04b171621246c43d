// Draws what is due: one picture, or two compared, and the marks that belong to it.

import { MARK } from "/page/api.js";
import { $, make } from "/page/dom.js";
import { paintHatch, paintHeat, paintRegions } from "/page/overlays.js";

const GAP = 4, FLICKER_MS = 400;
const SAID = [
  [MARK.lost, "lost", "Missing: this part is lost from the file"],
  [MARK.damaged, "damaged", "Damaged: cannot be decoded"],
  [MARK.missing, "lost", "Missing: the session has no frame here; rebuilt"],
  [MARK.degraded, "degraded", "First tier only: the enhancement is damaged"],
  [MARK.generated, "note", "Generated: made, not recorded"],
  [MARK.firstTier, "note", "First tier only"],
];

const MARK_COLOUR = { damaged: "#e0453c", lost: "#98a2b3", degraded: "#e8a33a" };

const saidOf = (marks) => SAID.filter(([bit]) => marks & bit);

function previewText(picture, frame) {
  const what = picture.marks & MARK.firstTier ? "first tier" : "decoded so far";
  const gap = frame - picture.frame;
  return gap ? `Preview: ${what}, ${gap} ${gap === 1 ? "frame" : "frames"} before` : `Preview: ${what}`;
}

export class Stage {
  constructor(film, buffer) {
    Object.assign(this, { film, buffer });
    this.view = { compare: "", against: "original", regions: false, heat: false };
    this.split = 0.5;
    this.heat = null;
    this.seen = "";
    this.preview = null;
    this.looking = null; // a view from another camera, in place of the frame
    this.picture = $("picture");
    this.overlay = $("overlay");
  }

  other() {
    return this.view.against === "original" ? "original" : `replay:${this.view.against}`;
  }

  /** Layers to have at hand, the one that is waited for first. */
  layersOf = (tiers) => {
    const { compare, against, regions } = this.view;
    const layers = [`replay:${tiers}`];
    if (compare === "difference") layers[0] = `difference:${against}:${tiers}`;
    else if (compare) layers.push(this.other());
    if (regions) layers.push("regions");
    return layers;
  };

  /** Draw a frame; returns whether its exact picture was at hand. */
  draw(frame, { tiers, sparse, playing, now }) {
    if (this.looking) return this.#drawLooking();
    const start = this.film.gops[this.film.gopOf(frame)].start;
    const [main, second] = this.layersOf(tiers);
    const exact = this.buffer.get(main, frame);
    const preview = this.preview?.frame === frame ? this.preview.picture : null;
    const late = playing ? this.buffer.nearest(main, frame, start) : null;
    const first = exact ?? late ?? preview ?? this.buffer.nearest(main, frame, start);
    if (first) {
      const paired = this.view.compare && this.view.compare !== "difference" && second !== "regions";
      const other = paired ? this.buffer.get(second, first.frame) ?? this.buffer.get(second, frame) : null;
      this.#compose(first, paired ? other ?? first : null, now);
      this.#overlays(first, paired && this.view.compare === "side" ? other ?? first : null);
      this.shown = first.frame;
    }
    this.#mark(first, frame, sparse, exact);
    return Boolean(exact);
  }

  #drawLooking() {
    const { bitmap, seen, waiting } = this.looking;
    const list = [];
    if (bitmap) {
      this.#fit(this.film.facts.width);
      this.picture.getContext("2d").drawImage(bitmap, 0, 0, this.film.facts.width, this.film.facts.height);
      this.overlay.getContext("2d").clearRect(0, 0, this.overlay.width, this.overlay.height);
      list.push(["note", `Generated: seen from elsewhere; frames of the replay show ${Math.round(100 * seen)} % of it`]);
    }
    if (waiting) list.push(["note", "Drawing the view …"]);
    list.push(["note", "Arrows or drag to look and go, Shift sideways and up, Esc back to the frame"]);
    this.#say(list);
    return true;
  }

  #fit(wide) {
    for (const canvas of [this.picture, this.overlay]) {
      if (canvas.width !== wide || canvas.height !== this.film.facts.height) [canvas.width, canvas.height] = [wide, this.film.facts.height];
    }
  }

  #compose(first, other, now) {
    const { width, height } = this.film.facts;
    const isSide = other && this.view.compare === "side";
    const wide = isSide ? 2 * width + GAP : width;
    this.#fit(wide);
    const context = this.picture.getContext("2d");
    if (other && this.view.compare === "split") this.#placeSlider(width, height);
    const turned = other && this.view.compare === "flicker" && Math.floor(now / FLICKER_MS) % 2;
    const draw = (picture, x) => context.drawImage(picture.bitmap, x, 0, width, height);
    if (isSide) context.clearRect(width, 0, GAP, height);
    draw(turned ? other : first, 0);
    if (isSide) draw(other, width + GAP);
    this.overlay.getContext("2d").clearRect(0, 0, wide, height);
    if (other && this.view.compare === "split") this.#splitWith(context, other, width, height);
  }

  /** Lay the slider over the picture, not over the black beside it. */
  #placeSlider(width, height) {
    const box = this.picture.getBoundingClientRect(), slider = $("split");
    const shown = width * Math.min(box.width / width, box.height / height);
    const thumb = 16;
    slider.style.left = `${(box.width - shown - thumb) / 2}px`;
    slider.style.width = `${shown + thumb}px`;
  }

  #splitWith(context, other, width, height) {
    const x = Math.round(this.split * width);
    if (x < width) context.drawImage(other.bitmap, x, 0, width - x, height, x, 0, width - x, height);
    const line = this.overlay.getContext("2d");
    line.fillStyle = "#ffffffd0";
    line.fillRect(x - 0.5, 0, 1, height);
  }

  /** Side by side, both pictures have what belongs to the frame, and each its own damage. */
  #overlays(first, beside) {
    const context = this.overlay.getContext("2d");
    const { width, height } = this.film.facts;
    const regions = this.view.regions && this.buffer.get("regions", first.frame);
    for (const [place, picture] of (beside ? [first, beside] : [first]).entries()) {
      context.setTransform(1, 0, 0, 1, place * (width + GAP), 0);
      if (this.view.heat && this.heat) paintHeat(context, this.heat, this.film, first.frame, width, height);
      if (regions) paintRegions(context, regions.bitmap, this.film.facts.regions, width, height);
      const kind = saidOf(picture.marks).find(([, one]) => one !== "note")?.[1];
      if (beside && kind) paintHatch(context, MARK_COLOUR[kind], width, height);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    $("stage").classList.toggle("side", Boolean(beside));
  }

  #mark(first, frame, sparse, exact) {
    const marks = first?.marks ?? 0;
    const said = saidOf(marks);
    const isPreview = Boolean(marks & MARK.preview);
    const list = said.filter(([bit]) => !isPreview || bit !== MARK.firstTier).map(([, kind, text]) => [kind, text]);
    if (!first) list.push(["note", "Decoding …"]);
    else if (sparse) list.push(["note", "Keyframes only at this speed"]);
    else if (isPreview) list.push(["note", previewText(first, frame)]);
    else if (!exact && first.frame !== frame) list.push(["note", `Decoding: frame ${first.frame} is shown`]);
    if (this.waiting) list.push(["note", "Buffering"]);
    this.#say(list, said.find(([, one]) => one !== "note")?.[1]);
  }

  #say(list, kind) {
    const key = JSON.stringify(list);
    if (key === this.seen) return;
    this.seen = key;
    if (kind) $("stage").dataset.mark = kind;
    else delete $("stage").dataset.mark;
    $("marks").replaceChildren(...list.map(([one, text]) => {
      const item = make("li", { textContent: text });
      item.dataset.kind = one;
      return item;
    }));
  }
}
