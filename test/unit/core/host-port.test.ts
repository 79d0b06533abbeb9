import { expect, test } from 'vitest';
import { hostPort } from '../../../src/core/host-port.ts';

test('hostPort() puts IPv6 addresses in brackets', () => {
  expect(hostPort('10.0.0.1', 80)).toBe('10.0.0.1:80');
  expect(hostPort('node-7', '80')).toBe('node-7:80');
  expect(hostPort('fe80::1', 80)).toBe('[fe80::1]:80');
});
