/** Loads a library with its first hasher: each costs every thread about 10 ms, and an object needs one of them. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/**
 * `xxh64` finds accidents at the speed of memory, 8 bytes, big-endian as it is printed. `blake3` also withstands
 * somebody who tries, at a third of the speed, 32 bytes.
 */
export const DIGEST_ALGORITHMS = ['xxh64', 'blake3'] as const;
export type DigestAlgorithm = (typeof DIGEST_ALGORITHMS)[number];

/** A digest in the making. The bytes are not retained. */
export interface Hasher {
  update(bytes: Uint8Array): void;
  /** Ends it: call it once, last. */
  digest(): Uint8Array;
}

const SIZE_BYTES: Readonly<Record<DigestAlgorithm, number>> = { xxh64: 8, blake3: 32 };

export function digestSizeBytes(algorithm: DigestAlgorithm): number {
  return SIZE_BYTES[algorithm];
}

export function createHasher(algorithm: DigestAlgorithm): Hasher {
  switch (algorithm) {
    case 'xxh64': {
      const { Xxh64 } = require('@node-rs/xxhash') as typeof import('@node-rs/xxhash');
      const hasher = new Xxh64();
      return {
        update: (bytes) => {
          hasher.update(bytes);
        },
        digest: () => {
          const digest = new Uint8Array(SIZE_BYTES.xxh64);
          new DataView(digest.buffer).setBigUint64(0, hasher.digest());
          return digest;
        },
      };
    }
    case 'blake3': {
      const { Blake3Hasher } = require('@napi-rs/blake-hash') as typeof import('@napi-rs/blake-hash');
      const hasher = new Blake3Hasher();
      return {
        update: (bytes) => {
          hasher.update(bytes);
        },
        digest: () => new Uint8Array(hasher.digestBuffer()),
      };
    }
  }
}

/** Digests a small input, such as a list of digests, on this thread. Memory of objects goes through `DigestPool`. */
export function digestBytes(algorithm: DigestAlgorithm, bytes: Uint8Array): Uint8Array {
  const hasher = createHasher(algorithm);
  hasher.update(bytes);
  return hasher.digest();
}
