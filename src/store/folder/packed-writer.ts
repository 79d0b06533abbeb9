/**
 * Entry of the thread that writes packed files: see `PackedFiles`. It makes the system calls itself, one after the other,
 * as handing each to the pool of the runtime takes twice the processor time of the calls.
 */
import fs from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { assert } from '../../core/assert.ts';
import { MemoryWindows } from '../../memory/memory-windows.ts';

/** One file to write: nothing is at its path yet, and its bytes stay where they are until the answer. */
export interface PackedWrite {
  readonly path: string;
  readonly address: number;
  readonly sizeBytes: number;
}

/** The answer to a batch of writes, once none of it is in work any more. */
export interface PackedAnswer {
  /** The first that failed; none behind it was begun. */
  readonly failed?: { readonly write: PackedWrite; readonly code: string; readonly message: string };
}

assert(parentPort !== null, 'runs in a worker thread');
const port = parentPort;
const windows = new MemoryWindows();

function writeFile({ path, address, sizeBytes }: PackedWrite): void {
  const file = fs.openSync(path, 'wx');
  try {
    for (let done = 0; done < sizeBytes; ) done += fs.writeSync(file, windows.view(address + done, sizeBytes - done));
  } finally {
    fs.closeSync(file);
  }
}

function writeAll(writes: readonly PackedWrite[]): PackedAnswer {
  for (const write of writes) {
    try {
      writeFile(write);
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
      return { failed: { write, code, message: cause instanceof Error ? cause.message : String(cause) } };
    }
  }
  return {};
}

port.on('message', (writes: readonly PackedWrite[]) => port.postMessage(writeAll(writes)));
