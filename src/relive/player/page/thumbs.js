// Small pictures of the keyframes, from the first tier: for the timeline, and for the first glance after a seek.

import { address, getBlob } from "/page/api.js";

const MOST = 300;

export class Thumbs {
  constructor(film, isIdle, changed) {
    Object.assign(this, { film, isIdle, changed });
    this.pictures = new Map();
    this.asked = new Map();
  }

  get(gop) {
    return this.pictures.get(gop);
  }

  async want(gop) {
    if (this.pictures.has(gop) || this.asked.has(gop)) return this.asked.get(gop);
    const asked = this.#fetch(gop);
    this.asked.set(gop, asked);
    return asked;
  }

  async #fetch(gop) {
    try {
      const blob = await getBlob(address(this.film.id, "thumbnail", { gop }));
      this.pictures.set(gop, await createImageBitmap(blob));
      this.changed(gop);
    } catch {
      // a damaged GOP has no thumbnail; the timeline says so by itself
    }
  }

  /** Fetch all of a short replay, or some spread over a long one, while nothing else is to do. */
  async prepare() {
    const stride = Math.ceil(this.film.gops.length / MOST);
    for (let gop = 0; gop < this.film.gops.length; gop += stride) {
      while (!this.isIdle()) await new Promise((resolve) => setTimeout(resolve, 500));
      await this.want(gop);
    }
  }
}
