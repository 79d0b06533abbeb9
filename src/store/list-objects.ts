import { type PayloadInfo, payloadInfo } from './payload-info.ts';
import type { StoreParts } from './store-parts.ts';

/** Lists what is live, ours and Mooncake's, by name. What both know is ours. */
export async function listObjects(
  { reader, payloads }: Pick<StoreParts, 'reader' | 'payloads'>,
  namePrefix: string,
  signal: AbortSignal,
): Promise<PayloadInfo[]> {
  const ours = await reader.list(namePrefix, { signal });
  const theirs = (await payloads?.list(namePrefix, new Set(ours.map(({ name }) => name)), { signal })) ?? [];
  return [...ours, ...theirs]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, object }) => payloadInfo(name, object));
}
