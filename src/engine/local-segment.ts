import { randomBytes } from 'node:crypto';
import { encodeDescriptor, type SegmentDescriptor } from './segment-descriptor.ts';

export interface ListedBuffer {
  readonly address: number;
  readonly lengthBytes: number;
  /** Absent: `*`. */
  readonly location?: string | undefined;
}

/** What is said about the own segment, but for its buffers. */
export interface SegmentListing extends Omit<SegmentDescriptor, 'name' | 'buffers' | 'instance'> {
  readonly segmentName: string;
  /** Host name or address that peers dial. */
  readonly host: string;
  /** Where the segment takes notifications and probes. Default 0: nowhere. */
  readonly rpcPort?: number | undefined;
}

/** Mooncake refuses handshakes above 1 MiB, etcd requests above 1.5 MiB: what does not fit is served, but not listed. */
const MAX_LISTED_BUFFERS = 8192;

/** The own segment and its buffers, as its descriptor says it. */
export class LocalSegment {
  readonly instance: string = randomBytes(16).toString('hex');
  readonly #listing: SegmentListing;
  readonly #buffers = new Map<number, ListedBuffer>();

  constructor(listing: SegmentListing) {
    this.#listing = listing;
  }

  add(buffer: ListedBuffer): void {
    this.#buffers.set(buffer.address, buffer);
  }

  remove(address: number): void {
    this.#buffers.delete(address);
  }

  encode(): Uint8Array {
    const { segmentName: name, host: _host, rpcPort: _rpcPort, ...facts } = this.#listing;
    const buffers = [...this.#buffers.values()].slice(0, MAX_LISTED_BUFFERS);
    return encodeDescriptor({ ...facts, name, buffers, instance: this.instance });
  }

  describe(): string {
    return new TextDecoder().decode(this.encode());
  }
}
