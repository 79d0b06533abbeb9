/** What posting and reaping one request costs on the processor, over a queue that moves no bytes. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { koffi, libraryFunction } from '../../src/native/libc.ts';
import { SendChain } from '../../src/native/verbs-chain.ts';
import { deviceFunctions } from '../../src/native/verbs-device.ts';
import { CompletionReader } from '../../src/native/verbs-queue.ts';

export interface PostCost {
  /** Requests handed over in one call. */
  readonly chain: number;
  readonly nanosecondsPerRequest: number;
}

const REQUESTS = 400_000;

/** @param directory - Where the C program may be built. */
export function measurePosting(directory: string, chains: readonly number[]): PostCost[] {
  const library = path.join(directory, 'stub-queue.so');
  execFileSync('gcc', ['-O2', '-shared', '-fPIC', path.resolve('bench/native/stub-queue.c'), '-o', library]);
  const stub = koffi().load(library);
  const functions = deviceFunctions(libraryFunction<[], number>(() => stub, 'uintptr_t stub_context()')());
  const chain = new SendChain(Math.max(...chains));
  const reader = new CompletionReader(functions, 1);
  let reaped = 0;
  const onCompletion = (id: number, status: number): void => {
    if (status === 0 && id > 0) reaped += 1;
  };
  const run = (length: number): number => {
    reaped = 0;
    const startNs = process.hrtime.bigint();
    for (let id = 1; id <= REQUESTS; ) {
      for (let index = 0; index < length; index++, id++) {
        const offset = (id % 1024) * 1024 * 1024;
        chain.add({
          id,
          opcode: 'read',
          localAddress: 0x7f00_0000_0000 + offset,
          localKey: 0x1234,
          remoteAddress: 0x7e00_0000_0000 + offset,
          remoteKey: 0x5678,
          lengthBytes: 1024 * 1024,
        });
      }
      chain.post(functions, 1);
      while (reader.poll(onCompletion) > 0);
    }
    const elapsedNs = Number(process.hrtime.bigint() - startNs);
    if (reaped < REQUESTS) throw new Error(`${reaped} of ${REQUESTS} requests came back`);
    return elapsedNs / reaped;
  };
  const costs = chains.map((length) => {
    const rounds = [0, 1, 2, 3, 4].map(() => run(length));
    return { chain: length, nanosecondsPerRequest: Math.min(...rounds.slice(1)) };
  });
  chain.free();
  reader.free();
  return costs;
}
