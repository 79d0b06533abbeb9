import type { NetworkCard, RdmaDevice, Topology } from '../../index.ts';
import type { Command, CommandContext } from '../command.ts';
import { ExitCode } from '../exit-code.ts';

export const topologyCommand: Command = {
  name: 'topology',
  summary: 'shows the network cards of this machine, and which memory they serve',
  description:
    'Prints every card with its speed, NUMA node and addresses, and the matrix of network cards that a store here would use. ' +
    'With --json it is one event; --nic-matrix takes that too, so that it can be saved, edited and given back.',
  operands: [],
  options: ['nicMatrix', 'json', 'quiet'],
  examples: [
    { line: 'p2pstore topology', summary: 'What is here' },
    { line: 'p2pstore topology --json > topology.json', summary: 'Saves it' },
    { line: 'p2pstore topology --nic-matrix topology.json', summary: 'Checks what was edited' },
  ],
  run: runTopology,
};

async function runTopology({ config, output }: CommandContext): Promise<ExitCode> {
  // Loaded late: `--help` needs nothing of it.
  const { readTopology } = await import('../../index.ts');
  const topology = readTopology(config.nicMatrix);
  const { cards, devices, matrix } = topology;
  output.event({ event: 'topology', cards, devices, matrix, devicesUnusedBecause: topology.devicesUnusedBecause });
  output.table(
    ['CARD', 'SPEED', 'NODE', 'ADDRESSES', 'USED'],
    cards.map((card) => cardCells(card, topology)),
  );
  output.line('');
  if (devices.length > 0) {
    output.table(['DEVICE', 'LINK', 'SPEED', 'NODE', 'GID', 'STATE'], devices.map(deviceCells));
  } else {
    output.line(`No RDMA: ${topology.devicesUnusedBecause ?? 'there is no device'}`);
  }
  output.line('');
  output.line(`Matrix${topology.isGiven ? '' : ', made of the cards'}:`);
  output.line(JSON.stringify(matrix));
  return ExitCode.Done;
}

function cardCells(card: NetworkCard, { matrix, isGiven }: Topology): string[] {
  const { name, speedMbps, numaNode, addresses, unusedBecause } = card;
  const isNamed = Object.values(matrix).flat(2).includes(name);
  const why = isGiven ? 'not in the matrix' : (unusedBecause ?? '');
  return [
    name,
    speedMbps === undefined ? 'unknown' : `${speedMbps} Mbit/s`,
    numaNode === undefined ? 'any' : String(numaNode),
    addresses.length === 0
      ? 'none'
      : addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`).join(' '),
    isNamed ? 'yes' : `no: ${why}`,
  ];
}

function deviceCells(device: RdmaDevice): string[] {
  const { name, link, rate, numaNode, gid, gidIndex, gidType, isUp, unusedBecause } = device;
  const state = isUp ? 'up' : 'down';
  return [
    name,
    link,
    rate ?? 'unknown',
    numaNode === undefined ? 'any' : String(numaNode),
    gid === undefined ? 'none' : `${gid} (${gidType}, index ${gidIndex})`,
    unusedBecause === undefined ? state : `${state}: ${unusedBecause}`,
  ];
}
