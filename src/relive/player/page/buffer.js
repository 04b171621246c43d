// Pictures on their way and at hand. A layer is what is shown of a frame: "replay:2", "original" …
// Memory is bounded: the pictures farthest from the playhead leave first.

import { address, readPictures, viewer, MARK } from "/page/api.js";
import { fault } from "/page/dom.js";

const LIMIT_BYTES = 160 << 20;
const MAX_REQUEST = 256;
const LEAD_GOPS = 2;

export function query(layer) {
  const [source, first, second] = layer.split(":");
  if (source === "replay") return { tiers: first };
  if (source === "difference") return { source, against: first, tiers: second };
  return { source };
}

export class Buffer {
  constructor(film, onPicture) {
    this.film = film;
    this.onPicture = onPicture;
    this.layers = new Map();
    this.requests = [];
    this.urgent = new Map();
    this.room = Math.max(8, Math.floor(LIMIT_BYTES / (film.facts.width * film.facts.height * 4)));
  }

  get(layer, frame) {
    return this.layers.get(layer)?.get(frame);
  }

  /** The newest picture at or before a frame, not before `since`. */
  nearest(layer, frame, since) {
    const pictures = this.layers.get(layer);
    for (let i = frame; pictures && i >= since; i--) if (pictures.has(i)) return pictures.get(i);
    return undefined;
  }

  get count() {
    return [...this.layers.values()].reduce((sum, pictures) => sum + pictures.size, 0);
  }

  /** Have this very frame as soon as possible, with a preview before it; lossless. */
  seek(layer, frame, onPreview) {
    const before = this.urgent.get(layer);
    if (before?.frame === frame && !before.control.signal.aborted) return;
    before?.control.abort();
    const known = this.get(layer, frame);
    if (known?.exact) return;
    const control = new AbortController();
    const request = { frame, control };
    this.urgent.set(layer, request);
    const values = { ...query(layer), start: frame, stop: frame + 1, urgent: true, preview: !known, kind: "png", viewer };
    readPictures(address(this.film.id, "frames", values), control.signal, (picture) => {
      if (picture.marks & MARK.preview) onPreview?.(picture, frame);
      else this.#keep(layer, { ...picture, exact: true }, frame);
    }).catch(fault).finally(() => {
      if (this.urgent.get(layer) === request) this.urgent.delete(layer);
    });
  }

  /** Keep pictures coming from a frame on; `sparse` is for keyframes alone. */
  follow(layer, frame, sparse, lead = sparse ? 8 : LEAD_GOPS) {
    const first = this.film.gopOf(frame);
    const wanted = [];
    for (let g = first; g < Math.min(this.film.gops.length, first + lead); g++) {
      const gop = this.film.gops[g];
      const stop = sparse ? gop.start + 1 : gop.stop;
      const from = this.#firstMissing(layer, sparse ? gop.start : Math.max(frame, gop.start), stop);
      if (from < stop) wanted.push({ layer, gop: g, start: from, stop: Math.min(stop, from + MAX_REQUEST), sparse });
    }
    for (const request of this.requests) {
      const isFar = request.gop < first || request.gop >= first + lead || request.sparse !== sparse;
      if (request.layer === layer && isFar) request.control.abort();
    }
    this.requests = this.requests.filter((r) => !r.control.signal.aborted);
    for (const want of wanted) {
      if (!this.requests.some((r) => r.layer === layer && r.gop === want.gop)) this.#fetch(want);
    }
  }

  /** Let go of what other layers were fetching. */
  only(layers) {
    for (const request of this.requests) if (!layers.includes(request.layer)) request.control.abort();
    for (const [layer, request] of this.urgent) if (!layers.includes(layer)) request.control.abort();
    this.requests = this.requests.filter((r) => !r.control.signal.aborted);
  }

  #firstMissing(layer, start, stop) {
    const pictures = this.layers.get(layer);
    let frame = start;
    while (frame < stop && pictures?.has(frame)) frame++;
    return frame;
  }

  #fetch(want) {
    const request = { ...want, control: new AbortController() };
    this.requests.push(request);
    const values = { ...query(want.layer), start: want.start, stop: want.stop, viewer };
    readPictures(address(this.film.id, "frames", values), request.control.signal, (picture) => {
      this.#keep(want.layer, picture, this.playhead ?? want.start);
    }).catch(fault).finally(() => {
      this.requests = this.requests.filter((r) => r !== request);
    });
  }

  #keep(layer, picture, playhead) {
    if (!this.layers.has(layer)) this.layers.set(layer, new Map());
    const pictures = this.layers.get(layer);
    const old = pictures.get(picture.frame);
    if (old?.exact && !picture.exact) return picture.bitmap.close();
    old?.bitmap.close();
    pictures.set(picture.frame, picture);
    this.#evict(playhead);
    this.onPicture(layer, picture.frame);
  }

  #evict(playhead) {
    let extra = this.count - this.room;
    if (extra <= 0) return;
    const far = [];
    for (const pictures of this.layers.values()) {
      for (const [frame, picture] of pictures) {
        const gap = frame - playhead;
        far.push({ pictures, frame, picture, gap: gap < 0 ? -4 * gap : gap });
      }
    }
    far.sort((a, b) => b.gap - a.gap);
    for (const { pictures, frame, picture } of far.slice(0, extra + 16)) {
      picture.bitmap.close();
      pictures.delete(frame);
    }
  }
}
