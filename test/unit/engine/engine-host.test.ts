import net from 'node:net';
import { describe, expect, test } from 'vitest';
import { defaultHost } from '../../../src/engine/engine-host.ts';

describe('defaultHost', () => {
  test('takes the host of a name with a port, and an interface of this machine else', () => {
    expect(defaultHost('node-1:12345')).toBe('node-1');
    expect(defaultHost('10.0.0.2:1')).toBe('10.0.0.2');
    expect(defaultHost('[fe80::1%eth0]:1')).toBe('fe80::1%eth0');
    for (const name of ['node-1', 'a/b:1', 'fe80::1:1', 'x y:1']) expect(net.isIP(defaultHost(name))).not.toBe(0);
  });
});
