/**
 * What all workers of one engine have to send to peers, in memory that they share. By it a READ that may be refused is
 * refused: when so much is being sent already that it would only wait here, while another source of the same bytes may be free;
 * or when the same bytes have just gone to somebody who will pass them on.
 */
import type { RefuseWhen } from '../../transfer.ts';

const QUEUED_AT = 0;
const ENTRIES_AT = 1;
/** Recently sent addresses are remembered in so many places by their hash; a clash forgets the older one. */
const ENTRIES = 16_384;
const ENTRY_FIELDS = 2;
const UNIT_BYTES = 1024;

export type Refusal = 'busy' | 'sent';

export function createSendLoad(): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * (ENTRIES_AT + ENTRIES * ENTRY_FIELDS));
}

export class SendLoad {
  readonly #cells: Int32Array;

  /** @param shared - Made by {@link createSendLoad}. */
  constructor(shared: SharedArrayBuffer) {
    this.#cells = new Int32Array(shared);
  }

  /** @param nowMs - On a clock that all workers share. */
  refusal(address: number, { queuedBytes, sentWithinMs }: RefuseWhen, nowMs: number): Refusal | undefined {
    if (Atomics.load(this.#cells, QUEUED_AT) * UNIT_BYTES >= queuedBytes) return 'busy';
    if (sentWithinMs === 0) return undefined;
    const at = entryAt(address);
    const isSame = Atomics.load(this.#cells, at) === tagOf(address);
    const agoMs = (Math.floor(nowMs) - Atomics.load(this.#cells, at + 1)) | 0;
    return isSame && agoMs >= 0 && agoMs < sentWithinMs ? 'sent' : undefined;
  }

  begin(address: number, lengthBytes: number, nowMs: number): void {
    Atomics.add(this.#cells, QUEUED_AT, units(lengthBytes));
    const at = entryAt(address);
    Atomics.store(this.#cells, at, tagOf(address));
    Atomics.store(this.#cells, at + 1, Math.floor(nowMs) | 0);
  }

  end(lengthBytes: number): void {
    Atomics.sub(this.#cells, QUEUED_AT, units(lengthBytes));
  }
}

function units(lengthBytes: number): number {
  return Math.ceil(lengthBytes / UNIT_BYTES);
}

/** Addresses of pieces differ in a few bits in the middle, so these are mixed into all others (the end of MurmurHash3). Never 0. */
function tagOf(address: number): number {
  let hash = (address >>> 0) ^ Math.imul(Math.floor(address / 2 ** 32), 0x9e37_79b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) | 1;
}

function entryAt(address: number): number {
  return ENTRIES_AT + ENTRY_FIELDS * ((tagOf(address) >>> 8) % ENTRIES);
}
