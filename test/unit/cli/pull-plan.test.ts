import { describe, expect, test } from 'vitest';
import { planPull } from '../../../src/cli/pull-plan.ts';

const objects = (...names: string[]) => names.map((name) => ({ name, totalSize: name.endsWith('/') ? 0 : 7 }));
const refused = (key: string) => expect.objectContaining({ code: 'P2P_RECORD_INVALID', context: { key } });
const plan = (prefix: string, listed: Parameters<typeof planPull>[1]) =>
  planPull(prefix, listed).map(({ kind, name, relativePath, bytes, isEmptyFolder }) => [
    isEmptyFolder ? 'empty' : kind,
    name,
    relativePath,
    bytes,
  ]);

describe('planPull', () => {
  test('a name is one object, at the last part of its name', () => {
    expect(plan('m/a', objects('m/a', 'm/a.bak', 'm/a/b'))).toEqual([['file', 'm/a', 'a', 7]]);
    expect(plan('m/a', objects('m/ab'))).toEqual([]);
  });

  test.each(['a/..', '..', '.', 'a/b\0'])('refuses to name a file %j', (name) => {
    expect(() => planPull(name, objects(name))).toThrow(refused(name));
  });

  test('a folder is pulled as a whole, whatever lies below its name besides', () => {
    const listed = [{ name: 'm/', totalSize: 9, files: 3 }, ...objects('m/a')];
    expect(plan('m/', listed)).toEqual([['folder', 'm/', '', 9]]);
  });

  test('a prefix puts every object below it at its relative path, folders too', () => {
    expect(
      plan('m/', [...objects('m/a', 'm/sub/b', 'm/none/', 'm/'), { name: 'm/d/', totalSize: 9, files: 3 }]),
    ).toEqual([
      ['file', 'm/a', 'a', 7],
      ['file', 'm/sub/b', 'sub/b', 7],
      ['empty', 'm/none/', 'none', 0],
      ['empty', 'm/', '', 0],
      ['folder', 'm/d/', 'd', 9],
    ]);
    expect(plan('m/', [])).toEqual([]);
  });

  test.each(['m/../evil', 'm/..', 'm/../', 'm//etc/passwd', 'm//', 'm/./a', `m/${'x'.repeat(256)}`])(
    'refuses %j',
    (name) => {
      expect(() => planPull('m/', objects('m/fine', name))).toThrow(refused(name));
    },
  );

  test('refuses bytes under the name of a folder', () => {
    expect(() => planPull('m/', [{ name: 'm/a/', totalSize: 1 }])).toThrow(refused('m/a/'));
  });

  test('refuses one path as file and as folder', () => {
    expect(() => planPull('m/', objects('m/a', 'm/a/b'))).toThrow(refused('m/a/b'));
    expect(() => planPull('m/', [...objects('m/a'), { name: 'm/a/', totalSize: 9, files: 1 }])).toThrow(
      refused('m/a/'),
    );
  });
});
