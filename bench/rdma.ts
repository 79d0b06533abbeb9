/**
 * RDMA: what a request costs on the processor, and, in a guest with an emulated card, READ beside `ib_read_bw`.
 *
 *   npm run bench:rdma -- [--guest]     the second part needs root, and minutes
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { measurePosting } from './rdma/stub-queue.ts';
import { describeMachine } from './support/machine.ts';
import { printTable, writeReport } from './support/report.ts';

const GOAL_NANOSECONDS = 1500;
const MIB = 1024 * 1024;

const { values } = parseArgs({ options: { guest: { type: 'boolean', default: false } } });

function benchPosting(): void {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bench-'));
  try {
    const costs = measurePosting(directory, [1, 4, 16, 64]);
    printTable(
      costs.map(({ chain, nanosecondsPerRequest }) => ({
        'requests in a call': String(chain),
        'ns to post and reap one': nanosecondsPerRequest.toFixed(0),
        'GB/s with 1 MiB each': (MIB / nanosecondsPerRequest).toFixed(0),
        [`< ${GOAL_NANOSECONDS} ns`]: nanosecondsPerRequest < GOAL_NANOSECONDS ? 'yes' : 'no',
      })),
    );
    writeReport('rdma-posting', { machine: describeMachine(), costs });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function benchGuest(): void {
  const guest = execFileSync(path.resolve('tools/rdma-guest/prepare'), { encoding: 'utf8' }).trim();
  const program = path.resolve('.cache/build/bench/rdma/read-bandwidth.js');
  const command = `cd ${process.cwd()} && tools/rdma-guest/cards && node ${program}`;
  const { status } = spawnSync(path.resolve('tools/rdma-guest/boot'), [guest, command], {
    stdio: 'inherit',
    env: { ...process.env, GUEST_SECONDS: '900' },
  });
  if (status !== 0) process.exitCode = 1;
}

benchPosting();
if (values.guest) benchGuest();
