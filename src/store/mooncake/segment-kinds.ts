/** Who is behind the segments that a Mooncake record names. */
import { z } from 'zod';
import { descriptorKey } from '../../engine/segment-descriptor.ts';
import type { CallOptions, MetadataStore } from '../../metadata/metadata-store.ts';
import { inLanes } from '../lanes.ts';

/** `gone`: it has no descriptor, so nobody can open it. */
export type SegmentKind =
  | { readonly kind: 'gone' | 'ours' }
  | { readonly kind: 'theirs'; readonly buffers: readonly { readonly addr: number; readonly length: number }[] };

const LOOKUPS_AT_ONCE = 16;

const descriptorSchema = z.object({
  p2pstore_instance: z.string().optional(),
  buffers: z.array(z.object({ addr: z.number(), length: z.number() })).nullish(),
});

export class SegmentKinds {
  readonly #metadata: Pick<MetadataStore, 'get' | 'list'>;
  readonly #clusterId: string;

  /** @param clusterId - Part of the keys of descriptors; empty: none. */
  constructor(metadata: Pick<MetadataStore, 'get' | 'list'>, clusterId: string) {
    this.#metadata = metadata;
    this.#clusterId = clusterId;
  }

  /** Reads the descriptors of segments. One that does not read belongs to an engine of another kind. */
  async describe(segments: readonly string[], options: CallOptions = {}): Promise<Map<string, SegmentKind>> {
    const kinds = new Map<string, SegmentKind>();
    let failure: unknown;
    await inLanes(segments, LOOKUPS_AT_ONCE, async (segment) => {
      try {
        const entry = await this.#metadata.get(descriptorKey(segment, this.#clusterId), options);
        kinds.set(segment, kindOf(entry?.value));
      } catch (error) {
        failure ??= error;
        throw error;
      }
    });
    if (failure !== undefined) throw failure;
    return kinds;
  }

  /**
   * Asks once which segments have a descriptor.
   *
   * @returns Tells it of a name. Names that hold `/` have their descriptors elsewhere: they pass for listed.
   */
  async listed(options: CallOptions = {}): Promise<(segment: string) => boolean> {
    const prefix = descriptorKey('', this.#clusterId);
    const { entries } = await this.#metadata.list(prefix, { ...options, keysOnly: true });
    const names = new Set(entries.map(({ key }) => key.slice(prefix.length)));
    return (segment) => segment.includes('/') || names.has(segment);
  }
}

function kindOf(descriptor: Uint8Array | undefined): SegmentKind {
  if (descriptor === undefined) return { kind: 'gone' };
  try {
    const { data } = descriptorSchema.safeParse(JSON.parse(Buffer.from(descriptor).toString('utf8')));
    if (data?.p2pstore_instance !== undefined) return { kind: 'ours' };
    return { kind: 'theirs', buffers: data?.buffers ?? [] };
  } catch {
    return { kind: 'theirs', buffers: [] };
  }
}
