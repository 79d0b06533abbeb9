import type { CallOptions, MetadataStore } from '../../metadata/metadata-store.ts';
import { SEGMENT_NAME_MAX_BYTES } from '../object-name.ts';
import type { ObjectReader } from '../object-reader.ts';
import { sourceKey } from '../record-keys.ts';

/**
 * Tells which of these segments are sources of an object, by our records. Asks for them one by one: an object may have
 * thousands of sources, and a Mooncake record names a few.
 */
export async function findPeers(
  { metadata, reader }: { readonly metadata: MetadataStore; readonly reader: Pick<ObjectReader, 'readSources'> },
  object: { readonly name: string; readonly generation: string },
  segments: readonly string[],
  options: CallOptions,
): Promise<Set<string>> {
  const { name, generation } = object;
  const keys = segments
    .filter((segment) => Buffer.byteLength(segment) <= SEGMENT_NAME_MAX_BYTES)
    .flatMap((segment) => [sourceKey(name, segment, 'gold'), sourceKey(name, segment, 'replica')]);
  const entries = await Promise.all(keys.map((key) => metadata.get(key, options)));
  const sources = reader.readSources(entries.flatMap((entry) => entry ?? []));
  return new Set(sources.flatMap(({ segment, source }) => (source.generation === generation ? [segment] : [])));
}
