/**
 * RDMA: what a request costs on the processor, and, in a guest with an emulated card, READ beside `ib_read_bw`.
 *
 *   npm run bench:rdma -- [--guest] [--chart docs/images/rdma.svg]
 *
 * The guest needs root, and minutes; the chart is of what was measured in it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Bandwidth } from './rdma/read-bandwidth.ts';
import { measurePosting } from './rdma/stub-queue.ts';
import { barOf, drawBarChart } from './support/bar-chart.ts';
import { printTable, writeReport } from './support/report.ts';
import { median } from './support/statistics.ts';

const GOAL_NANOSECONDS = 1500;
/** Of what ib_read_bw moves. */
const GOAL_RATIO = 0.95;
const MIB = 1024 * 1024;

const { values } = parseArgs({
  options: { guest: { type: 'boolean', default: false }, chart: { type: 'string' } },
});

function benchPosting(directory: string): void {
  const costs = measurePosting(directory, [1, 4, 16, 64]);
  printTable(
    costs.map(({ chain, nanosecondsPerRequest }) => ({
      'requests in a call': String(chain),
      'ns to post and reap one': nanosecondsPerRequest.toFixed(0),
      'GB/s with 1 MiB each': (MIB / nanosecondsPerRequest).toFixed(0),
      [`< ${GOAL_NANOSECONDS} ns`]: nanosecondsPerRequest < GOAL_NANOSECONDS ? 'yes' : 'no',
    })),
  );
  writeReport('rdma-posting', { costs });
}

function benchGuest(directory: string): void {
  const guest = execFileSync(path.resolve('tools/rdma-guest/prepare'), { encoding: 'utf8' }).trim();
  const program = path.resolve('.cache/build/bench/rdma/read-bandwidth.js');
  const command = `cd ${process.cwd()} && tools/rdma-guest/cards && node ${program} /out/bandwidth.json`;
  const { status } = spawnSync(path.resolve('tools/rdma-guest/boot'), [guest, command], {
    stdio: 'inherit',
    env: { ...process.env, GUEST_SECONDS: '900', GUEST_OUT: directory },
  });
  if (status !== 0) {
    process.exitCode = 1;
    return;
  }
  const measured = JSON.parse(readFileSync(path.join(directory, 'bandwidth.json'), 'utf8')) as Bandwidth[];
  printTable(
    measured.map(({ sizeBytes, ours, theirs }) => {
      const ratio = median(ours) / median(theirs);
      return {
        'size, MiB': String(sizeBytes / MIB),
        'ib_read_bw, MB/s': median(theirs).toFixed(1),
        'READ, MB/s': median(ours).toFixed(1),
        ratio: ratio.toFixed(2),
        [`>= ${GOAL_RATIO}`]: ratio >= GOAL_RATIO ? 'yes' : 'no',
      };
    }),
  );
  writeReport('rdma-guest', { measured });
  if (values.chart !== undefined) writeFileSync(values.chart, drawBandwidth(measured));
}

function drawBandwidth(measured: readonly Bandwidth[]): string {
  const bars = measured.flatMap(({ sizeBytes, ours, theirs }) => [
    barOf(`READ of ${sizeBytes / MIB} MiB`, ours, false),
    barOf('ib_read_bw', theirs, true),
  ]);
  return drawBarChart('Two processes over an emulated RDMA card', 'MB/s, median and spread', bars);
}

const directory = mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bench-'));
try {
  benchPosting(directory);
  if (values.guest) benchGuest(directory);
} finally {
  rmSync(directory, { recursive: true });
}
