/** The laboratory at a small scale: whether it and the swarm in it behave, not how fast they are. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { haveSameBytes, writeRandomFile } from '../../../bench/lab/content.ts';
import { labFolder, namespaceName, namespacesOf } from '../../../bench/lab/names.ts';
import { parseLabOptions } from '../../../bench/lab/options.ts';
import { whatIsMissing } from '../../../bench/lab/requirements.ts';
import type { CaseResult } from '../../../bench/lab/scenario.ts';
import { processesIn, tearDown } from '../../../bench/lab/teardown.ts';
import { eventually } from '../../support/eventually.ts';
import { PROJECT_ROOT } from '../../support/project-files.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const SMALL = ['--hosts', '4', '--size', '32MiB', '--rate', '200mbit', '--runs', '1'];
/** Would take minutes: it is interrupted. */
const LONG = ['--hosts', '2', '--size', '256MiB', '--rate', '20mbit', '--runs', '1'];
/** The source, one receiver and etcd. */
const PROCESSES_OF_ONE_ALONE = 3;

const started: number[] = [];

function startLab(args: readonly string[]): ChildProcess {
  const lab = spawn(process.execPath, ['--import', 'tsx', 'bench/lab.ts', ...args], {
    cwd: PROJECT_ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(lab.pid ?? 0);
  return lab;
}

interface Outcome {
  readonly exitCode: number | null;
  readonly output: string;
}

async function outcomeOf(lab: ChildProcess): Promise<Outcome> {
  let output = '';
  for (const stream of [lab.stdout, lab.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const [exitCode] = (await once(lab, 'close')) as [number | null];
  return { exitCode, output };
}

/** Says why no laboratory can be built here. */
function reasonToSkip(): string | undefined {
  const options = parseLabOptions(SMALL);
  const missing = options && whatIsMissing(options);
  if (missing !== undefined) return missing;
  const probe = namespaceName(process.pid, 'probe');
  try {
    execFileSync('ip', ['netns', 'add', probe], { stdio: 'pipe' });
    execFileSync(
      'tc',
      ['-n', probe, 'qdisc', 'add', 'dev', 'lo', 'root', 'tbf', 'rate', '1mbit', 'burst', '16k', 'latency', '9ms'],
      { stdio: 'pipe' },
    );
    return undefined;
  } catch (error) {
    return `this machine does not allow it: ${error instanceof Error ? error.message.trim() : String(error)}`;
  } finally {
    if (namespacesOf(process.pid).includes(probe)) execFileSync('ip', ['netns', 'del', probe]);
  }
}

function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}/exe`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

function reapersOf(labPid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`lab/reaper.ts\0${labPid}\0`);
      } catch {
        return false; // it has ended meanwhile
      }
    })
    .map(Number);
}

/** What is there of a laboratory, and which of these processes run. */
function leftovers(labPid: number, pids: readonly number[] = []): object {
  return {
    namespaces: namespacesOf(labPid),
    files: existsSync(labFolder(labPid)),
    processes: pids.filter(isRunning),
    reapers: reapersOf(labPid),
  };
}

const NOTHING = { namespaces: [], files: false, processes: [], reapers: [] };

/** Waits until stores run in the laboratory, and returns all its processes. */
function busyProcesses(lab: ChildProcess): Promise<number[]> {
  const labPid = lab.pid ?? 0;
  return eventually(
    'a store in every host of the first case',
    () => {
      if (lab.exitCode !== null) throw new Error(`the laboratory ended with code ${lab.exitCode}`);
      const pids = processesIn(namespacesOf(labPid));
      return pids.length >= PROCESSES_OF_ONE_ALONE ? pids : undefined;
    },
    { deadlineMs: 30_000 },
  );
}

const reason = reasonToSkip();
const title = reason === undefined ? 'lab' : `lab (skipped: ${reason})`;

describe.skipIf(reason !== undefined)(title, () => {
  afterAll(async () => {
    for (const labPid of started) await tearDown(labPid);
  });

  test('gives all receivers the right bytes, each piece about once from the source, and leaves nothing', async () => {
    await using folder = await makeTemporaryFolder();
    const [json, svg] = [folder.file('lab.json'), folder.file('lab.svg')];
    const lab = startLab([...SMALL, '--json', json, '--svg', svg]);
    const { exitCode, output } = await outcomeOf(lab);
    expect({ exitCode, output }).toMatchObject({ exitCode: 0 }); // other bytes than published end it with 1
    const { alone, together } = JSON.parse(readFileSync(json, 'utf8')) as Record<'alone' | 'together', CaseResult[]>;
    expect(alone[0]?.receivers).toHaveLength(1);
    const [result] = together;
    expect(result?.receivers.map(({ kind, curve }) => [kind, curve.at(-1)?.[1]])).toEqual(Array(4).fill(['plain', 1]));
    expect(result?.badEnds).toEqual([]);
    const sentTimes = (result?.goldPayloadBytes ?? 0) / (32 << 20);
    expect(sentTimes).toBeGreaterThanOrEqual(1);
    expect(sentTimes).toBeLessThan(2); // plain client and server: 4
    expect(result?.goldWireBytes).toBeGreaterThanOrEqual(result?.goldPayloadBytes ?? 0);
    expect(readFileSync(svg, 'utf8').match(/<polyline /g)).toHaveLength(5); // four receivers, and one alone
    expect(leftovers(lab.pid ?? 0)).toEqual(NOTHING);
  });

  test('leaves nothing when it is killed', async () => {
    const lab = startLab(LONG);
    const pids = await busyProcesses(lab);
    expect(reapersOf(lab.pid ?? 0)).toHaveLength(1);
    lab.kill('SIGKILL');
    await eventually('the reaper to finish', () => reapersOf(lab.pid ?? 0).length === 0);
    expect(leftovers(lab.pid ?? 0, pids)).toEqual(NOTHING);
  });

  test('takes away what a killed one without a reaper left, and leaves nothing when it is interrupted', async () => {
    const dead = startLab(LONG);
    const deadPids = await busyProcesses(dead);
    for (const pid of [...reapersOf(dead.pid ?? 0), dead.pid ?? 0]) process.kill(pid, 'SIGKILL');
    await once(dead, 'exit');
    const lab = startLab(LONG);
    const outcome = outcomeOf(lab);
    const pids = await busyProcesses(lab);
    expect(leftovers(dead.pid ?? 0, deadPids)).toEqual(NOTHING);
    lab.kill('SIGINT');
    expect((await outcome).exitCode).toBe(130);
    expect(leftovers(lab.pid ?? 0, pids)).toEqual(NOTHING);
  });
});

test('lab refuses a wrong command line with exit code 2 and says what it takes', async () => {
  for (const args of [
    ['--hosts', 'many'],
    ['--unknown'],
    ['--rate', '5'],
    ['--size', '0'],
    ['--hosts', '2', '--kill', '2'],
  ]) {
    expect(() => parseLabOptions(args)).toThrow(args[0]);
  }
  const { exitCode, output } = await outcomeOf(startLab(['--slow-host', '2']));
  expect(exitCode).toBe(2);
  expect(output).toMatch(/--slow-host wants a share.*npm run lab -- \[options\]/s);
});

test('lab tells a file with one other byte from its source', async () => {
  await using folder = await makeTemporaryFolder();
  const [source, copy] = [folder.file('source'), folder.file('copy')];
  await writeRandomFile(source, (9 << 20) + 5);
  const bytes = readFileSync(source);
  writeFileSync(copy, bytes);
  expect(await haveSameBytes(source, copy)).toBe(true);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  writeFileSync(copy, bytes);
  expect(await haveSameBytes(source, copy)).toBe(false);
});
