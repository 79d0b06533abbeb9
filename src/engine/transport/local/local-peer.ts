/** One process of this host whose memory we may touch. */
import fs, { constants as fsConstants } from 'node:fs';
import { constants } from 'node:os';
import { errnoName } from '../../../native/libc.ts';
import type { CopyOutcome, CopyPart, ProcessCopy, ProcessMark } from '../../../native/process-memory.ts';
import { lockBytes } from '../../../native/shared-file.ts';
import type { MemoryPeer, Passage } from '../memory-mover.ts';
import type { HostIdentity, LocalEndpoint } from './local-endpoint.ts';
import { MappedPeerFiles } from './mapped-peer-files.ts';
import { type PeerRange, PeerRanges } from './peer-ranges.ts';
import { lockByteOf } from './range-table.ts';

const { EPERM, EACCES, ENOSYS, ESRCH } = constants.errno;
/** Ranges of a peer may be registered anew between the looks at its table; more often than this, nothing is allowed. */
const MAX_ATTEMPTS = 8;

export class LocalPeer implements MemoryPeer {
  readonly pid: number;
  readonly #mark: ProcessMark;
  readonly #tablePath: string;
  readonly #fd: number;
  readonly #ranges: PeerRanges;
  /** How many calls hold each lock. */
  readonly #holders = new Map<number, number>();
  /** By what it is read instead, where the kernel forbids to read its memory. */
  #files: MappedPeerFiles | undefined;
  #isLost = false;

  private constructor(endpoint: LocalEndpoint, mark: ProcessMark, fd: number) {
    this.pid = endpoint.pid;
    this.#mark = mark;
    this.#tablePath = tablePathOf(endpoint);
    this.#fd = fd;
    this.#ranges = new PeerRanges(fd, mark.bytes);
  }

  /**
   * Makes sure that the process is the one that published the endpoint and that its memory may be read.
   *
   * @returns The peer, which the caller closes, or why it cannot be one.
   */
  static open(endpoint: LocalEndpoint, host: HostIdentity, copy: ProcessCopy): LocalPeer | string {
    if (endpoint.bootId !== host.bootId) return 'it is on another host';
    if (endpoint.pidNamespace !== host.pidNamespace)
      return 'it is in another container: its process ids mean nothing here';
    const mark = { address: endpoint.markAddress, bytes: Buffer.from(endpoint.mark, 'hex') };
    const opened = openTable(endpoint);
    if (typeof opened === 'string') return opened;
    const peer = new LocalPeer(endpoint, mark, opened);
    const refusal = peer.#check(copy);
    if (refusal === undefined) return peer;
    peer.close();
    return refusal;
  }

  #check(copy: ProcessCopy): string | undefined {
    try {
      this.#ranges.refresh();
    } catch {
      return 'the process has ended, or its id is that of another one now';
    }
    const errno = copy.probe(this.pid, this.#mark);
    if (errno === 0) return undefined;
    if (errno === EPERM || errno === ENOSYS) return this.#openFiles(errno);
    if (errno === ESRCH) return 'the process has ended, or its id is that of another one now';
    return `the kernel answered process_vm_readv with ${errnoName(errno)}`;
  }

  #openFiles(errno: number): string | undefined {
    const files = new MappedPeerFiles(this.pid);
    const { version } = this.#ranges;
    if ([...this.#ranges.all()].some((range) => files.covers(range, version))) {
      this.#files = files;
      return undefined;
    }
    files.close();
    return `the kernel forbids reading its memory (${errnoName(errno)}): see kernel.yama.ptrace_scope`;
  }

