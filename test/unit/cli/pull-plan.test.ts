import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkOutput, fileNameOf, planPull } from '../../../src/cli/pull-plan.ts';

const objects = (...names: string[]) => names.map((name) => ({ name, totalSize: name.endsWith('/') ? 0 : 7 }));
const refused = (key: string) => expect.objectContaining({ code: 'P2P_RECORD_INVALID', context: { key } });

describe('planPull', () => {
  test('puts every object below the prefix at its relative path', () => {
    expect(planPull('m/', objects('m/a', 'm/sub/b', 'm/none/', 'm/'))).toEqual([
      { kind: 'file', name: 'm/a', relativePath: 'a', bytes: 7 },
      { kind: 'file', name: 'm/sub/b', relativePath: 'sub/b', bytes: 7 },
      { kind: 'folder', name: 'm/none/', relativePath: 'none', bytes: 0 },
      { kind: 'folder', name: 'm/', relativePath: '', bytes: 0 },
    ]);
  });

  test.each([
    'm/../evil',
    'm/a/../../evil',
    'm/..',
    'm/../',
    'm//etc/passwd',
    'm//',
    'm/a//b',
    'm/./a',
    'm/.',
    'm/a\0b',
    `m/${'x'.repeat(256)}`,
  ])('refuses %j', (name) => {
    expect(() => planPull('m/', objects('m/fine', name))).toThrow(refused(name));
  });

  test('refuses bytes under the name of a folder', () => {
    expect(() => planPull('m/', [{ name: 'm/a/', totalSize: 1 }])).toThrow(refused('m/a/'));
  });

  test('refuses one path as file and as folder', () => {
    expect(() => planPull('m/', objects('m/a', 'm/a/b'))).toThrow(refused('m/a/b'));
    expect(() => planPull('m/', objects('m/a/b/c', 'm/a'))).toThrow(refused('m/a/b/c'));
    expect(() => planPull('m/', objects('m/a', 'm/a/'))).toThrow(refused('m/a/'));
  });

  test('never plans a path outside the output folder', () => {
    const part = fc.constantFrom('..', '.', '', 'a', 'b', '...', '~', ' ', '-', '..a');
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const name = `m/${parts.join('/')}`;
        try {
          for (const { relativePath } of planPull('m/', [{ name, totalSize: 0 }])) {
            const resolved = path.resolve('/out', relativePath);
            expect(resolved === '/out' || resolved.startsWith('/out/')).toBe(true);
          }
        } catch (error) {
          expect(error).toEqual(refused(name));
        }
      }),
    );
  });
});

describe('fileNameOf', () => {
  test('is the last part of a name', () => {
    expect(fileNameOf('a/b/c.bin')).toBe('c.bin');
    expect(fileNameOf('c.bin')).toBe('c.bin');
  });

  test.each(['a/..', '..', '.', 'a/b\0'])('refuses %j', (name) => {
    expect(() => fileNameOf(name)).toThrow(refused(name));
  });
});

describe('checkOutput', () => {
  let folder: string;
  const at = (...parts: string[]): string => path.join(folder, ...parts);
  const check = (...names: string[]): Promise<void> => checkOutput(at('out'), planPull('m/', objects(...names)));
  const failed = (relative: string) =>
    expect.objectContaining({ code: 'P2P_FILE_FAILED', context: { path: at(relative), operation: 'check' } });

  beforeEach(async () => {
    folder = await fs.mkdtemp(path.join(os.tmpdir(), 'p2p-output-'));
    await fs.mkdir(at('out'));
  });
  afterEach(() => fs.rm(folder, { recursive: true, force: true }));

  test('accepts a folder that is not there, and one with files to replace', async () => {
    await checkOutput(at('none'), planPull('m/', objects('m/a/b')));
    await fs.mkdir(at('out/sub'));
    await fs.writeFile(at('out/sub/a'), '');
    await fs.symlink('/etc/passwd', at('out/b')); // replaced, not followed
    await check('m/sub/a', 'm/b');
  });

  test('refuses an output that is a file', async () => {
    await fs.writeFile(at('file'), '');
    await expect(checkOutput(at('file'), [])).rejects.toEqual(failed('file'));
  });

  test('refuses a link that leads out, accepts one that stays inside', async () => {
    await fs.mkdir(at('elsewhere'));
    await fs.mkdir(at('out/inside'));
    await fs.symlink('../elsewhere', at('out/leak'));
    await fs.symlink('inside', at('out/stays'));
    await fs.symlink('nowhere', at('out/broken'));
    await check('m/stays/a');
    await expect(check('m/leak/a')).rejects.toEqual(failed('out/leak'));
    await expect(check('m/leak/')).rejects.toEqual(failed('out/leak'));
    await expect(check('m/broken/a')).rejects.toEqual(failed('out/broken'));
  });

  test('refuses a sibling whose path only begins like the output', async () => {
    await fs.mkdir(at('output-other'));
    await fs.symlink('../output-other', at('out/leak'));
    await expect(check('m/leak/a')).rejects.toEqual(failed('out/leak'));
  });

  test('refuses a file for a folder, a folder for a file, and special files', async () => {
    await fs.writeFile(at('out/file'), '');
    await fs.mkdir(at('out/folder'));
    execFileSync('mkfifo', [at('out/pipe')]);
    await expect(check('m/file/a')).rejects.toEqual(failed('out/file'));
    await expect(check('m/folder')).rejects.toEqual(failed('out/folder'));
    await expect(check('m/pipe')).rejects.toEqual(failed('out/pipe'));
  });
});
