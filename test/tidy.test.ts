/** The rules of this project that a compiler or a linter cannot check. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { exitCodeOf } from '../src/cli/exit-code.ts';
import { ErrorCode, P2PStoreError } from '../src/core/errors.ts';
import { fileExists, importsOf, listFiles, PROJECT_ROOT, readText } from './support/project-files.ts';
import { TESTED_THROUGH } from './support/tested-through.ts';

/** Lowest first: a room imports only from itself and from those before it. */
const ROOMS = [
  'core',
  'observability',
  'native',
  'memory',
  'digest',
  'metadata',
  'engine',
  'swarm',
  'store',
  'index.ts',
  'cli',
];
const FILE_LINES_MAX = 500;

const sources = listFiles('src').filter((file) => file.endsWith('.ts'));
const programs = ['src', 'test', 'tools', 'bench', 'examples']
  .flatMap(listFiles)
  .filter((file) => file.endsWith('.ts'));
const documents = ['README.md', ...listFiles('docs').filter((file) => file.endsWith('.md'))];

function roomOf(file: string): string {
  return file.split('/')[1] ?? '';
}

describe('rooms', () => {
  test('every source lies in a known room', () => {
    expect(sources.filter((file) => !ROOMS.includes(roomOf(file)))).toEqual([]);
  });

  test('a room imports only from lower ones', () => {
    const upward = sources.flatMap((file) =>
      importsOf(readText(file))
        .filter((target) => target.startsWith('.'))
        .map((target) => path.posix.join(path.posix.dirname(file), target))
        .filter((target) => ROOMS.indexOf(roomOf(target)) > ROOMS.indexOf(roomOf(file)))
        .map((target) => `${file} imports ${target}`),
    );
    expect(upward).toEqual([]);
  });

  test('only native/ speaks FFI', () => {
    const outside = sources.filter((file) => roomOf(file) !== 'native' && importsOf(readText(file)).includes('koffi'));
    expect(outside).toEqual([]);
  });
});

describe('files', () => {
  test(`have at most ${FILE_LINES_MAX} lines`, () => {
    const long = programs
      .map((file) => ({ file, lines: readText(file).split('\n').length - 1 }))
      .filter(({ lines }) => lines > FILE_LINES_MAX);
    expect(long).toEqual([]);
  });

  test('hold no notes about work to be done', () => {
    const note = new RegExp(`\\b(?:${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')})\\b`);
    expect([...programs, ...documents].filter((file) => note.test(readText(file)))).toEqual([]);
  });

  test('name nothing outside the project', () => {
    const outside = [`/work/${'shared'}`, `../${'shared'}`];
    const text = listFiles('').filter((file) => !/\.(png|ico|bin)$/.test(file));
    expect(text.filter((file) => outside.some((words) => readText(file).includes(words)))).toEqual([]);
  });
});

describe('tests', () => {
  const tiers = ['unit', 'integration', 'fault', 'contract'];

  /** Files of nothing but types compile to nothing. */
  function hasCode(file: string): boolean {
    const compiled = file.replace(/^src\/(.*)\.ts$/, 'dist/$1.js');
    return readText(compiled).replace(/\/\*[\s\S]*?\*\/|\/\/.*|export \{\};|\s/g, '') !== '';
  }

  function hasMirror(file: string): boolean {
    const mirror = file.replace(/^src\/(.*)\.ts$/, '$1.test.ts');
    return tiers.some((tier) => fileExists(`test/${tier}/${mirror}`));
  }

  const unmirrored = (): string[] => sources.filter((file) => hasCode(file) && !hasMirror(file));

  function covers(key: string, file: string): boolean {
    return key.endsWith('/') ? file.startsWith(key) : file === key;
  }

  test('mirror every source that has code, or are named in tested-through.ts', () => {
    const keys = Object.keys(TESTED_THROUGH);
    expect(unmirrored().filter((file) => !keys.some((key) => covers(key, file)))).toEqual([]);
  });

  test('every line of tested-through.ts is true and needed', () => {
    const files = unmirrored();
    for (const [key, testFile] of Object.entries(TESTED_THROUGH)) {
      const isNeeded = files.some((file) => covers(key, file));
      expect({ key, isNeeded, hasTest: fileExists(testFile) }).toEqual({ key, isNeeded: true, hasTest: true });
    }
  });
});

describe('error codes', () => {
  const codes = Object.values(ErrorCode);
  const rows = [...readText('docs/errors.md').matchAll(/^\| `(P2P_\w+)` \|.*\| (yes|no) \| (\d+) \|$/gm)];

  test('docs/errors.md lists them all, in order, with whether to retry and the exit code', () => {
    const documented = rows.map(([, code, retryable, exitCode]) => ({ code, retryable, exitCode: Number(exitCode) }));
    const actual = codes.map((code) => {
      const error = new P2PStoreError<ErrorCode>(code, 'Cannot work: test', { argument: 'none' });
      return { code, retryable: error.retryable ? 'yes' : 'no', exitCode: exitCodeOf(error) };
    });
    expect(documented).toEqual(actual);
  });

  test('each is raised somewhere', () => {
    const asked = /isP2PStoreError\([^;{]*?\)|case ErrorCode\.\w+|[!=]==\s*ErrorCode\.\w+/g;
    const text = sources
      .filter((file) => file !== 'src/core/errors.ts')
      .map((file) => readText(file).replace(asked, ''))
      .join('\n');
    expect(Object.keys(ErrorCode).filter((name) => !new RegExp(`\\bErrorCode\\.${name}\\b`).test(text))).toEqual([]);
  });
});

describe('documents', () => {
  function help(...args: string[]): string {
    return execFileSync(process.execPath, [path.join(PROJECT_ROOT, 'bin', 'p2pstore'), ...args, '--help'], {
      encoding: 'utf8',
    });
  }

  test('docs/cli.md shows every command with its options', () => {
    const text = readText('docs/cli.md');
    const list = help().split(/^Commands:$/m)[1] ?? '';
    const commands = [...list.matchAll(/^ {2}([a-z][\w-]*)/gm)].map((match) => match[1] ?? '');
    expect(commands).toEqual(expect.arrayContaining(['demo', 'publish', 'get', 'list', 'status']));
    for (const command of commands.filter((name) => name !== 'help')) {
      const options = help(command).match(/--[a-z][\w-]+/g) ?? [];
      const words = [`p2pstore ${command}`, ...new Set(options)];
      expect({ command, missing: words.filter((word) => !text.includes(word)) }).toEqual({ command, missing: [] });
    }
  });

  test('every npm command they name exists', () => {
    const { scripts } = JSON.parse(readText('package.json')) as { scripts: Record<string, string> };
    const known = new Set(['ci', 'install', 'pack', ...Object.keys(scripts)]);
    const unknown = documents.flatMap((file) =>
      [...readText(file).matchAll(/\bnpm run ([a-z][\w:-]*)|(?:^|`|&& )npm (?!run )([a-z]+)/gm)]
        .filter((match) => !known.has(match[1] ?? match[2] ?? ''))
        .map((match) => `${file}: ${match[0]}`),
    );
    expect(unknown).toEqual([]);
  });

  test('every link to a file of the project leads to one', () => {
    const broken = documents.flatMap((file) =>
      [...readText(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)]
        .filter((match) => !fileExists(path.posix.join(path.posix.dirname(file), match[1] ?? '')))
        .map((match) => `${file}: ${match[1]}`),
    );
    expect(broken).toEqual([]);
  });
});
