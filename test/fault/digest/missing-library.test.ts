import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { DigestPool } from '../../../src/digest/digest-pool.ts';
import { addressOf } from '../../../src/native/address.ts';

const require = createRequire(import.meta.url);

/** Lets every `require` of it in this thread fail, as one that was not installed for this platform does. */
function takeAway(library: string): void {
  const file = require.resolve(library);
  const missing = {
    loaded: true,
    get exports(): never {
      throw new Error(`Cannot find ${library}`);
    },
  };
  Object.assign(require.cache, { [file]: missing });
}

test('a digest library that cannot be loaded fails the job with a code and the reason', async () => {
  takeAway('@node-rs/xxhash');
  await using pool = DigestPool.open();
  const bytes = new Uint8Array(100);
  const job = pool.digest('xxh64', [{ address: addressOf(bytes), lengthBytes: bytes.length, access: 'direct' }]);
  await expect(job).rejects.toMatchObject({
    code: 'P2P_WORKER_FAILED',
    cause: { message: 'Cannot find @node-rs/xxhash' },
  });
});
