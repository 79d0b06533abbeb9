import { assert } from '../core/assert.ts';
import { GIB } from '../core/units.ts';
import { koffi } from './libc.ts';

/** The longest ArrayBuffer that Node 20 can hold; one byte more ends the process. */
export const MAX_VIEW_BYTES: number = 4 * GIB;

/**
 * Makes an array whose bytes are the memory at `address`, without copying. Works in every thread of the process.
 *
 * Nothing keeps the memory alive: touching the view after the memory was unmapped ends the process. A view costs the
 * garbage collector as much as if it owned its bytes (digests ran at half their speed with a fresh one for every
 * 4 MiB), so a hot path keeps few large ones.
 *
 * @param lengthBytes - At most {@link MAX_VIEW_BYTES}; 0 gives an empty array, whatever the address.
 */
export function viewMemory(address: number, lengthBytes: number): Uint8Array {
  assert(lengthBytes <= MAX_VIEW_BYTES, 'a view fits in one ArrayBuffer');
  if (lengthBytes === 0) return new Uint8Array(0);
  return new Uint8Array(koffi().view(address, lengthBytes));
}
