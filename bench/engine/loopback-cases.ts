/** Two processes of one machine: the engine over TCP and over shared memory, beside a C program that does the same. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { Child } from '../support/child.ts';
import type { Case, Goal, Sample } from './case.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const CONNECTIONS = 4;
const LARGE_BYTES = 64 * MIB;
const SMALL_BYTES = 64 * KIB;
const SMALL_BATCH = 128;
const PAGE_BYTES = 4 * KIB;
const PINGS = 4000;
/** Measured: the C loop is fastest with calls of this size. */
const COPY_BYTES = MIB;

interface Timed {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** Sockets and TCP use 4 connections. */
const NAMES = {
  sockets: 'C sockets, 1 MiB calls',
  large: 'READ 64 MiB, TCP',
  smallSockets: 'C sockets, 64 KiB calls',
  small: 'READ 64 KiB in 128s, TCP',
  ping: 'C ping-pong of 4 KiB',
  alone: 'READ 4 KiB alone, TCP',
  copy: 'C loop of process_vm_readv',
  local: 'READ 64 MiB, same host',
} as const;

export const LOOPBACK_GOALS: readonly Goal[] = [
  goal('64 MiB READs: rate, of C sockets', 'large', 'sockets', 'gigabytesPerSecond', { atLeast: 0.95 }),
  goal('64 MiB READs: CPU time, of C sockets', 'large', 'sockets', 'cpuSecondsPerGigabyte', { atMost: 1.15 }),
  goal('64 KiB READs: rate, of C sockets', 'small', 'smallSockets', 'gigabytesPerSecond', { atLeast: 0.7 }),
  goal('64 KiB READs: CPU time, of C sockets', 'small', 'smallSockets', 'cpuSecondsPerGigabyte', {}),
  goal('4 KiB READ: p50, of the ping-pong', 'alone', 'ping', 'p50', { atMost: 8 }),
  {
    what: '4 KiB READ: p99, of its own p50',
    of: { name: NAMES.alone, measure: 'p99' },
    to: { name: NAMES.alone, measure: 'p50' },
    atMost: 10,
  },
  goal('same host: rate, of a bare loop', 'local', 'copy', 'gigabytesPerSecond', { atLeast: 0.9 }),
  goal('same host: rate, of TCP', 'local', 'large', 'gigabytesPerSecond', { atLeast: 2 }),
];

function goal(
  what: string,
  of: keyof typeof NAMES,
  to: keyof typeof NAMES,
  measure: keyof Sample,
  bounds: Pick<Goal, 'atLeast' | 'atMost'>,
): Goal {
  return { what, of: { name: NAMES[of], measure }, to: { name: NAMES[to], measure }, ...bounds };
}

export interface LoopbackBench {
  /** What belongs together is measured one right after the other. */
  readonly cases: readonly Case[];
  close(): Promise<void>;
}

export async function openLoopbackBench(sizeBytes: number, directory: string): Promise<LoopbackBench> {
  const metadata = `local:${path.join(directory, 'metadata')}`;
  const binary = path.join(directory, 'ceiling');
  execFileSync('gcc', ['-O2', '-pthread', path.resolve('bench/native/ceiling.c'), '-o', binary]);
  const ceiling = new Child(binary, [String(sizeBytes)]);
  await ceiling.receive();
  const size = String(sizeBytes);
  const server = Child.program('engine/server', [size, metadata]);
  const { segment, address } = await server.receive<{ segment: string; address: string }>();
  const readers = ['tcp', 'local'].map((transport) =>
    Child.program('engine/reader', [size, metadata, segment, address, transport]),
  );
  const [tcp, local] = readers;
  if (tcp === undefined || local === undefined) throw new Error('two readers were started');
  for (const reader of readers) await reader.receive();

  const speed = ({ seconds, cpuSeconds }: Timed): Sample => ({
    gigabytesPerSecond: sizeBytes / 1e9 / seconds,
    cpuSecondsPerGigabyte: cpuSeconds / (sizeBytes / 1e9),
  });
  const reference = (group: string, name: string, command: string): Case => ({
    name,
    group,
    isReference: true,
    run: async () => speed(await ceiling.ask<Timed>(command)),
  });
  const read = (group: string, name: string, reader: Child, command: string): Case => ({
    name,
    group,
    isReference: false,
    run: async () => {
      const before = await server.ask<{ cpuSeconds: number }>('cpu');
      const { seconds, cpuSeconds } = await reader.ask<Timed>(command);
      const after = await server.ask<{ cpuSeconds: number }>('cpu');
      return speed({ seconds, cpuSeconds: cpuSeconds + after.cpuSeconds - before.cpuSeconds });
    },
  });
  const cases: Case[] = [
    reference('local', NAMES.copy, `vmread 1 ${COPY_BYTES}`),
    read('local', NAMES.local, local, `read ${CONNECTIONS} ${LARGE_BYTES} ${Math.ceil(sizeBytes / LARGE_BYTES)}`),
    read('large', NAMES.large, tcp, `read ${CONNECTIONS} ${LARGE_BYTES} ${Math.ceil(sizeBytes / LARGE_BYTES)}`),
    reference('large', NAMES.sockets, `sockets ${CONNECTIONS} ${MIB}`),
    reference('small', NAMES.smallSockets, `sockets ${CONNECTIONS} ${SMALL_BYTES}`),
    read('small', NAMES.small, tcp, `read ${CONNECTIONS} ${SMALL_BYTES} ${SMALL_BATCH}`),
    {
      name: NAMES.alone,
      group: 'latency',
      isReference: false,
      run: () => tcp.ask<Sample>(`latency ${PINGS} ${PAGE_BYTES}`),
    },
    {
      name: NAMES.ping,
      group: 'latency',
      isReference: true,
      run: () => ceiling.ask<Sample>(`pingpong ${PINGS} ${PAGE_BYTES}`),
    },
  ];
  return {
    cases,
    async close() {
      for (const child of [...readers, server, ceiling]) await child[Symbol.asyncDispose]();
    },
  };
}
