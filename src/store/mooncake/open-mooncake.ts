import { CLUSTER_ID_VARIABLE } from '../../engine/open-registry.ts';
import type { MirrorOptions, MooncakeMirror } from './mirror.ts';
import type { PayloadReader } from './payload-reader.ts';

/** What a store shares with Mooncake's stores. Both are undefined where those cannot be: they know etcd only. */
export interface MooncakeParts {
  /** Finds objects of Mooncake's stores. */
  readonly payloads: PayloadReader | undefined;
  /** Lists our objects for them; undefined also when it is switched off. */
  readonly mirror: MooncakeMirror | undefined;
}

/** What it needs is loaded only with etcd. */
export async function openMooncake(
  parts: Omit<MirrorOptions, 'segments'>,
  options: { readonly mooncakeMirror?: boolean | undefined; readonly metadataClusterId?: string | undefined },
): Promise<MooncakeParts> {
  const { metadata, logger } = parts;
  if (!/^etcds?:/.test(metadata.uri)) return { payloads: undefined, mirror: undefined };
  const { SegmentKinds } = await import('./segment-kinds.ts');
  const { PayloadReader } = await import('./payload-reader.ts');
  const { MooncakeMirror } = await import('./mirror.ts');
  const clusterId = options.metadataClusterId ?? process.env[CLUSTER_ID_VARIABLE] ?? '';
  const segments = new SegmentKinds(metadata, clusterId);
  const { mooncakeMirror: isMirroring = true } = options;
  return {
    payloads: new PayloadReader({ metadata, segments, logger }),
    mirror: isMirroring ? new MooncakeMirror({ ...parts, segments }) : undefined,
  };
}
