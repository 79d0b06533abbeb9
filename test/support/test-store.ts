import { createHash, randomBytes } from 'node:crypto';
import type { MetadataStore } from '../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import type { LogFields, Logger } from '../../src/observability/logger.ts';
import { newP2PStore, type P2PStore } from '../../src/store/p2p-store.ts';
import type { P2PStoreOptions } from '../../src/store/store-parts.ts';

export const MIB = 1024 * 1024;
export const SHARD = 64 * MIB;

let count = 0;

/** The URI of a metadata store that nobody else uses. */
export function freshMemoryUri(): string {
  count += 1;
  return `memory:test-${process.pid}-${count}`;
}

/** Stores over one metadata store, closed at the end of the scope, last opened first. */
export class TestStores implements AsyncDisposable {
  readonly uri: string;
  readonly #opened: AsyncDisposable[] = [];

  constructor(uri: string = freshMemoryUri()) {
    this.uri = uri;
  }

  async open(segment: string, options: P2PStoreOptions = {}): Promise<P2PStore> {
    const settings = { digestWorkers: 1, ioWorkers: 1, ...options };
    const store = await newP2PStore(this.uri, segment, undefined, settings);
    this.#opened.push(store);
    return store;
  }

  async metadata(): Promise<MetadataStore> {
    const metadata = await openMetadataStore(this.uri);
    this.#opened.push(metadata);
    return metadata;
  }

  /** Keys of all records that are there now, ours and Mooncake's. */
  async keys(prefix = ''): Promise<string[]> {
    await using metadata = await openMetadataStore(this.uri);
    return (await metadata.list(prefix, { keysOnly: true })).entries.map(({ key }) => key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of this.#opened.toReversed()) await opened[Symbol.asyncDispose]();
  }
}

/** Bytes that no other call returns. */
export function fillBytes(length: number): Buffer {
  return randomBytes(length);
}

/** Compares by hash, and says where the first difference is; a matcher would print megabytes. */
export function expectSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  if (actual.length === expected.length && hash(actual) === hash(expected)) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  throw new Error(`Bytes differ: lengths ${actual.length} and ${expected.length}, first difference at ${at}`);
}

export interface LoggedLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: LogFields;
}

export interface RecordingLogger extends Logger {
  readonly lines: readonly LoggedLine[];
}

export function recordingLogger(): RecordingLogger {
  const lines: LoggedLine[] = [];
  const log =
    (level: LoggedLine['level']) =>
    (fields: LogFields, message: string): void => {
      lines.push({ level, message, fields });
    };
  return { lines, debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
}
