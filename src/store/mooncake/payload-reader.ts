/** Finds objects that Mooncake stores registered. What does not read is skipped in lists and an error where it is asked for. */
import { ErrorCode, isP2PStoreError } from '../../core/errors.ts';
import type { CallOptions, MetadataStore } from '../../metadata/metadata-store.ts';
import type { Logger } from '../../observability/logger.ts';
import { inLanes } from '../lanes.ts';
import { checkObjectName } from '../object-name.ts';
import type { ListedObject } from '../object-reader.ts';
import type { ObjectRecord } from '../records.ts';
import { completeCopies, objectOfPayload, type PayloadCopy } from './payload-object.ts';
import { decodePayload, type Payload, parsePayloadKey, payloadKey, payloadsPrefix } from './payload-record.ts';
import type { SegmentKind, SegmentKinds } from './segment-kinds.ts';

/** Records that one `list` reads; each may have 1.5 MiB. */
const LISTED_MAX = 10_000;
const READS_AT_ONCE = 16;

export interface PayloadReaderOptions {
  readonly metadata: MetadataStore;
  readonly segments: SegmentKinds;
  readonly logger: Logger;
}

export interface FoundPayload {
  readonly object: ObjectRecord;
  readonly payload: Payload;
  /** Of the record, when it was read. */
  readonly revision: bigint;
  /** Of Mooncake stores, as far as anybody can reach them. */
  readonly copies: readonly PayloadCopy[];
}

export class PayloadReader {
  readonly #metadata: MetadataStore;
  readonly #segments: SegmentKinds;
  readonly #logger: Logger;

  constructor({ metadata, segments, logger }: PayloadReaderOptions) {
    this.#metadata = metadata;
    this.#segments = segments;
    this.#logger = logger;
  }

  /**
   * Lists objects that some store seems to have all of.
   *
   * @param known - Names that are ours: their records here are copies of what we know better.
   */
  async list(namePrefix: string, known: ReadonlySet<string>, options: CallOptions = {}): Promise<ListedObject[]> {
    const { entries } = await this.#metadata.list(payloadsPrefix(namePrefix), { ...options, keysOnly: true });
    const names = entries.flatMap(({ key }) => parsePayloadKey(key) ?? []).filter((name) => !known.has(name));
    if (names.length === 0) return [];
    if (names.length > LISTED_MAX) {
      this.#logger.warn({ namePrefix, records: names.length }, 'more Mooncake records than are listed');
    }
    const isListed = await this.#segments.listed(options);
    const listings: ListedObject[] = [];
    let failure: unknown;
    await inLanes(names.slice(0, LISTED_MAX), READS_AT_ONCE, async (name) => {
      try {
        const entry = await this.#metadata.get(payloadKey(name), options);
        const read = entry && this.#tolerate(name, entry.value);
        if (read?.copies.some(({ segment }) => isListed(segment))) listings.push({ name, object: read.object });
      } catch (error) {
        failure ??= error;
        throw error;
      }
    });
    if (failure !== undefined) throw failure;
    return listings.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * @returns undefined when there is no record, or nobody is left of those that it names.
   * @throws P2P_RECORD_INVALID
   */
  async find(name: string, options: CallOptions = {}): Promise<FoundPayload | undefined> {
    const found = await this.read(name, options);
    return found === undefined || found.copies.length === 0 ? undefined : found;
  }

  /** {@link find}, where a record that does not read is none. */
  async findReadable(name: string, options: CallOptions = {}): Promise<FoundPayload | undefined> {
    return await this.find(name, options).catch((error: unknown) => this.#ignoreInvalid(name, error));
  }

  /** {@link read}, likewise. */
  async readReadable(name: string, options: CallOptions = {}): Promise<FoundPayload | undefined> {
    return await this.read(name, options).catch((error: unknown) => this.#ignoreInvalid(name, error));
  }

  /** {@link find}, also where nobody is left. */
  async read(name: string, options: CallOptions = {}): Promise<FoundPayload | undefined> {
    const entry = await this.#metadata.get(payloadKey(name), options);
    if (entry === undefined) return undefined;
    const { object, payload, copies } = readPayload(name, entry.value);
    const kinds = await this.#segments.describe(
      copies.map(({ segment }) => segment),
      options,
    );
    const reachable = copies.filter((copy) => isReachable(copy, kinds.get(copy.segment)));
    return { object, payload, revision: entry.revision, copies: reachable };
  }

  /** Whether nobody has written the record since. */
  async isUnchanged(name: string, revision: bigint, options: CallOptions = {}): Promise<boolean> {
    const unchanged = { kind: 'unchanged', key: payloadKey(name), revision } as const;
    return (await this.#metadata.commit([unchanged], [], options)).succeeded;
  }

  #ignoreInvalid(name: string, error: unknown): undefined {
    if (!isP2PStoreError(error, ErrorCode.RecordInvalid)) throw error;
    this.#logger.warn({ key: payloadKey(name), error }, 'bad Mooncake record ignored');
  }

  #tolerate(name: string, value: Uint8Array): ReturnType<typeof readPayload> | undefined {
    try {
      return readPayload(name, value);
    } catch (error) {
      this.#logger.warn({ key: payloadKey(name), error }, 'bad Mooncake record ignored');
      return undefined;
    }
  }
}

function readPayload(
  name: string,
  value: Uint8Array,
): { readonly object: ObjectRecord; readonly payload: Payload; readonly copies: readonly PayloadCopy[] } {
  checkObjectName(name);
  const payload = decodePayload(payloadKey(name), value);
  const object = objectOfPayload(name, payload);
  return { object, payload, copies: payload.shards.length === 0 ? [] : completeCopies(payload) };
}

/**
 * What an engine of theirs says it has registered must hold the copy: one that was started anew under its name has other memory.
 * What engines of ours have is found by our own records.
 */
function isReachable({ ranges }: PayloadCopy, kind: SegmentKind | undefined): boolean {
  if (kind?.kind !== 'theirs') return false;
  if (kind.buffers.length === 0) return true;
  const buffers = kind.buffers.toSorted((a, b) => a.addr - b.addr); // they do not overlap
  return ranges.every(({ address, lengthBytes }) => {
    let low = 0;
    for (let high = buffers.length - 1; low < high; ) {
      const middle = (low + high + 1) >>> 1;
      if ((buffers[middle]?.addr ?? 0) <= address) low = middle;
      else high = middle - 1;
    }
    const buffer = buffers[low];
    return buffer !== undefined && address >= buffer.addr && address + lengthBytes <= buffer.addr + buffer.length;
  });
}
