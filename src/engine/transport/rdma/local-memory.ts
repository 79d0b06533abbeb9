/** Own memory that the cards may reach, and the keys for it. */
import { readFileSync } from 'node:fs';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../../core/errors.ts';
import { type CardMemory, deregisterCardMemory, registerCardMemory } from '../../../native/verbs-memory.ts';
import { type RegisteredRange, RegisteredRanges } from '../../registered-ranges.ts';
import type { RemoteRange } from './handshake.ts';
import type { RdmaCard } from './rdma-card.ts';

/** One own range as the cards know it. */
export interface LocalRegistration {
  readonly range: RegisteredRange;
  readonly byCard: ReadonlyMap<RdmaCard, CardMemory>;
  /** Names of the cards that are near to it; empty: nobody knows. */
  readonly preferred: readonly string[];
}

export class LocalMemory {
  readonly #cards: readonly RdmaCard[];
  readonly #preferredFor: (location: string | undefined) => readonly string[];
  readonly #ranges = new RegisteredRanges();
  readonly #registrations = new Map<number, LocalRegistration>();

  /** @param preferredFor - Names of the cards that are near to a location. */
  constructor(cards: readonly RdmaCard[], preferredFor: (location: string | undefined) => readonly string[]) {
    this.#cards = cards;
    this.#preferredFor = preferredFor;
  }

  /**
   * Registers a range with every card.
   *
   * @throws P2P_SYSTEM_CALL_FAILED A card refused it; then no card has it. The message says what to do about a limit.
   */
  async register(range: RegisteredRange): Promise<void> {
    const byCard = new Map<RdmaCard, CardMemory>();
    const registration = { range, byCard, preferred: this.#preferredFor(range.location) };
    const outcomes = await Promise.allSettled(
      this.#cards.map(async (card) => {
        const { address, lengthBytes, dmabuf } = range;
        const memory = await registerCardMemory(card.device, address, lengthBytes, range, dmabuf);
        byCard.set(card, memory);
      }),
    );
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) {
      await release(registration);
      throw explain(failed.reason, range);
    }
    this.#ranges.add(range);
    this.#registrations.set(range.address, registration);
  }

  /** Resolves when no card reaches the range any more, whoever asks. One that is not registered is fine. */
  async unregister(address: number): Promise<void> {
    const registration = this.#registrations.get(address);
    if (registration === undefined) return;
    this.#registrations.delete(address);
    this.#ranges.remove(address);
    await release(registration);
  }

  /** The registration that holds all of `[address, address + lengthBytes)`; undefined: no card reaches it. */
  find(address: number, lengthBytes: number): LocalRegistration | undefined {
    const range = this.#ranges.containing(address, lengthBytes);
    return range && this.#registrations.get(range.address);
  }

  /** The registration that an address lies in, as peers need it. */
  describe(address: number): RemoteRange | undefined {
    const registration = this.find(address, 1);
    if (registration === undefined) return undefined;
    const { range, byCard, preferred } = registration;
    const { lengthBytes, isReadable, isWritable } = range;
    const keys = [...byCard].map(([card, memory]): [string, number] => [card.name, memory.remoteKey]);
    return { address: range.address, lengthBytes, isReadable, isWritable, keys: Object.fromEntries(keys), preferred };
  }

  /** Keys of the registration that starts at an address, in the order of the cards; undefined: no card reaches it. */
  keysOf(address: number): { readonly lkey: readonly number[]; readonly rkey: readonly number[] } | undefined {
    const registration = this.#registrations.get(address);
    const memories = this.#cards.flatMap((card) => registration?.byCard.get(card) ?? []);
    if (memories.length < this.#cards.length) return undefined;
    return { lkey: memories.map(({ localKey }) => localKey), rkey: memories.map(({ remoteKey }) => remoteKey) };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#registrations.keys()].map((address) => this.unregister(address)));
  }
}

async function release({ byCard }: LocalRegistration): Promise<void> {
  await Promise.all([...byCard.values()].map(deregisterCardMemory));
}

function explain(error: unknown, { lengthBytes }: RegisteredRange): unknown {
  if (!isP2PStoreError(error, ErrorCode.SystemCallFailed)) return error;
  const hint = error.context.errnoName === 'ENOMEM' ? `; ${memlockHint(lengthBytes)}` : '';
  return new P2PStoreError(error.code, `${error.message}${hint}`, error.context, { cause: error });
}

/** Cards reach only memory that is locked, and most systems let a process lock little. */
function memlockHint(lengthBytes: number): string {
  const limit = /^Max locked memory\s+(\S+)/m.exec(readText('/proc/self/limits'))?.[1] ?? 'unknown';
  const lockedKib = Number(/^VmPin:\s+(\d+) kB/m.exec(readText('/proc/self/status'))?.[1] ?? 0);
  if (limit === 'unlimited') return 'the machine or the card has no memory left for it';
  return (
    `this process may lock ${limit} bytes of memory (RLIMIT_MEMLOCK), ${lockedKib * 1024} are locked already and ` +
    `${lengthBytes} are wanted: raise the limit with "ulimit -l unlimited" or LimitMEMLOCK=infinity`
  );
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
