/** Decides which objects a `get` pulls and where they go. Names come from other machines and are checked as paths. */
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { findConflict, type PathItem, problemOfPath } from '../store/folder/relative-paths.ts';

export interface RemoteObject {
  readonly name: string;
  readonly totalSize: number;
  /** Set for an object that is a folder. */
  readonly files?: number;
}

export interface PullItem extends PathItem {
  readonly name: string;
  readonly bytes: number;
  /** An empty folder has nothing to pull. */
  readonly isEmptyFolder: boolean;
}

/**
 * Plans the pull of an object, of a folder, or of every object below a prefix that is no folder by itself.
 *
 * @param name - A prefix when it ends in `/`; what follows it in a name is the path in the output folder.
 * @param objects - All whose names begin so.
 * @returns Nothing when `name` stands for none of them.
 * @throws P2P_RECORD_INVALID A name leaves the output folder, or two names need one path as file and as folder.
 */
export function planPull(name: string, objects: readonly RemoteObject[]): PullItem[] {
  const exact = objects.find((object) => object.name === name);
  if (!name.endsWith('/')) {
    return exact === undefined ? [] : [itemOf(exact, fileNameOf(name))];
  }
  if (exact?.files !== undefined) return [itemOf(exact, '')];
  const items = objects.map((object) => itemOf(object, object.name.slice(name.length)));
  const conflict = findConflict(items);
  if (conflict !== undefined) throw refused(conflict.item.name, conflict.state);
  return items;
}

/** @param place - Below the output folder; that of a folder ends in `/`, or is empty for the output folder itself. */
function itemOf({ name, totalSize, files }: RemoteObject, place: string): PullItem {
  const kind = place === '' || place.endsWith('/') ? 'folder' : 'file';
  const relativePath = kind === 'folder' ? place.slice(0, -1) : place;
  const problem = place === '' ? undefined : problemOfPath(relativePath);
  if (problem !== undefined) throw refused(name, problem);
  const isEmptyFolder = kind === 'folder' && files === undefined;
  if (isEmptyFolder && totalSize > 0) throw refused(name, `it names a folder but has ${totalSize} bytes`);
  return { kind, name, relativePath, bytes: totalSize, isEmptyFolder };
}

/** The last part of a name, as the name of a file. */
function fileNameOf(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

function refused(name: string, state: string): P2PStoreError {
  return new P2PStoreError(ErrorCode.RecordInvalid, `Cannot write object "${name}" to a file: ${state}`, { key: name });
}
