/**
 * The manifest of a folder: the first bytes of its object, as JSON. It says which files the other bytes are. It comes
 * from another machine, so everything in it is checked when read.
 */
import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { findConflict, type PathItem, problemOfPath } from './relative-paths.ts';

/** Path below the folder, with `/` between its parts, and size in bytes. */
export type FolderFile = readonly [relativePath: string, sizeBytes: number];

export interface FolderManifest {
  readonly version: 1;
  /** Files whose bytes follow the manifest, one behind the other in this order. */
  readonly packed: readonly FolderFile[];
  /** Files whose bytes follow those, each from a buffer of its own. */
  readonly mapped: readonly FolderFile[];
  /** Folders with nothing in them; all others follow from the paths of files. */
  readonly emptyFolders: readonly string[];
}

const sizeBytes = z.int().min(0);
const manifestSchema: z.ZodType<FolderManifest> = z.object({
  version: z.literal(1),
  packed: z.array(z.tuple([z.string(), sizeBytes])),
  mapped: z.array(z.tuple([z.string(), sizeBytes])),
  emptyFolders: z.array(z.string()),
});

export function encodeManifest(manifest: FolderManifest): Uint8Array {
  return Buffer.from(JSON.stringify(manifest));
}

/** Sum of the sizes of files, in bytes. */
export function totalFileBytes(files: readonly FolderFile[]): number {
  return files.reduce((total, [, fileBytes]) => total + fileBytes, 0);
}

/** Every file and every empty folder, in the order of the manifest. */
export function itemsOf(manifest: FolderManifest): (PathItem & { readonly bytes: number })[] {
  return [
    ...[...manifest.packed, ...manifest.mapped].map(
      ([relativePath, bytes]) => ({ kind: 'file', relativePath, bytes }) as const,
    ),
    ...manifest.emptyFolders.map((relativePath) => ({ kind: 'folder', relativePath, bytes: 0 }) as const),
  ];
}

/**
 * @param name - Of the object, for messages.
 * @param objectBytes - Size of the whole object, which the manifest must account for.
 * @throws P2P_RECORD_INVALID It is no manifest, a path leaves the output folder, or paths or sizes contradict each other.
 */
export function decodeManifest(name: string, bytes: Uint8Array, objectBytes: number): FolderManifest {
  const manifest = parseManifest(name, bytes);
  const items = itemsOf(manifest);
  for (const { relativePath } of items) {
    const problem = problemOfPath(relativePath);
    if (problem !== undefined) throw refused(name, `${JSON.stringify(relativePath)}: ${problem}`);
  }
  const conflict = findConflict(items);
  if (conflict !== undefined) throw refused(name, `${JSON.stringify(conflict.item.relativePath)}: ${conflict.state}`);
  const describedBytes = bytes.length + totalFileBytes(manifest.packed) + totalFileBytes(manifest.mapped);
  if (describedBytes === objectBytes) return manifest;
  throw refused(name, `it describes ${describedBytes} bytes, the object has ${objectBytes}`);
}

function parseManifest(name: string, bytes: Uint8Array): FolderManifest {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw refused(name, 'it is not JSON', cause);
  }
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw refused(name, `${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'is invalid'}`, parsed.error);
}

function refused(name: string, state: string, cause?: unknown): P2PStoreError {
  return new P2PStoreError(
    ErrorCode.RecordInvalid,
    `Cannot read the manifest of folder "${name}": ${state}`,
    { key: name },
    cause === undefined ? undefined : { cause },
  );
}
