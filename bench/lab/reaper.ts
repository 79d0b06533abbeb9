/**
 * Outlives a laboratory that was killed, and tears it down. Its standard input is a pipe that only the laboratory's
 * process holds: text on it says that all is gone already; its end without text says that the process died.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { tearDown } from './teardown.ts';

/** What a dying laboratory had begun, such as one more namespace, is there by then. */
const SECOND_LOOK_MS = 300;

const labPid = Number(process.argv[2]);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.stdin.on('data', () => process.exit(0));
await new Promise<void>((resolve) => process.stdin.on('end', resolve).on('error', () => resolve()));
await tearDown(labPid);
await delay(SECOND_LOOK_MS);
await tearDown(labPid);
