import { readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Database, open, type RootDatabase } from 'lmdb';
import { readBootId } from './process-identity.ts';

/**
 * Address space for the file, 1 GiB. It is sparse and mapped on demand, so it costs nothing until used; entries of
 * 10,000 objects with 16 kB each and the bounded history fit four times.
 */
const MAP_SIZE_BYTES = 1024 ** 3;
/** A slot of 64 bytes per reading thread; LMDB's default of 126 is less than the processes of a large machine. */
const READERS_MAX = 1024;
/** Changes with the layout in `codec.ts`, so that two versions never share a file. */
const FILE_PREFIX = 'metadata-v1-';

type BinaryDatabase = Database<Buffer, Buffer>;

/** An open LMDB file with its databases. One per file and process: LMDB's locks demand it. */
export interface Environment {
  readonly state: BinaryDatabase;
  readonly entries: BinaryDatabase;
  readonly leases: BinaryDatabase;
  readonly leaseKeys: BinaryDatabase;
  readonly history: BinaryDatabase;
  /** Runs `work` as one transaction, alone among all processes. A throw undoes it. */
  write<T>(work: () => T): T;
  /** Runs `work` on one snapshot, the latest. `work` must be synchronous. */
  read<T>(work: () => T): T;
  /** Closes the file when every opener has closed. */
  close(): Promise<void>;
}

const shared = new Map<string, { readonly environment: Environment; openers: number; closing?: Promise<void> }>();

/**
 * Opens the store's file in an existing directory, creating the file when it is not there.
 *
 * Every boot has a file of its own: the processes that an older one lists are gone. So nothing needs to
 * survive a power cut, and commits, which block the event loop, need not wait for the disk; what a killed process
 * has committed is in the page cache all the same.
 */
export async function openEnvironment(directory: string): Promise<Environment> {
  const bootId = readBootId();
  const file = path.join(realpathSync(directory), `${FILE_PREFIX}${bootId}.mdb`);
  const existing = shared.get(file);
  if (existing?.closing !== undefined) {
    await existing.closing;
    return openEnvironment(directory);
  }
  if (existing !== undefined) {
    existing.openers += 1;
    return existing.environment;
  }
  if (bootId !== '') removeFilesOfOlderBoots(path.dirname(file));
  const root = open<Buffer, Buffer>(file, {
    noSync: bootId !== '',
    noSubdir: true,
    mapSize: MAP_SIZE_BYTES,
    maxReaders: READERS_MAX,
    maxDbs: 8,
    encoding: 'binary',
    keyEncoding: 'binary',
  });
  root.readerCheck(); // frees the slots of readers that were killed, and with them the pages they pinned
  const environment = createEnvironment(root, () => closeShared(file, root));
  shared.set(file, { environment, openers: 1 });
  return environment;
}

/** Removes what was not touched since this boot, so not the files of a machine that shares the directory. */
function removeFilesOfOlderBoots(directory: string): void {
  const bootedAtMs = Date.now() - os.uptime() * 1000;
  for (const name of readdirSync(directory)) {
    if (!name.startsWith('metadata-v') || !/\.mdb(?:-lock)?$/.test(name)) continue;
    const file = path.join(directory, name);
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats !== undefined && stats.mtimeMs < bootedAtMs - 60_000) rmSync(file, { force: true });
  }
}

async function closeShared(file: string, root: RootDatabase<Buffer, Buffer>): Promise<void> {
  const holder = shared.get(file);
  if (holder === undefined) return;
  holder.openers -= 1;
  if (holder.openers > 0) return;
  holder.closing = root.close().finally(() => shared.delete(file));
  await holder.closing;
}

function createEnvironment(root: RootDatabase<Buffer, Buffer>, close: () => Promise<void>): Environment {
  const database = (name: string): BinaryDatabase =>
    root.openDB<Buffer, Buffer>({ name, encoding: 'binary', keyEncoding: 'binary' });
  return {
    state: database('state'),
    entries: database('entries'),
    leases: database('leases'),
    leaseKeys: database('leaseKeys'),
    history: database('history'),
    write: (work) => root.transactionSync(work),
    read(work) {
      root.resetReadTxn();
      return work();
    },
    close,
  };
}
