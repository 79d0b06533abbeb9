import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { TransferEngine } from '../engine/transfer-engine.ts';
import type { MemoryRange } from '../memory/memory-range.ts';

type Engine = Pick<TransferEngine, 'registerLocalMemory' | 'unregisterLocalMemory'>;

interface Entry {
  readonly lengthBytes: number;
  users: number;
  /** One user writes to it: nobody else may use it. */
  isExclusive: boolean;
  /** Settles when the engine has registered the memory. */
  readonly registered: Promise<void>;
  /** Set once the last user has left; settles when no peer reads the memory any more. */
  unregistered: Promise<void> | undefined;
}

/** The memory of one object, registered with the engine until released. */
export interface Registration {
  /** Lets other objects use the same memory: it has all its bytes now. */
  allowSharing(): void;
  /** Resolves when no peer reads the memory any more, unless another object still uses it. Idempotent. */
  release(): Promise<void>;
}

export interface AcquireOptions {
  readonly location: string;
  /** The bytes are still to come: the memory must serve no other object meanwhile. */
  readonly isExclusive: boolean;
}

/**
 * Registers memory with the engine once, however many objects use it: the same address and length again only counts
 * one more user. Any other overlap is refused by the engine.
 */
export class MemoryRegistrations {
  readonly #engine: Engine;
  readonly #entries = new Map<number, Entry>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * Registers all ranges or none; empty ones need no registration.
   *
   * @throws P2P_ADDRESS_OVERLAPPED A range overlaps registered memory, or is being written to by a pull.
   */
  async acquire(ranges: readonly MemoryRange[], options: AcquireOptions): Promise<Registration> {
    const held = ranges.filter(({ lengthBytes }) => lengthBytes > 0);
    const flow = held[0]?.address ?? 0; // one part of the rate limits for all of an object
    const results = await Promise.allSettled(held.map((range) => this.#acquireOne(range, flow, options)));
    const entries = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    let released: Promise<void> | undefined;
    const release = (): Promise<void> => {
      released ??= this.#releaseAll(entries);
      return released;
    };
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      await release();
      throw failed.reason;
    }
    const allowSharing = (): void => {
      for (const [, entry] of entries) entry.isExclusive = false;
    };
    return { allowSharing, release };
  }

  async #acquireOne(
    { address, lengthBytes, access }: MemoryRange,
    flow: number,
    options: AcquireOptions,
  ): Promise<[number, Entry]> {
    for (;;) {
      const known = this.#entries.get(address);
      if (known === undefined) break;
      if (known.unregistered === undefined) return [address, await this.#join(address, lengthBytes, known, options)];
      await known.unregistered.catch(() => {}); // who released it hears of that
    }
    const { location, isExclusive } = options;
    // Source records list the memory; the descriptor of the segment would be written anew for each of its buffers.
    const settings = { remoteAccess: 'read', isListed: false, access, flow } as const;
    const registered = this.#engine.registerLocalMemory(address, lengthBytes, location, settings);
    const entry: Entry = { lengthBytes, users: 1, isExclusive, registered, unregistered: undefined };
    this.#entries.set(address, entry);
    try {
      await registered;
    } catch (error) {
      this.#entries.delete(address);
      throw error;
    }
    return [address, entry];
  }

  async #join(address: number, lengthBytes: number, entry: Entry, { isExclusive }: AcquireOptions): Promise<Entry> {
    if (entry.lengthBytes !== lengthBytes || entry.isExclusive || isExclusive) {
      throw new P2PStoreError(
        ErrorCode.AddressOverlapped,
        `Cannot register ${lengthBytes} bytes at 0x${address.toString(16)}: another object uses this memory`,
        { address: BigInt(address), lengthBytes },
      );
    }
    entry.users++;
    await entry.registered;
    return entry;
  }

  async #releaseAll(entries: readonly (readonly [number, Entry])[]): Promise<void> {
    const results = await Promise.allSettled(entries.map(([address, entry]) => this.#releaseOne(address, entry)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #releaseOne(address: number, entry: Entry): Promise<void> {
    entry.users--;
    if (entry.users > 0) return;
    entry.unregistered = this.#engine.unregisterLocalMemory(address).finally(() => this.#entries.delete(address));
    await entry.unregistered;
  }
}
