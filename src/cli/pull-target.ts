/** Where a `get` puts what it pulls: folders are looked at and made here, the bytes are the store's business. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { MadeFolders } from '../store/folder/made-folders.ts';
import { OutputFolder } from '../store/folder/output-folder.ts';
import type { PullItem } from './pull-plan.ts';

/** Where objects are received, and how they get to their places. Leaves nothing behind that was not committed. */
export interface PullTarget extends AsyncDisposable {
  /** @throws P2P_FILE_FAILED, P2P_DISK_FULL */
  open(items: readonly PullItem[], signal: AbortSignal): Promise<void>;
  placeOf(item: PullItem): string;
  commit(): Promise<void>;
}

/**
 * Looks at what `--output` names, before anything is waited for.
 *
 * @param name - What is pulled.
 * @throws P2P_INVALID_ARGUMENT, P2P_FILE_FAILED
 */
export async function openPullTarget(name: string, outputPath: string): Promise<PullTarget> {
  if (outputPath === '') {
    throw new P2PStoreError(ErrorCode.InvalidArgument, 'Cannot use --output: it is empty', { argument: '--output' });
  }
  return name.endsWith('/') ? new FolderPlace(outputPath) : await FilePlace.open(outputPath);
}

/** An object becomes one file: the store itself receives it beside its place and renames it. */
class FilePlace implements PullTarget {
  readonly #outputPath: string;
  readonly #isFolder: boolean;
  readonly #around: MadeFolders;

  private constructor(outputPath: string, isFolder: boolean, around: MadeFolders) {
    this.#outputPath = outputPath;
    this.#isFolder = isFolder;
    this.#around = around;
  }

  static async open(outputPath: string): Promise<FilePlace> {
    const isFolder = await fs.stat(outputPath).then(
      (stats) => stats.isDirectory(),
      () => outputPath.endsWith('/'),
    );
    const file = path.resolve(outputPath);
    return new FilePlace(file, isFolder, await MadeFolders.make(isFolder ? file : path.dirname(file)));
  }

  open(): Promise<void> {
    return Promise.resolve();
  }

  placeOf({ relativePath }: PullItem): string {
    return this.#isFolder ? path.join(this.#outputPath, relativePath) : this.#outputPath;
  }

  commit(): Promise<void> {
    this.#around.keep();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#around[Symbol.asyncDispose]();
  }
}

/** Objects below a prefix fill a folder, all or nothing. A folder that is one object is filled by the store. */
class FolderPlace implements PullTarget {
  readonly #outputPath: string;
  #folder: OutputFolder | undefined;

  constructor(outputPath: string) {
    this.#outputPath = outputPath;
  }

  async open(items: readonly PullItem[], signal: AbortSignal): Promise<void> {
    const isOneObject = items.some(({ relativePath, isEmptyFolder }) => relativePath === '' && !isEmptyFolder);
    if (!isOneObject) this.#folder = await OutputFolder.open(this.#outputPath, items, signal);
  }

  placeOf(item: PullItem): string {
    return this.#folder?.stagedPath(item) ?? this.#outputPath;
  }

  async commit(): Promise<void> {
    await this.#folder?.commit();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder?.close();
  }
}
