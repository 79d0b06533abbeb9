import { describe, expect, test } from 'vitest';
import { checkRequest } from '../../../src/engine/check-request.ts';
import { RegisteredRanges } from '../../../src/engine/registered-ranges.ts';
import type { TransferRequest } from '../../../src/engine/transfer.ts';

const segment = { name: 'peer', host: '127.0.0.1', port: 1, protocolVersion: 2, buffers: [] } as const;
const request: TransferRequest = { opcode: 'read', segment, remoteAddress: 1, lengthBytes: 10 };

const ranges = new RegisteredRanges();
for (const address of [1000, 2000]) ranges.add({ address, lengthBytes: 100, isReadable: false, isWritable: false });

function wrongArgumentOf(changes: Partial<TransferRequest>): unknown {
  return checkRequest({ ...request, ...changes }, ranges)?.context;
}

describe('checkRequest', () => {
  test('takes what lies in registered memory, in one range or many', () => {
    expect(wrongArgumentOf({ localAddress: 1090n })).toBeUndefined();
    const localRanges = [
      { address: 2095, lengthBytes: 5 },
      { address: 7, lengthBytes: 0 },
      { address: 1000n, lengthBytes: 5 },
    ];
    expect(wrongArgumentOf({ localRanges })).toBeUndefined();
    expect(wrongArgumentOf({ localRanges: [], lengthBytes: 0 })).toBeUndefined();
  });

  test.each<[string, Partial<TransferRequest>]>([
    ['lengthBytes', { localAddress: 1000, lengthBytes: -1 }],
    ['lengthBytes', { localAddress: 1000, lengthBytes: 0.5 }],
    ['remoteAddress', { localAddress: 1000, remoteAddress: 0 }],
    ['remoteAddress', { localAddress: 1000, remoteAddress: 2n ** 64n }],
    ['localAddress', { localAddress: 1091 }],
    ['localAddress', {}],
    ['localRanges', { localRanges: [{ address: 1000, lengthBytes: 10 }], localAddress: 1000 }],
    ['localRanges', { localRanges: [{ address: 1000, lengthBytes: 9 }] }],
    ['localRanges', { localRanges: [{ address: 1000, lengthBytes: 9 }], lengthBytes: 0 }],
    [
      'localRanges',
      {
        localRanges: [
          { address: 1000, lengthBytes: 11 },
          { address: 1000, lengthBytes: -1 },
        ],
      },
    ],
    [
      'localRanges',
      {
        localRanges: [
          { address: 1000, lengthBytes: 5 },
          { address: 2096, lengthBytes: 5 },
        ],
      },
    ],
    ['localRanges', { localRanges: Array.from({ length: 65_537 }, () => ({ address: 1000, lengthBytes: 0 })) }],
    ['digestAlgorithm', { localRanges: [{ address: 1000, lengthBytes: 10 }], digestAlgorithm: 'xxh64' }],
    [
      'refuseWhen',
      { localRanges: [{ address: 1000, lengthBytes: 10 }], refuseWhen: { queuedBytes: 1, sentWithinMs: 0 } },
    ],
  ])('refuses a wrong %s', (argument, changes) => {
    expect(wrongArgumentOf(changes)).toEqual({ argument });
  });
});
