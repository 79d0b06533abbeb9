import type { Entry, WatchEvent, WatchOptions } from '../../src/metadata/metadata-store.ts';

/** Keeps what a watch told, in an order that can be compared. */
export class WatchRecorder {
  readonly events: WatchEvent[] = [];
  readonly resets: { readonly entries: readonly Entry[]; readonly revision: bigint }[] = [];

  /** `put key` or `delete key`. */
  get lines(): string[] {
    return this.events.map((event) => `${event.kind} ${event.kind === 'put' ? event.entry.key : event.key}`);
  }

  from(fromRevision: bigint): WatchOptions {
    return {
      fromRevision,
      onEvents: (events) => this.events.push(...events),
      onReset: (entries, revision) => this.resets.push({ entries, revision }),
    };
  }
}
