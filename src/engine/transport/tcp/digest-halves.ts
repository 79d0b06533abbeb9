/** A digest of 8 bytes between numbers: each half is one that a `Float64Array` holds exactly. */

export type DigestHalves = readonly [high: number, low: number];

/** No digest. */
const NONE: DigestHalves = [Number.NaN, Number.NaN];

export function halvesOf(digest: Uint8Array | undefined): DigestHalves {
  if (digest === undefined) return NONE;
  const view = new DataView(digest.buffer, digest.byteOffset);
  return [view.getUint32(0), view.getUint32(4)];
}

export function digestOf([high, low]: DigestHalves): Uint8Array | undefined {
  if (Number.isNaN(high)) return undefined;
  const digest = new Uint8Array(8);
  const view = new DataView(digest.buffer);
  view.setUint32(0, high);
  view.setUint32(4, low);
  return digest;
}
