import { realpathSync } from 'node:fs';
import path from 'node:path';
import { type Database, open, type RootDatabase, TransactionFlags } from 'lmdb';

/**
 * Address space for the file, 1 GiB. It is sparse and mapped on demand, so it costs nothing until used; entries of
 * 10,000 objects with 16 kB each and the bounded history fit four times.
 */
const MAP_SIZE_BYTES = 1024 ** 3;
/** A slot of 64 bytes per reading thread; LMDB's default of 126 is less than the processes of a large machine. */
const READERS_MAX = 1024;
/** Abortable, committed when the call returns, flushed to disk behind it: a kill loses nothing, a power cut loses the last ms. */
const TRANSACTION_FLAGS: TransactionFlags =
  TransactionFlags.ABORTABLE | TransactionFlags.SYNCHRONOUS_COMMIT | TransactionFlags.NO_SYNC_FLUSH;
/** Changes with the layout in `codec.ts`, so that two versions never share a file. */
const FILE_NAME = 'metadata-v1.mdb';

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

/** Opens the store's file in an existing directory, creating the file when it is not there. */
export async function openEnvironment(directory: string): Promise<Environment> {
  const file = path.join(realpathSync(directory), FILE_NAME);
  const existing = shared.get(file);
  if (existing?.closing !== undefined) {
    await existing.closing;
    return openEnvironment(directory);
  }
  if (existing !== undefined) {
    existing.openers += 1;
    return existing.environment;
  }
  const root = open<Buffer, Buffer>(file, {
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
    write: (work) => root.transactionSync(work, TRANSACTION_FLAGS),
    read(work) {
      root.resetReadTxn();
      return work();
    },
    close,
  };
}
