/** Takes a laboratory away, whoever made it and however far it came. */
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from './commands.ts';
import { labFolder, namespaceFile, namespacesOf, staleLabs } from './names.ts';

const KILL_ROUNDS_MAX = 250;
const KILL_ROUND_MS = 20;

/** Kills what runs in the laboratory of a process, then removes its namespaces, with all links in them, and its files. */
export async function tearDown(labPid: number): Promise<void> {
  const namespaces = namespacesOf(labPid);
  for (let round = 0; round < KILL_ROUNDS_MAX; round++) {
    const pids = processesIn(namespaces);
    if (pids.length === 0) break;
    for (const pid of pids) kill(pid);
    await delay(KILL_ROUND_MS);
  }
  const lines = namespaces.map((name) => `netns del ${name}`).join('\n');
  // Another teardown of the same laboratory may have been quicker.
  if (namespaces.length > 0) await run('ip', ['-force', '-batch', '-'], lines).catch(() => {});
  await run('umount', ['--lazy', labFolder(labPid)]).catch(() => {}); // not every kernel let it be mounted
  await rm(labFolder(labPid), { recursive: true, force: true });
}

/** Takes away what laboratories of processes that are gone have left. */
export async function tearDownStale(): Promise<void> {
  for (const labPid of staleLabs()) await tearDown(labPid);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

/** Ids of the processes in these network namespaces. */
export function processesIn(namespaces: readonly string[]): number[] {
  const wanted = new Set(namespaces.map((name) => linkTo(name)));
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => wanted.has(networkOf(pid)))
    .map(Number);
}

function linkTo(namespace: string): string {
  return `net:[${statSync(namespaceFile(namespace), { throwIfNoEntry: false })?.ino}]`;
}

function networkOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return ''; // it has ended meanwhile
  }
}
