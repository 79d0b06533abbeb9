import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface CommandResult {
  /** 0 done; undefined when a signal ended it, the deadline's included. */
  readonly exitCode: number | undefined;
  readonly output: string;
}

export interface CommandOptions {
  readonly timeoutMs: number;
  /** Put in front of PATH. */
  readonly binaries: readonly string[];
}

/** How long what a command left behind has to end by itself after SIGTERM. */
const GRACE_MS = 3000;
const GRACE_POLL_MS = 50;

function signalGroup(groupId: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-groupId, signal);
  } catch {
    return false; // nobody is left in the group
  }
}

/** Ends every process of a group: asks first, and insists after {@link GRACE_MS}. */
async function endGroup(groupId: number): Promise<void> {
  signalGroup(groupId, 'SIGTERM');
  const deadlineMs = performance.now() + GRACE_MS;
  while (signalGroup(groupId, 0) && performance.now() < deadlineMs) await delay(GRACE_POLL_MS);
  signalGroup(groupId, 'SIGKILL');
}

/**
 * Runs a command in an empty folder that is its working, home and temporary folder, and that is
 * removed afterwards, as are the processes that the command left in the background.
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  { timeoutMs, binaries }: CommandOptions,
): Promise<CommandResult> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'p2pstore-docs-'));
  const log = await fs.open(path.join(folder, '.output'), 'w+');
  try {
    const child = spawn(command, args, {
      cwd: folder,
      detached: true, // a process group of its own, so that all of it can be ended
      stdio: ['ignore', log.fd, log.fd],
      env: {
        PATH: [...binaries, process.env['PATH']].join(path.delimiter),
        HOME: folder,
        TMPDIR: folder,
      },
    });
    const exited = once(child, 'exit') as Promise<[number | null]>;
    const timer = setTimeout(() => child.pid !== undefined && signalGroup(child.pid, 'SIGKILL'), timeoutMs);
    const [exitCode] = await exited.finally(() => clearTimeout(timer));
    if (child.pid !== undefined) await endGroup(child.pid);
    return { exitCode: exitCode ?? undefined, output: await fs.readFile(path.join(folder, '.output'), 'utf8') };
  } finally {
    await log.close();
    await fs.rm(folder, { recursive: true, force: true });
  }
}
