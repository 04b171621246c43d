// Questions to the server. A stream of pictures is 16 bytes of head and a picture, again and again.

const HEAD_BYTES = 16;
const TYPES = ["image/jpeg", "image/png"];

export const MARK = { missing: 1, degraded: 2, damaged: 4, lost: 8, firstTier: 16, preview: 32, generated: 64 };
export const viewer = crypto.getRandomValues(new Uint32Array(2)).join("").slice(0, 16);

export function address(file, what, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, one);
  }
  return `/api/files/${file}${what ? "/" + what : ""}?${query}`;
}

async function checked(url, options) {
  const response = await fetch(url, options);
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw Object.assign(new Error(body.error || `the server said ${response.status}`), { status: response.status });
}

export const getJson = async (url, options) => (await checked(url, options)).json();
export const getBlob = async (url, options) => (await checked(url, options)).blob();

/** A view: its picture, and the share of it that a recorded frame shows. */
export async function getPicture(url, options) {
  const response = await checked(url, options);
  const bitmap = await createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });
  return { bitmap, url, seen: Number(response.headers.get("X-Seen")) };
}

export async function getArray(url, Kind, options) {
  const response = await checked(url, options);
  const shape = (response.headers.get("X-Shape") || "").split(",").map(Number);
  return { data: new Kind(await response.arrayBuffer()), shape };
}

/** Read pictures as they come; `take({frame, marks, bitmap, bytes})` for each. */
export async function readPictures(url, signal, take) {
  const response = await checked(url, { signal });
  const reader = response.body.getReader();
  let pending = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pending = joined(pending, value);
    let at = 0;
    for (let record; (record = recordAt(pending, at)); at = record.end) {
      const blob = new Blob([pending.subarray(record.start, record.end)], { type: record.type });
      const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
      if (signal.aborted) return bitmap.close();
      take({ frame: record.frame, marks: record.marks, bitmap });
    }
    pending = pending.slice(at);
  }
}

function joined(a, b) {
  if (!a.length) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function recordAt(bytes, at) {
  if (bytes.length < at + HEAD_BYTES) return null;
  const head = new DataView(bytes.buffer, bytes.byteOffset + at, HEAD_BYTES);
  const start = at + HEAD_BYTES;
  const end = start + head.getUint32(4, true);
  if (bytes.length < end) return null;
  return { frame: head.getUint32(0, true), type: TYPES[head.getUint8(8)], marks: head.getUint8(9), start, end };
}
