/** Entry of a digest thread: see `DigestPool`. */
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { assert } from '../core/assert.ts';
import type { WorkerRequest, WorkerResponse } from './digest-message.ts';
import { JobRunner } from './job-runner.ts';

/** Background results wait for each other up to this number, to cost the main thread fewer wake-ups. */
const RESULT_BATCH = 4;

assert(parentPort !== null, 'runs in a worker thread');
const port = parentPort;
const runner = new JobRunner();

function postResults(): void {
  const response: WorkerResponse = runner.takeResults();
  if (response.length > 0) port.postMessage(response);
}

/** Receives without waiting, between two steps. */
function acceptPending(): void {
  for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port)) {
    runner.accept(received.message as WorkerRequest);
  }
}

port.on('message', (request: WorkerRequest) => {
  runner.accept(request);
  while (runner.step()) {
    acceptPending();
    if (runner.hasUrgentResult || runner.resultCount >= RESULT_BATCH) postResults();
  }
  postResults();
});
