/** What a laboratory is called, so that it can be found again, and told from others, by the id of its process alone. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const MEMORY_FOLDER = '/dev/shm';
const NAMESPACE_FOLDER = '/run/netns';
const OWNER_FILE = 'owner';
const NAME = /^p2plab-(\d+)(?:-|$)/;

/** Holds the bridge; nothing of a laboratory is in the machine's own network namespace. */
export const SWITCH = 'switch';
export const ETCD = 'etcd';
export const GOLD = 'gold';

export function receiverName(index: number): string {
  return `r${index + 1}`;
}

/** Files of a laboratory: in memory, so that no disk is measured. */
export function labFolder(labPid: number): string {
  return path.join(MEMORY_FOLDER, `p2plab-${labPid}`);
}

export function namespaceName(labPid: number, host: string): string {
  return `p2plab-${labPid}-${host}`;
}

/** Says which process a laboratory belongs to, beyond the id that another process may have later. */
export function ownerFile(labPid: number): string {
  return path.join(labFolder(labPid), OWNER_FILE);
}

/** When a process started, in clock ticks since the machine did; undefined when there is no such process. */
export function startTicks(pid: number): string | undefined {
  const stat = readOr(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/** Names of a laboratory's network namespaces. */
export function namespacesOf(labPid: number): string[] {
  return namesIn(NAMESPACE_FOLDER).filter((name) => name.startsWith(`p2plab-${labPid}-`));
}

export function namespaceFile(namespace: string): string {
  return path.join(NAMESPACE_FOLDER, namespace);
}

/** Ids of the processes whose laboratories were not torn down. */
export function staleLabs(): number[] {
  const names = [...namesIn(NAMESPACE_FOLDER), ...namesIn(MEMORY_FOLDER)];
  const pids = new Set(names.flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number));
  return [...pids].filter((pid) => !isAlive(pid));
}

function isAlive(labPid: number): boolean {
  const ticks = startTicks(labPid);
  return ticks !== undefined && ticks === (readOr(ownerFile(labPid)) ?? ticks);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // no namespace was ever made on this machine
  }
}

function readOr(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
