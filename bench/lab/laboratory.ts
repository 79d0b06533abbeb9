import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { run } from './commands.ts';
import { writeRandomFile, writeZeroFile } from './content.ts';
import { ETCD, GOLD, labFolder, ownerFile, receiverName, startTicks } from './names.ts';
import { type Host, hostAddress, Network } from './network.ts';
import type { LabOptions } from './options.ts';
import { StoreProcess } from './store-process.ts';
import { tearDown, tearDownStale } from './teardown.ts';

const GOLD_NUMBER = 1;
const FIRST_RECEIVER_NUMBER = 2;
const ETCD_NUMBER = 0xfffe;
const ETCD_PORT = 2379;
const ETCD_READY_TRIES = 200;
/** That a receiver's process grows by, beside its copy of the object. */
const HEAP_BYTES = 48 << 20;
/** What the publisher, etcd and the kernel's sockets take. */
const OTHER_BYTES = 768 << 20;

/** Hosts, links, an etcd and a file to publish. Leaving its scope takes all away; so does a reaper if this process dies. */
export class Laboratory implements AsyncDisposable {
  readonly network: Network = new Network(process.pid);
  readonly options: LabOptions;
  readonly metadataUri: string = `etcd://${hostAddress(ETCD_NUMBER)}:${ETCD_PORT}`;
  readonly #reaper: ChildProcessByStdio<Writable, null, null>;
  readonly #logFolder: string;
  #etcd: StoreProcess | undefined;

  private constructor(options: LabOptions) {
    this.options = options;
    this.#logFolder = options.keepLogs ? path.resolve('.cache/lab', String(process.pid)) : this.file('logs');
    // The reaper is compiled, or loaded by the same loader, as this file is.
    const program = import.meta.filename.replace('laboratory', 'reaper');
    this.#reaper = spawn(process.execPath, [...process.execArgv, program, String(process.pid)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#reaper.stdin.on('error', () => {}); // it was killed: then nobody is left to reap
  }