  /** For people. */
  get way(): string {
    return this.#files === undefined
      ? `process ${this.pid} of this host lets its memory be read`
      : `process ${this.pid} of this host maps files that are read instead; the kernel forbids reading its memory`;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  onLost(): void {
    this.#isLost = true;
  }

  enter(opcode: 'read' | 'write', parts: readonly CopyPart[]): Passage {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      this.#ranges.refresh();
      const ranges = parts.map((part) => this.#find(opcode, part));
      const locks = new Set(ranges.flatMap((range) => (range === undefined ? [] : [lockByteOf(range.slot, opcode)])));
      const held = [...locks].filter((byte) => this.#hold(byte));
      const leave = (): void => {
        for (const byte of held) this.#release(byte);
      };
      if (held.length === locks.size && this.#areCurrent(ranges, leave)) {
        return {
          isAllowed: ranges.map((range) => range !== undefined),
          leave: () => this.#leave(ranges, leave),
        };
      }
      leave();
    }
    return { isAllowed: parts.map(() => false), leave: () => parts.map(() => false) };
  }

  #find(opcode: 'read' | 'write', { remoteAddress, lengthBytes }: CopyPart): PeerRange | undefined {
    const range = this.#ranges.find(remoteAddress, lengthBytes);
    if (range === undefined || (opcode === 'write' && !range.isWritable)) return undefined;
    if (this.#files === undefined) return range;
    return opcode === 'read' && this.#files.covers(range, this.#ranges.version) ? range : undefined;
  }

  copy(call: ProcessCopy, opcode: 'read' | 'write', parts: readonly CopyPart[]): Promise<CopyOutcome> {
    if (this.#files === undefined) return call.copy(opcode, this.pid, this.#mark, parts);
    if (this.#isThere()) return this.#files.read(parts);
    return Promise.resolve({ copiedBytes: 0, errno: ESRCH });
  }

  /** The files of a process outlive it. */
  #isThere(): boolean {
    try {
      const own = fs.fstatSync(this.#fd);
      const its = fs.statSync(this.#tablePath);
      return its.ino === own.ino && its.dev === own.dev;
    } catch {
      return false;
    }
  }

  /** Under the locks: what the table says now stays until they are given back. */
  #areCurrent(ranges: readonly (PeerRange | undefined)[], leave: () => void): boolean {
    try {
      this.#ranges.refresh();
    } catch (error) {
      leave();
      throw error;
    }
    return ranges.every((range) => range === undefined || this.#ranges.has(range));
  }

  /** The owner waits for our locks, but not for ever: who was stopped meanwhile may have read what is something else now. */
  #leave(ranges: readonly (PeerRange | undefined)[], leave: () => void): boolean[] {
    try {
      this.#ranges.refresh();
      return ranges.map((range) => range !== undefined && this.#ranges.has(range));
    } catch {
      this.#isLost = true;
      return ranges.map(() => false);
    } finally {
      leave();
    }
  }

  #hold(byte: number): boolean {
    const holders = this.#holders.get(byte) ?? 0;
    if (holders === 0 && !lockBytes(this.#fd, byte, 1, 'shared')) return false;
    this.#holders.set(byte, holders + 1);
    return true;
  }

  #release(byte: number): void {
    const holders = (this.#holders.get(byte) ?? 1) - 1;
    if (holders > 0) this.#holders.set(byte, holders);
    else {
      this.#holders.delete(byte);
      lockBytes(this.#fd, byte, 1, 'none');
    }
  }

  /** Not while a call holds anything. */
  close(): void {
    this.#files?.close();
    fs.closeSync(this.#fd);
  }
}

function tablePathOf({ pid, tableFd }: LocalEndpoint): string {
  return `/proc/${pid}/fd/${tableFd}`;
}

/** Who published it may be anybody: a pipe or a device there must not hold us up. */
function openTable(endpoint: LocalEndpoint): number | string {
  const flags = fsConstants.O_RDONLY | fsConstants.O_NONBLOCK | fsConstants.O_NOCTTY;
  try {
    const fd = fs.openSync(tablePathOf(endpoint), flags);
    if (fs.fstatSync(fd).isFile()) return fd;
    fs.closeSync(fd);
    return 'the process has ended, or its id is that of another one now';
  } catch (error) {
    const code = error instanceof Error && 'errno' in error ? -Number(error.errno) : 0;
    const isForbidden = code === EACCES || code === EPERM;
    return isForbidden
      ? `the kernel forbids looking into its process (${errnoName(code)}): it runs as another user`
      : 'the process has ended, or its id is that of another one now';
  }
}
