/** Entry of an I/O worker thread: the data plane runs here, whatever the main thread is doing. */
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../../../core/assert.ts';
import { systemClock } from '../../../core/clock.ts';
import { RegisteredRanges } from '../../registered-ranges.ts';
import { type RateLimit, RateLimiter } from '../rate-limiter.ts';
import { MESSAGE_PARTS } from './client-connection.ts';
import { Inbound } from './inbound.ts';
import { MessageHeader } from './message-header.ts';
import type { CallResult, FromWorker, ToWorker, WorkerSetup } from './messages.ts';
import { Outbound } from './outbound.ts';
import { Pacer } from './pacer.ts';
import { Reactor } from './reactor.ts';
import { SendLoad } from './send-load.ts';

assert(parentPort !== null, 'an I/O worker runs in a worker thread');
const port = parentPort;
const setup = workerData as WorkerSetup;
const post = (message: FromWorker): void => port.postMessage(message);

const reactor = new Reactor();
const ranges = new RegisteredRanges();
const message = new MessageHeader(MESSAGE_PARTS);
const upload = pacerOf(setup.uploadLimit);
const download = pacerOf(setup.downloadLimit);
const outbound = new Outbound({ ...setup, reactor, ranges, message, upload, download, post });
const inbound = new Inbound({
  reactor,
  ranges,
  message,
  siblings: setup.siblings,
  load: new SendLoad(setup.sendLoad),
  maxConnections: setup.maxInboundConnections,
  cardOfAddress: setup.cardOfAddress,
  upload,
  download,
  onMemoryFault: ({ address, lengthBytes }) => post({ kind: 'memory-fault', address, lengthBytes }),
});
reactor.isBusy = () => outbound.isBusy || inbound.isBusy;

function pacerOf(limit: RateLimit | undefined): Pacer | undefined {
  return limit === undefined ? undefined : new Pacer(new RateLimiter(limit), systemClock);
}

function unregister(address: number): void {
  const range = ranges.startingAt(address);
  if (range === undefined) return;
  ranges.remove(address);
  inbound.revoke(range);
}

function answer(callId: number, work: () => CallResult | undefined): void {
  try {
    const result = work();
    post(result === undefined ? { kind: 'answer', callId } : { kind: 'answer', callId, result });
  } catch (cause) {
    post({ kind: 'answer', callId, error: cause instanceof Error ? cause.message : String(cause) });
  }
}

/**
 * Must have run before this thread's environment is torn down: the reactor's handle would call into
 * a JavaScript that is gone, which ends the whole process.
 */
function release(): void {
  reactor.close();
  const released = new Int32Array(setup.released);
  Atomics.store(released, 0, 1);
  Atomics.notify(released, 0);
}
process.on('exit', release);

let isStopped = false;

function stop(): void {
  isStopped = true;
  outbound.close();
  inbound.close();
  upload?.close();
  download?.close();
  release();
  message.free();
  post({ kind: 'stopped' });
  port.close();
}

port.on('message', (call: ToWorker) => {
  if (isStopped) return; // its memory is gone
  switch (call.kind) {
    case 'submit':
      return outbound.submit(call);
    case 'cancel':
      return outbound.cancel(call.connectionId, call.requestIds);
    case 'connect':
      return outbound.connect(call);
    case 'disconnect':
      return outbound.disconnect(call.connectionId);
    case 'listen':
      return answer(call.callId, () => ({ port: inbound.listen(call.at) }));
    case 'register':
      return answer(call.callId, () => void ranges.add(call.range));
    case 'unregister':
      return answer(call.callId, () => void unregister(call.address));
    case 'count':
      return answer(call.callId, () => ({ served: inbound.served }));
    case 'stop':
      return stop();
  }
});
