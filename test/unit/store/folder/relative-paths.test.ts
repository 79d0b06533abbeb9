import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findConflict, folderOf, problemOfPath } from '../../../../src/store/folder/relative-paths.ts';

const file = (relativePath: string) => ({ kind: 'file', relativePath }) as const;
const folder = (relativePath: string) => ({ kind: 'folder', relativePath }) as const;

describe('problemOfPath', () => {
  test.each(['a', 'a/b/c', '...', '..a', '~', ' ', '-', "it's 100% ünïcode"])('accepts %j', (relativePath) => {
    expect(problemOfPath(relativePath)).toBeUndefined();
  });

  test.each([
    '',
    '..',
    '../evil',
    'a/../../evil',
    '/etc/passwd',
    'a//b',
    'a/',
    './a',
    '.',
    'a\0b',
    'x'.repeat(256),
    'é'.repeat(128),
    `${'a/'.repeat(2048)}a`,
  ])('refuses %j', (relativePath) => {
    expect(problemOfPath(relativePath)).toEqual(expect.any(String));
  });

  test('accepts no path outside the folder', () => {
    const part = fc.constantFrom('..', '.', '', 'a', 'b', '...', '~', ' ', '-', '..a');
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const relativePath = parts.join('/');
        if (problemOfPath(relativePath) !== undefined) return;
        expect(path.resolve('/out', relativePath).startsWith('/out/')).toBe(true);
      }),
    );
  });
});

describe('folderOf', () => {
  test('is the item itself, or what is around a file', () => {
    expect(folderOf(folder('a/b'))).toBe('a/b');
    expect(folderOf(file('a/b'))).toBe('a');
    expect(folderOf(file('a'))).toBe('');
  });
});

describe('findConflict', () => {
  test('finds none where files share folders', () => {
    expect(findConflict([file('a/b'), file('a/c'), folder('a'), folder('a/d'), folder('')])).toBeUndefined();
  });

  test('finds a file where a folder is needed, in any order, and a file that is there twice', () => {
    expect(findConflict([file('a'), file('a/b')])?.item).toEqual(file('a/b'));
    expect(findConflict([file('a/b/c'), file('a')])?.item).toEqual(file('a/b/c'));
    expect(findConflict([file('a'), folder('a')])?.item).toEqual(folder('a'));
    expect(findConflict([file('a'), file('b'), file('a')])?.item).toEqual(file('a'));
  });

  test('stops at paths that need more folders than any file system should make for strangers', () => {
    const deep = (index: number) => folder(`${index}/${'x/'.repeat(249)}x`);
    expect(findConflict(Array.from({ length: 810 }, (_, index) => deep(index)))).toMatchObject({
      state: expect.stringContaining('folders'),
    });
  });
});
