import { koffi } from './libc.ts';

/**
 * Tells where the bytes of a buffer or view begin.
 *
 * The address stays valid while the buffer is referenced and not transferred to another thread: V8 never moves
 * the bytes of an ArrayBuffer, and Node keeps those of small typed arrays outside the moving heap too.
 *
 * @returns A virtual address below 2^52. Meaningless, and perhaps 0, when the view has no bytes.
 */
export function addressOf(memory: ArrayBufferView | ArrayBufferLike): number {
  // koffi takes views but not a SharedArrayBuffer itself.
  const view = ArrayBuffer.isView(memory) ? memory : new Uint8Array(memory);
  return Number(koffi().address(view));
}
