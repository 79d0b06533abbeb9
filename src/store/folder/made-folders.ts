import fs from 'node:fs/promises';
import path from 'node:path';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

/** A folder to write into, which goes again, with those that were made around it, unless something is kept there. */
export class MadeFolders implements AsyncDisposable {
  readonly #innermost: string;
  /** The outermost that was made; undefined when all were there. */
  #outermost: string | undefined;

  private constructor(innermost: string, outermost: string | undefined) {
    this.#innermost = innermost;
    this.#outermost = outermost;
  }

  /**
   * Makes a folder and whatever is missing around it.
   *
   * @throws P2P_FILE_FAILED
   */
  static async make(folder: string): Promise<MadeFolders> {
    const innermost = path.resolve(folder);
    try {
      return new MadeFolders(innermost, await fs.mkdir(innermost, { recursive: true }));
    } catch (cause) {
      const state = cause instanceof Error ? cause.message : String(cause);
      const context = { path: innermost, operation: 'make folder' };
      throw new P2PStoreError(ErrorCode.FileFailed, `Cannot make folder ${innermost}: ${state}`, context, { cause });
    }
  }

  keep(): void {
    this.#outermost = undefined;
  }

  /** Removes what was made, as far as it is empty: what somebody else put there meanwhile stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    const outermost = this.#outermost;
    this.#outermost = undefined;
    if (outermost === undefined) return;
    for (let at = this.#innermost; ; at = path.dirname(at)) {
      const isRemoved = await fs.rmdir(at).then(
        () => true,
        () => false,
      );
      if (!isRemoved || at === outermost) return;
    }
  }
}
