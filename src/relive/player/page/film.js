// A replay as numbers: frames, times, GOPs. Seconds count from the first frame.

import { address, getArray, getJson } from "/page/api.js";

export class Film {
  static async open(id) {
    const facts = await getJson(address(id));
    const times = (await getArray(address(id, "times"), Float64Array)).data;
    return new Film(facts, times);
  }

  constructor(facts, times) {
    this.facts = facts;
    this.times = times;
    this.id = facts.id;
    this.gops = facts.gops;
    this.last = times.length - 1;
    this.duration = facts.duration_s;
    this.columns = new Map();
  }

  /** Last frame at or before a time. */
  frameAt(seconds) {
    return Math.max(0, upper(this.times.length, (i) => this.times[i] > seconds + 1e-6) - 1);
  }

  timeOf(frame) {
    return this.times[Math.min(this.last, Math.max(0, frame))];
  }

  gopOf(frame) {
    return upper(this.gops.length, (i) => this.gops[i].start > frame) - 1;
  }

  async column(field) {
    if (!this.columns.has(field)) {
      const url = address(this.id, "states", { fields: field });
      this.columns.set(field, getArray(url, Float32Array).then((answer) => answer.data));
    }
    return this.columns.get(field);
  }
}

/** First index for which `isAfter` holds. */
function upper(count, isAfter) {
  let low = 0, high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isAfter(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
