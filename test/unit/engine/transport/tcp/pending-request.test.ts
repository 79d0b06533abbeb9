import { expect, test } from 'vitest';
import { PendingRequest } from '../../../../../src/engine/transport/tcp/pending-request.ts';

const request = {
  id: 1,
  localAddress: 4096,
  remoteAddress: 8192,
  lengthBytes: 100,
  flow: 0,
  refuseWhen: undefined,
  digest: undefined,
} as const;

test.each([
  ['read', 2, { requestBytes: 24, hasAnswer: true, statusLeftBytes: 8, payloadLeftBytes: 100 }],
  ['read', 1, { requestBytes: 24, hasAnswer: true, statusLeftBytes: 0, payloadLeftBytes: 100 }],
  ['write', 2, { requestBytes: 124, hasAnswer: true, statusLeftBytes: 8, payloadLeftBytes: 0 }],
  ['write', 1, { requestBytes: 124, hasAnswer: false, statusLeftBytes: 0, payloadLeftBytes: 0 }],
] as const)('a PendingRequest for a %s of version %i knows what goes and what comes', (opcode, version, expected) => {
  expect(new PendingRequest({ ...request, opcode }, version)).toMatchObject(expected);
});

test('a PendingRequest takes the status first, then payload, and no more than is due', () => {
  const pending = new PendingRequest({ ...request, opcode: 'read' }, 2);
  expect([pending.takeStatus(5), pending.takeStatus(5), pending.takeStatus(5)]).toEqual([5, 3, 0]);
  expect(pending.takePayload(60)).toBe(60);
  expect(pending.payloadAddress).toBe(4096 + 60);
  expect([pending.takePayload(60), pending.answerLeftBytes]).toEqual([40, 0]);
  expect(pending.isSent).toBe(false);
  pending.sentBytes = 24;
  expect(pending.isSent).toBe(true);
});
