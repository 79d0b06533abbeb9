import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { DigestPool } from '../../../src/digest/digest-pool.ts';
import { mapFile } from '../../../src/memory/map-file.ts';
import { resolveMemory } from '../../../src/memory/resolve-memory.ts';
import { runChildScript } from '../../support/child-script.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const MIB = 2 ** 20;
const READ = { writable: false };

describe('DigestPool over a mapped file', () => {
  test('rejects with P2P_MEMORY_FAULT when the file is truncated while it is digested, and the process lives', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), Buffer.alloc(16 * MIB, 1));
    const outcome = await runChildScript(
      `
      import fs from 'node:fs';
      const { DigestPool } = await dist('digest/digest-pool.js');
      const { mapFile } = await dist('memory/map-file.js');
      const { resolveMemory } = await dist('memory/resolve-memory.js');
      const path = process.argv.at(-1);
      const pool = DigestPool.open({ workers: 1 });
      const region = await mapFile(path);
      const { ranges } = resolveMemory([region], [region.sizeBytes], { writable: false });
      const rounds = Array.from({ length: 400 }, () => ranges[0]); // a second or more
      const first = await pool.digest('xxh64', ranges);
      const digesting = pool.digest('xxh64', rounds).then(() => 'digest', (error) => error.code);
      const small = pool.digest('xxh64', ranges, { priority: 'background' }).catch((error) => error.code);
      setImmediate(() => fs.truncateSync(path, 4096));
      console.log(await digesting, await small);
      const page = await pool.digest('xxh64', [{ ...ranges[0], lengthBytes: 4096 }]);
      await region.close();
      await pool.close();
      console.log(page.length);
      `,
      [folder.file('a')],
    );
    expect(outcome).toEqual({
      exitCode: 0,
      signal: null,
      stdout: 'P2P_MEMORY_FAULT P2P_MEMORY_FAULT\n8\n',
      stderr: '',
    });
  });

  test('keeps the old bytes when the file is replaced or deleted', async () => {
    await using folder = await makeTemporaryFolder();
    await using pool = DigestPool.open({ workers: 1 });
    await fs.writeFile(folder.file('a'), Buffer.alloc(MIB, 1));
    await using region = await mapFile(folder.file('a'));
    const { ranges } = resolveMemory([region], [MIB], READ);
    const before = await pool.digest('xxh64', ranges);
    await fs.writeFile(folder.file('b'), Buffer.alloc(MIB, 2));
    await fs.rename(folder.file('b'), folder.file('a'));
    expect(await pool.digest('xxh64', ranges)).toEqual(before);
    await fs.unlink(folder.file('a'));
    expect(await pool.digest('xxh64', ranges)).toEqual(before);
  });
});
