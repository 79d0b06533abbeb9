import { describe, expect, test } from 'vitest';
import { decodeManifest, encodeManifest, type FolderManifest, itemsOf } from '../../../../src/store/folder/manifest.ts';

const MANIFEST: FolderManifest = {
  version: 1,
  packed: [
    ["it's/100%/ünïcode", 5],
    ['empty', 0],
  ],
  mapped: [['big', 300_000]],
  emptyFolders: ['none/inside'],
};

const refused = expect.objectContaining({ code: 'P2P_RECORD_INVALID', context: { key: 'x/' } });

/** Decodes JSON as the manifest of an object that is as large as it says. */
function decode(json: unknown, fileBytes = 300_005): FolderManifest {
  const bytes = Buffer.from(JSON.stringify(json));
  return decodeManifest('x/', bytes, bytes.length + fileBytes);
}

describe('decodeManifest', () => {
  test('reads what encodeManifest wrote', () => {
    const bytes = encodeManifest(MANIFEST);
    expect(decodeManifest('x/', bytes, bytes.length + 300_005)).toEqual(MANIFEST);
  });

  test('reads a manifest with fields that it does not know, and one of an empty folder', () => {
    expect(decode({ ...MANIFEST, more: 1 })).toEqual(MANIFEST);
    expect(decode({ version: 1, packed: [], mapped: [], emptyFolders: [] }, 0)).toMatchObject({ packed: [] });
  });

  test.each(['../evil', 'a/../../evil', '/etc/passwd', '', 'a//b', '.', 'a/', 'a\0b', 'x'.repeat(256)])(
    'refuses the path %j of a file or a folder',
    (evil) => {
      expect(() => decode({ ...MANIFEST, packed: [[evil, 5]] })).toThrow(refused);
      expect(() => decode({ ...MANIFEST, mapped: [[evil, 300_000]] })).toThrow(refused);
      expect(() => decode({ ...MANIFEST, emptyFolders: [evil] })).toThrow(refused);
    },
  );

  test('refuses paths that contradict each other', () => {
    expect(() => decode({ ...MANIFEST, emptyFolders: ['big'] })).toThrow(refused);
    expect(() => decode({ ...MANIFEST, emptyFolders: ['big/sub'] })).toThrow(refused);
    expect(() => decode({ ...MANIFEST, packed: [['big', 5]] })).toThrow(refused);
  });

  test('refuses sizes that are none, or do not add up to the object', () => {
    for (const size of [-1, 0.5, 2 ** 60, '5', null]) {
      expect(() => decode({ ...MANIFEST, packed: [['a', size]] })).toThrow(refused);
    }
    expect(() => decode(MANIFEST, 300_004)).toThrow(refused);
    expect(() => decode(MANIFEST, 300_006)).toThrow(refused);
  });

  test('refuses what is no manifest', () => {
    for (const json of [null, [], {}, { ...MANIFEST, version: 2 }, { ...MANIFEST, packed: [['a']] }]) {
      expect(() => decode(json)).toThrow(refused);
    }
    expect(() => decodeManifest('x/', Buffer.from('{"version":1'), 12)).toThrow(refused);
    expect(() => decodeManifest('x/', Buffer.from([0x22, 0xff, 0x22]), 3)).toThrow(refused);
  });
});

describe('itemsOf', () => {
  test('lists files and empty folders', () => {
    expect(itemsOf(MANIFEST).map(({ kind, relativePath, bytes }) => [kind, relativePath, bytes])).toEqual([
      ['file', "it's/100%/ünïcode", 5],
      ['file', 'empty', 0],
      ['file', 'big', 300_000],
      ['folder', 'none/inside', 0],
    ]);
  });
});
