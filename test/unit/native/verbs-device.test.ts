import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { listVerbsDevices, VerbsDevice } from '../../../src/native/verbs-device.ts';

const hasRdma = fs.existsSync('/sys/class/infiniband') && fs.readdirSync('/sys/class/infiniband').length > 0;

describe.skipIf(hasRdma)('on a host without RDMA', () => {
  test('listVerbsDevices() says why there is none', () => {
    const { names, reason } = listVerbsDevices();
    expect(names).toEqual([]);
    expect(reason).toMatch(/libibverbs\.so\.1 .* did not load|the kernel has no RDMA support|no RDMA device/);
  });

  test('a device cannot be opened, which is an error and no crash', () => {
    expect(() => new VerbsDevice('mlx5_0')).toThrow(expect.objectContaining({ code: ErrorCode.SystemCallFailed }));
  });
});
