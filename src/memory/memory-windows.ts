import { MAX_VIEW_BYTES, viewMemory } from '../native/view.ts';

/** Few and large: each new window costs a garbage collection, some milliseconds, as if its bytes had been allocated. */
const WINDOW_BYTES = MAX_VIEW_BYTES;
/** Windows start this far off the multiples of their size: koffi takes address 0 for a null pointer, and page 0 is never mapped. */
const GRID_START = 4096;
const DEFAULT_MAX_WINDOWS = 256;

/**
 * Views of this process's memory through a few large windows that are kept, as a fresh view for every block makes the
 * garbage collector work. A window may reach over memory that is not mapped: nothing touches that part.
 */
export class MemoryWindows {
  readonly #windows = new Map<number, Uint8Array>();
  readonly #maxWindows: number;

  /** @param maxWindows - Windows kept, at least 1. Default 256, which reach over 1 TiB. */
  constructor(maxWindows: number = DEFAULT_MAX_WINDOWS) {
    this.#maxWindows = maxWindows;
  }

  /**
   * Views memory that can be read directly (see `MemoryRange.access`), without copying.
   *
   * @returns The first part of the range: all of it, or up to the end of a window.
   */
  view(address: number, lengthBytes: number): Uint8Array {
    const index = Math.floor((address - GRID_START) / WINDOW_BYTES);
    const offset = address - GRID_START - index * WINDOW_BYTES;
    return this.#window(index).subarray(offset, Math.min(WINDOW_BYTES, offset + lengthBytes));
  }

  #window(index: number): Uint8Array {
    const known = this.#windows.get(index);
    if (known !== undefined) return known;
    for (const oldest of this.#windows.keys()) {
      if (this.#windows.size < this.#maxWindows) break;
      this.#windows.delete(oldest);
    }
    const window = viewMemory(GRID_START + index * WINDOW_BYTES, WINDOW_BYTES);
    this.#windows.set(index, window);
    return window;
  }
}