  static async open(options: LabOptions): Promise<Laboratory> {
    await tearDownStale();
    await mkdir(labFolder(process.pid));
    await mountMemory(labFolder(process.pid));
    await writeFile(ownerFile(process.pid), startTicks(process.pid) ?? '');
    const laboratory = new Laboratory(options);
    try {
      await laboratory.#build();
      return laboratory;
    } catch (error) {
      await laboratory[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Where `etcd` runs, for the sum of CPU time. */
  get etcd(): StoreProcess | undefined {
    return this.#etcd;
  }

  get source(): string {
    return this.file('source');
  }

  get logFolder(): string {
    return this.#logFolder;
  }

  file(name: string): string {
    return path.join(labFolder(process.pid), name);
  }

  /**
   * Takes as much memory as this many receivers will need, from the machine and from the host of a virtual machine: that one
   * takes back what is free for two seconds, and to get it again, page by page, costs more than the transfers.
   */
  async reserveMemory(receivers: number): Promise<void> {
    await writeZeroFile(this.file('reserve'), receivers * (this.options.sizeBytes + HEAP_BYTES) + OTHER_BYTES);
  }

  /** Gives what was reserved to whoever asks for memory next. */
  async releaseMemory(): Promise<void> {
    await rm(this.file('reserve'));
  }

  /** Starts the program under test on a host. */
  startStore(host: string, caseName: string, args: readonly string[]): StoreProcess {
    return new StoreProcess({
      name: host,
      namespace: this.network.namespace(host),
      command: [this.options.program, ...args, '--metadata', this.metadataUri, '--json'],
      logFile: path.join(this.#logFolder, `${caseName}-${host}.log`),
      keepOutput: this.options.keepLogs,
    });
  }

  /** How many pieces an object has, by its record; undefined when the record says nothing of it. */
  async countPieces(name: string): Promise<number | undefined> {
    const text = await this.#etcdctl(['get', `p2pstore/v1/objects/${name}/`, '--print-value-only']);
    const { pieceSizeBytes } = JSON.parse(text || '{}') as { pieceSizeBytes?: number };
    return pieceSizeBytes === undefined ? undefined : Math.ceil(this.options.sizeBytes / pieceSizeBytes);
  }

  async #build(): Promise<void> {
    await Promise.all([mkdir(this.#logFolder, { recursive: true }), mkdir(this.file('out'))]);
    await this.network.build(describeHosts(this.options));
    await this.#startEtcd();
    await writeRandomFile(this.source, this.options.sizeBytes);
  }

  async #startEtcd(): Promise<void> {
    const url = `http://${hostAddress(ETCD_NUMBER)}:${ETCD_PORT}`;
    const peerUrl = 'http://127.0.0.1:2380';
    const flags = [`--data-dir=${this.file('etcd')}`, `--listen-client-urls=${url}`, `--advertise-client-urls=${url}`];
    const peerFlags = [`--listen-peer-urls=${peerUrl}`, `--initial-advertise-peer-urls=${peerUrl}`];
    const etcd = new StoreProcess({
      name: ETCD,
      namespace: this.network.namespace(ETCD),
      command: ['etcd', ...flags, ...peerFlags, `--initial-cluster=default=${peerUrl}`],
      logFile: path.join(this.#logFolder, 'etcd.log'),
      keepOutput: this.options.keepLogs,
    });
    this.#etcd = etcd;
    await Promise.race([this.#untilHealthy(), etcd.event('ready')]);
  }

  async #untilHealthy(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#etcdctl(['endpoint', 'health']);
        return;
      } catch (error) {
        if (tries === ETCD_READY_TRIES) throw error;
      }
    }
  }

  #etcdctl(args: readonly string[]): Promise<string> {
    const endpoint = `--endpoints=${hostAddress(ETCD_NUMBER)}:${ETCD_PORT}`;
    return run('ip', [
      'netns',
      'exec',
      this.network.namespace(ETCD),
      'env',
      'ETCDCTL_API=3',
      'etcdctl',
      endpoint,
      ...args,
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await tearDown(process.pid);
    const { exitCode, signalCode } = this.#reaper;
    if (exitCode !== null || signalCode !== null) return;
    const ended = once(this.#reaper, 'exit');
    this.#reaper.stdin.end('done\n');
    await ended;
  }
}

/** The publishing host, the receivers, and the host of etcd, which is not shaped. A slow host is the last receiver. */
function describeHosts(options: LabOptions): Host[] {
  const { hosts, bitsPerSecond: full } = options;
  const receivers = Array.from({ length: hosts }, (_, index): Host => {
    const kind = kindOf(index, options);
    const share = kind === 'slow' ? (options.slowHost ?? 1) : 1;
    const uplink = full * (kind === 'half uplink' ? 0.5 : share);
    const address = hostAddress(FIRST_RECEIVER_NUMBER + index);
    return { name: receiverName(index), address, uplink, downlink: full * share };
  });
  const gold = { name: GOLD, address: hostAddress(GOLD_NUMBER), uplink: full, downlink: full };
  return [gold, ...receivers, { name: ETCD, address: hostAddress(ETCD_NUMBER) }];
}

export type ReceiverKind = 'plain' | 'slow' | 'half uplink';

/** The slow host is the last one, that with half the uplink the one before. */
export function kindOf(index: number, { hosts, slowHost, halfUplink }: LabOptions): ReceiverKind {
  const fromEnd = hosts - 1 - index;
  if (slowHost !== undefined && fromEnd === 0) return 'slow';
  return halfUplink && fromEnd === (slowHost === undefined ? 0 : 1) ? 'half uplink' : 'plain';
}

/** Puts a file system of large pages over a folder; where the kernel has none, the folder stays as it is. */
async function mountMemory(folder: string): Promise<void> {
  await run('mount', ['-t', 'tmpfs', '-o', 'huge=within_size,size=100%,mode=700', path.basename(folder), folder]).catch(
    () => {},
  );
}
