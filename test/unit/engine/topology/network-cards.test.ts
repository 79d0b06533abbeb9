import fs from 'node:fs/promises';
import type os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  cardNames,
  discoverCards,
  presentAddresses,
  usableCards,
} from '../../../../src/engine/topology/network-cards.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../../support/temporary-folder.ts';

let folder: TemporaryFolder;
let sysfs = '';

function entry(cidr: string, internal = false): os.NetworkInterfaceInfo {
  const [address = ''] = cidr.split('/');
  const common = { address, netmask: '', mac: '', internal, cidr };
  return address.includes(':') ? { ...common, family: 'IPv6', scopeid: 0 } : { ...common, family: 'IPv4' };
}

async function put(file: string, text: string): Promise<void> {
  await fs.mkdir(path.dirname(path.join(sysfs, file)), { recursive: true });
  await fs.writeFile(path.join(sysfs, file), `${text}\n`);
}

describe('discoverCards', () => {
  beforeAll(async () => {
    folder = await makeTemporaryFolder();
    sysfs = folder.path;
    await put('eth0/type', '1');
    await put('eth0/speed', '25000');
    await put('eth0/device/numa_node', '1');
    await put('eth1/type', '1');
    await put('eth1/speed', '-1');
    await put('eth1/device/numa_node', '-1');
    await put('docker0/type', '1');
    await put('docker0/bridge/bridge_id', '8000');
    await put('docker0/brif/veth1/state', '3');
    await put('br0/type', '1');
    await put('br0/bridge/bridge_id', '8000');
    await put('br0/lower_eth0/type', '1');
    await put('br0/speed', '25000');
    await put('veth0/type', '1');
    await put('veth0/speed', '10000');
    await put('wg0/type', '65534');
    await put('ib0/type', '32');
  });

  afterAll(() => folder[Symbol.asyncDispose]());

  test('reads addresses, speed and NUMA node where they are known', () => {
    const interfaces = {
      eth0: [entry('10.0.0.1/24'), entry('fd00::1/64'), entry('fe80::1/64')],
      eth1: [entry('10.0.1.1/16')],
      gone0: [entry('10.0.2.1/24')],
    };
    const [first, second, third] = discoverCards({ interfaces, sysfs });
    expect(first).toEqual({
      name: 'eth0',
      addresses: [
        { address: '10.0.0.1', family: 4, prefixLength: 24 },
        { address: 'fd00::1', family: 6, prefixLength: 64 },
      ],
      speedMbps: 25_000,
      numaNode: 1,
      unusedBecause: undefined,
    });
    expect(second).toMatchObject({ name: 'eth1', speedMbps: undefined, numaNode: undefined, unusedBecause: undefined });
    expect(third).toMatchObject({ name: 'gone0', speedMbps: undefined, unusedBecause: undefined });
  });

  test('believes a speed only where there is hardware, be it below', () => {
    const interfaces = { veth0: [entry('10.0.3.1/24')], br0: [entry('10.0.0.1/24')] };
    expect(discoverCards({ interfaces, sysfs }).map(({ speedMbps }) => speedMbps)).toEqual([undefined, 25_000]);
  });

  test('leaves out loopback, tunnels, bridges of containers, and cards with nothing but a link', () => {
    const interfaces = {
      lo: [entry('127.0.0.1/8', true)],
      docker0: [entry('172.17.0.1/16')],
      br0: [entry('10.0.0.1/24')],
      wg0: [entry('10.8.0.1/24')],
      ib0: [entry('10.1.0.1/24')],
      eth1: [entry('fe80::1/64'), entry('169.254.3.4/16')],
    };
    const cards = discoverCards({ interfaces, sysfs });
    expect(usableCards(cards).map(({ name }) => name)).toEqual(['br0', 'ib0']);
    expect(cards.map(({ unusedBecause }) => unusedBecause)).toEqual([
      'loopback',
      'a bridge of virtual interfaces',
      undefined,
      'a tunnel',
      undefined,
      'no address beyond its link',
    ]);
  });

  test('takes loopback when there is nothing else', () => {
    const cards = discoverCards({ interfaces: { lo: [entry('127.0.0.1/8', true)] }, sysfs });
    expect(usableCards(cards).map(({ name }) => name)).toEqual(['lo']);
  });
});

describe('the machine itself', () => {
  test('has loopback, by name and by address', () => {
    expect(cardNames()).toContain('lo');
    expect(presentAddresses()).toContain('127.0.0.1');
  });
});
