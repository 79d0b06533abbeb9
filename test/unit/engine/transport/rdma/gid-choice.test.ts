import { describe, expect, test } from 'vitest';
import {
  chooseGid,
  type GidEntry,
  gidBytes,
  gidFromGroups,
} from '../../../../../src/engine/transport/rdma/gid-choice.ts';

const LINK_LOCAL = 'fe:80:00:00:00:00:00:00:48:c0:6a:ff:fe:51:98:22';
const IPV4 = '00:00:00:00:00:00:00:00:00:00:ff:ff:0a:09:00:01';
const IPV6 = '20:01:0d:b8:00:00:00:00:00:00:00:00:00:00:00:01';
const ZERO = '00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00';

function table(...rows: readonly (readonly [string, GidEntry['type']])[]): GidEntry[] {
  return rows.map(([gid, type], index) => ({ index, gid, type, interface: 'eth0' }));
}

describe('chooseGid()', () => {
  test('prefers RoCE v2 by IPv4, then by routable IPv6, then by the address of the link, then RoCE v1', () => {
    const order: (readonly [string, GidEntry['type']])[] = [
      [IPV4, 'RoCE v2'],
      [IPV6, 'RoCE v2'],
      [LINK_LOCAL, 'RoCE v2'],
      [IPV4, 'RoCE v1'],
      [LINK_LOCAL, 'RoCE v1'],
    ];
    for (let from = 0; from < order.length; from++) {
      const rest = order.slice(from);
      expect(chooseGid(table(...rest.toReversed()))).toMatchObject({ gid: rest[0]?.[0], type: rest[0]?.[1] });
    }
  });

  test('takes the first of equals, the first of an InfiniBand port, and none where all are empty', () => {
    expect(chooseGid(table([IPV4, 'RoCE v2'], [IPV4, 'RoCE v2']))?.index).toBe(0);
    expect(chooseGid(table([LINK_LOCAL, 'InfiniBand'], [IPV6, 'InfiniBand']))?.index).toBe(0);
    expect(chooseGid(table([ZERO, 'RoCE v2']))).toBeUndefined();
  });
});

describe('GIDs as text', () => {
  test('go from the groups of sysfs to bytes', () => {
    expect(gidFromGroups('0000:0000:0000:0000:0000:FFFF:0a09:0001')).toBe(IPV4);
    expect(gidBytes(IPV4)).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 9, 0, 1));
  });

  test.each(['', IPV4.slice(3), `${IPV4}:00`, IPV4.replace('0a', 'xx'), '10.9.0.1'])('"%s" is none', (text) => {
    expect(gidBytes(text)).toBeUndefined();
  });
});
