import { readFileSync, readlinkSync } from 'node:fs';

/** Names one process so that another on this machine can tell whether it still runs. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks from boot to the start of the process; a reused pid has another. */
  readonly startTicks: string;
  /** Pids mean something only within their namespace. */
  readonly pidNamespace: string;
}

/** Changes with every boot, which restarts the monotonic clock. Empty where the system does not tell. */
export function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return '';
  }
}

/** Undefined where the system does not tell; then only the lease's time counts. */
export function readOwnIdentity(): ProcessIdentity | undefined {
  try {
    const stat = readStat(process.pid);
    return { pid: process.pid, startTicks: stat.startTicks, pidNamespace: readlinkSync('/proc/self/ns/pid') };
  } catch {
    return undefined;
  }
}

/**
 * Tells whether a process has surely ended. Says false whenever in doubt: another pid namespace,
 * `/proc` hidden, a permission missing.
 *
 * @param self - Who asks.
 */
export function hasEnded(owner: ProcessIdentity, self: ProcessIdentity): boolean {
  if (owner.pidNamespace !== self.pidNamespace) return false;
  if (owner.pid === self.pid) return owner.startTicks !== self.startTicks;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
  try {
    const { state, startTicks } = readStat(owner.pid);
    return startTicks !== owner.startTicks || state === 'Z' || state === 'X'; // killed, not yet reaped
  } catch {
    return false; // ended this instant, or hidden: the next look, or the lease's time, will tell
  }
}

function readStat(pid: number): { state: string; startTicks: string } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the command before it may hold blanks
  const [state, startTicks] = [fields[0], fields[19]];
  if (state === undefined || startTicks === undefined) throw new Error('Cannot read a process state: unknown format');
  return { state, startTicks };
}
